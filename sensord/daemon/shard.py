"""One owned partition: its place in the log, its devices' state, and what it found since the last commit.

`loop` adopts, feeds and commits it. All offsets are those of the next record.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from sensord.daemon.policy import Quality
from sensord.detection.devices import PAGE
from sensord.detection.fleet import Fleet, Observation
from sensord.detection.reorder import Reorder
from sensord.readings import DeadLetter, Integers, Partition, RawRecord
from sensord.store.devices import DeviceSeen
from sensord.store.progress import Checkpoint, Claim, Snapshot, Standing
from sensord.stream.decoders import Decoded, Decoder


@dataclass(frozen=True, slots=True)
class Progressed:
    """What one batch of a partition came to; replayed: readings below the live offset, which raise no alerts."""

    observation: Observation
    dead_letters: Sequence[DeadLetter]
    replayed: int


@dataclass(slots=True)
class Shard:
    """Exclusive owner of one partition, as long as its epoch holds.

    committed, committed_at: what the database has as next_offset, and since when. position: what has been observed up
    to. live_from: alerts below are final already; readings there are replayed silently.
    """

    name: str
    partition: Partition
    epoch: int
    owner: str
    committed: int | None
    committed_at: int | None
    position: int
    live_from: int
    fleet: Fleet
    reorder: Reorder
    decoder: Decoder
    stored_model: str | None  # bundle of the database's snapshot: what is committed on top of it is replayed with it
    dead_letters: list[DeadLetter] = field(default_factory=list)
    departed: list[DeviceSeen] = field(default_factory=list)  # forgotten since the latest snapshot
    amended: bool = False  # since the stored snapshot, by no reading: a replay from there would not know
    quality: Quality | None = field(default_factory=Quality)  # None: bad readings are all right
    held: bool = False  # most readings are bad: nothing more is taken in

    @property
    def replaying(self) -> bool:
        return self.position < self.live_from

    def feed(self, records: Sequence[RawRecord]) -> Progressed | None:
        """Observe records that follow on from the position; None, and held, where too many are bad."""
        decoded = self.decoder.decode(self.partition, records)
        if self._spoilt(decoded):
            self.held = True
            return None
        if self.replaying:
            past, decoded = decoded.readings.before(self.live_from), self._live_part(decoded)
            self.fleet.observe(self.reorder.take(past))
            self.fleet.settle()
            replayed = len(past)
        else:
            replayed = 0
        observation = self.fleet.observe(self.reorder.take(decoded.readings))
        self.dead_letters.extend(decoded.dead_letters)
        self.position = records[-1].offset + 1
        return Progressed(observation, decoded.dead_letters, replayed)

    def _spoilt(self, decoded: Decoded) -> bool:
        live = self._live_part(decoded) if self.replaying else decoded
        bad = len(live.dead_letters)
        return self.quality is not None and self.quality.spoilt_by(bad, bad + len(live.readings))

    def _live_part(self, decoded: Decoded) -> Decoded:
        letters = [letter for letter in decoded.dead_letters if letter.offset >= self.live_from]
        return Decoded(decoded.readings.since(self.live_from), letters)

    @property
    def standing(self) -> Standing:
        """What the database says as long as it has all that we committed, and nobody else has claimed."""
        return Standing(self.name, self.partition, self.epoch, self.owner, self.committed, self.committed_at)

    def still_ours(self, claim: Claim) -> bool:
        """Nobody wrote since we did, and what we wrote is there, so what is in memory is as good as a replay.

        A standby that never received our latest snapshot may give its epoch out again: the time tells.
        """
        stands = claim.next_offset, claim.committed_at
        return claim.epoch == self.epoch + 1 and stands == (self.committed, self.committed_at)

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def worth_saving(self, snapshot: bool) -> bool:
        """There is something to commit; what is still being replayed is committed already."""
        moved = self.position != self.committed
        return not self.replaying and (moved or self._unfounded or (snapshot and bool(self.fleet.devices.dirty())))

    def accept(self, alert_ids: Set[UUID]) -> set[UUID]:
        """Take for normal what these alerts show; returns those that are closed by it. Only before a snapshot."""
        closed = self.fleet.accept(alert_ids)
        self.amended |= bool(closed)
        return closed

    def evict(self, most: int) -> int:
        """Forget the devices not seen for longest, all but `most`; returns how many went. Only before a snapshot."""
        if len(self.fleet.devices) <= most:
            return 0
        seen = self._devices_seen()
        gone = self.fleet.evict(most)
        self.departed += [one for one in seen if one.device_id not in self.fleet.devices.slots]
        self.amended = True
        return gone

    @property
    def _unfounded(self) -> bool:
        """A replay of the stored snapshot would come to something else: nothing may be committed without a new one."""
        return self.amended or self.fleet.bundle.id != self.stored_model

    def checkpoint(self, snapshot: bool) -> Checkpoint:
        """All that there is to commit; the same again until `settle`. Never while replaying."""
        snapshot = snapshot or self._unfounded
        return Checkpoint(
            fleet=self.name,
            partition=self.partition,
            epoch=self.epoch,
            owner=self.owner,
            previous_offset=self.committed,
            next_offset=self.position,
            alerts=self.fleet.changes(),
            dead_letters=tuple(self.dead_letters),
            snapshot=self._snapshot() if snapshot else None,
            devices=(*self.departed, *self._devices_seen()) if snapshot else (),
        )

    def _snapshot(self) -> Snapshot:
        pages = self.fleet.pages() | self.reorder.pages()
        return Snapshot(self.fleet.bundle.id, pages, self.fleet.devices.page_count)

    def settle(self, checkpoint: Checkpoint, at: int) -> None:
        """The checkpoint is in the database, since `at`: wall time, microseconds."""
        self.committed_at = at
        self.committed = self.live_from = checkpoint.next_offset
        self.epoch = checkpoint.epoch_after
        self.dead_letters.clear()
        self.fleet.settle()
        if checkpoint.snapshot is not None:
            self.stored_model = checkpoint.snapshot.model_id
            self.amended = False
            self.departed.clear()
            self.fleet.devices.settle()

    def _devices_seen(self) -> tuple[DeviceSeen, ...]:
        devices = self.fleet.devices
        slots = np.concatenate([np.zeros(0, np.int64), *(self._slots(page) for page in devices.dirty())])
        columns = zip(slots.tolist(), devices.first_at[slots].tolist(), devices.last_at[slots].tolist(), strict=True)
        return tuple(DeviceSeen(devices.ids[slot], first, last) for slot, first, last in columns)

    def _slots(self, page: int) -> Integers:
        return np.arange(page * PAGE, min((page + 1) * PAGE, len(self.fleet.devices)))
