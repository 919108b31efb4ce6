"""One owned partition: its place in the log, its devices' state, and what it found since the last commit.

`loop` adopts, feeds and commits it. All offsets are those of the next record.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass, field
from uuid import UUID

from sensord.daemon.policy import Quality
from sensord.detection.alerts import AlertChange, Run
from sensord.detection.align import Align
from sensord.detection.devices import Page
from sensord.detection.fleet import Fleet, Observation
from sensord.detection.reorder import Reorder
from sensord.model.bundle import Bundle
from sensord.readings import DeadLetter, Partition, RawRecord, Readings
from sensord.store.devices import DeviceSeen
from sensord.store.progress import Checkpoint, Claim, LaterSnapshot, Shadow, Snapshot, Standing
from sensord.stream.decoders import Decoded, Decoder, Glossary


@dataclass(frozen=True, slots=True)
class Progressed:
    """What one batch of a partition came to; replayed: readings below the live offset, which raise no alerts."""

    observation: Observation
    dead_letters: Sequence[DeadLetter]
    replayed: int
    left_out: int = 0  # of what only now could be read: what holds nothing of the fleet's channels


@dataclass(frozen=True, slots=True)
class StateCopy:
    """What a shard's state was at an offset that is committed; another thread may make a snapshot of it."""

    fleet: str
    partition: Partition
    epoch: int
    owner: str
    previous_state_offset: int | None
    state_offset: int
    pages: dict[int, Page]
    waiting: Mapping[int, bytes]  # see align and reorder
    shadow: dict[int, Page] | None

    def sealed(self) -> LaterSnapshot:
        """In bytes. Once: the copies go as they are done, since a million devices are 3 GB."""
        seen = _devices_seen(self.pages.values())
        pages = _sealed(self.pages) | dict(self.waiting)
        shadow = None if self.shadow is None else _sealed(self.shadow)
        stands = self.epoch, self.owner, self.previous_state_offset, self.state_offset
        return LaterSnapshot(self.fleet, self.partition, *stands, pages, seen, shadow)


def _sealed(pages: dict[int, Page]) -> dict[int, bytes]:
    return {number: pages.pop(number).sealed() for number in sorted(pages)}


@dataclass(frozen=True, slots=True)
class Saving:
    """A snapshot on its way into the database. numbers: of its pages; shadow_numbers: of the shadow's."""

    state_offset: int
    numbers: Sequence[int]
    shadow_numbers: Sequence[int]
    outcome: Future[None]


@dataclass(slots=True)
class Shard:
    """Exclusive owner of one partition, as long as its epoch holds.

    committed, committed_at: what the database has as next_offset, and since when. state_offset: of the state that it
    has. position: what has been observed up to. live_from: alerts below are final already; readings there are replayed
    silently. shadow: the same devices under a bundle that is scored beside, and told the same readings.
    """

    name: str
    partition: Partition
    epoch: int
    owner: str
    committed: int | None
    committed_at: int | None
    state_offset: int | None
    position: int
    live_from: int
    fleet: Fleet
    align: Align
    reorder: Reorder
    decoder: Decoder
    glossary: Glossary
    stored_model: str | None  # bundle of the database's snapshot: what is committed on top of it is replayed with it
    shadow: Fleet | None = None
    stored_shadow: str | None = None  # the same of the shadow
    last_words: list[AlertChange] = field(default_factory=list)  # of shadows that are scored no more
    dead_letters: list[DeadLetter] = field(default_factory=list)
    departed: list[DeviceSeen] = field(default_factory=list)  # forgotten since the latest snapshot
    amended: bool = False  # since the stored snapshot, by no reading: a replay from there would not know
    quality: Quality | None = field(default_factory=Quality)  # None: bad readings are all right
    held: bool = False  # most readings are bad: nothing more is taken in
    saving: Saving | None = None

    @property
    def replaying(self) -> bool:
        return self.position < self.live_from

    def decode(self, records: Sequence[RawRecord]) -> Decoded:
        """What records hold; depends on no state, so it may go on beside `feed`."""
        return self.decoder.decode(self.partition, records)

    def feed(self, decoded: Decoded, end: int) -> Progressed | None:
        """Observe what follows on from the position, up to the record before `end`; None, and held, where too many are
        bad."""
        told, glossary = self.glossary.read(decoded)
        left_out = told.skipped if decoded.unread else 0  # what was read before is counted already
        decoded = told
        if self._spoilt(decoded):
            self.held = True
            return None
        self.glossary = glossary
        if self.replaying:
            past, decoded = decoded.readings.before(self.live_from), self._live_part(decoded)
            self._observe(past)
            for each in self._fleets:
                each.settle()
            replayed = len(past)
        else:
            replayed = 0
        observation = self._observe(decoded.readings)
        self.dead_letters.extend(decoded.dead_letters)
        self.position = end
        return Progressed(observation, decoded.dead_letters, replayed, left_out)

    def _observe(self, readings: Readings) -> Observation:
        """Tell all; what came of it under the bundle that counts."""
        in_order = self.reorder.take(self.align.take(readings))
        if self.shadow is not None:
            self.shadow.observe(in_order)
        return self.fleet.observe(in_order)

    @property
    def _fleets(self) -> list[Fleet]:
        return [self.fleet] if self.shadow is None else [self.fleet, self.shadow]

    def _spoilt(self, decoded: Decoded) -> bool:
        live = self._live_part(decoded) if self.replaying else decoded
        bad = len(live.dead_letters)
        return self.quality is not None and self.quality.spoilt_by(bad, bad + len(live.readings))

    def _live_part(self, decoded: Decoded) -> Decoded:
        return decoded.since(self.live_from)

    def stands(self, standings: Set[Standing]) -> bool:
        """The database has all that we committed, and nobody else has claimed."""
        return any(
            Standing(self.name, self.partition, self.epoch, self.owner, self.committed, state_offset, self.committed_at)
            in standings
            for state_offset in self._state_offsets
        )

    def still_ours(self, claim: Claim) -> bool:
        """Nobody wrote since we did, and what we wrote is there, so what is in memory is as good as a replay.

        A standby that never received our latest snapshot may give its epoch out again: the time tells.
        """
        stands = claim.next_offset, claim.committed_at
        ours = claim.epoch == self.epoch + 1 and stands == (self.committed, self.committed_at)
        return ours and claim.state_offset in self._state_offsets

    def resume(self, claim: Claim) -> None:
        """Go on under a claim of our own, which also tells what became of a snapshot under way."""
        self.epoch, self.owner = claim.epoch, claim.owner
        if self.saving is not None:
            stored = claim.state_offset == self.saving.state_offset
            self._saved(self.saving) if stored else self._not_saved(self.saving)

    @property
    def _state_offsets(self) -> set[int | None]:
        """What the database may have; more than one while a snapshot is under way."""
        return {self.state_offset} if self.saving is None else {self.state_offset, self.saving.state_offset}

    # --- checkpoints -------------------------------------------------------------------------------------------------

    @property
    def worth_saving(self) -> bool:
        """There is something to commit; what is still being replayed is committed already."""
        return not self.replaying and (self.position != self.committed or self._unfounded)

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
        if self.shadow is not None:
            self.shadow.evict(most)
        self.departed += [one for one in seen if one.device_id not in self.fleet.devices.slots]
        self.amended = True
        return gone

    def swap(self, bundle: Bundle) -> None:
        """Go on under another bundle. Only before a snapshot."""
        self.fleet = self.fleet.under(bundle)

    def score_beside(self, bundle: Bundle | None) -> None:
        """Begin a shadow, or have none any more. Only before a snapshot."""
        if self.shadow is not None:
            self.last_words += self.shadow.withdraw()
            self.amended = True
        self.shadow = None if bundle is None else self.fleet.beside(bundle, Run.SHADOW)

    @property
    def shadow_id(self) -> str | None:
        """The bundle of the shadow."""
        return None if self.shadow is None else self.shadow.bundle.id

    @property
    def _unfounded(self) -> bool:
        """A replay of the stored snapshot would come to something else: nothing may be committed without a new one."""
        now = self.fleet.bundle.id, self.shadow_id
        return self.amended or now != (self.stored_model, self.stored_shadow)

    def checkpoint(self) -> Checkpoint:
        """All that there is to commit; the same again until `settle`. Never while replaying."""
        snapshot = self._unfounded
        return Checkpoint(
            fleet=self.name,
            partition=self.partition,
            epoch=self.epoch,
            owner=self.owner,
            previous_offset=self.committed,
            next_offset=self.position,
            alerts=[*self.last_words, *(change for fleet in self._fleets for change in fleet.changes())],
            dead_letters=tuple(self.dead_letters),
            snapshot=self._snapshot() if snapshot else None,
            devices=(*self.departed, *self._devices_seen()) if snapshot else (),
        )

    def _snapshot(self) -> Snapshot:
        pages, shadow = self.fleet.pages() | self._waiting(), None
        if self.shadow is not None:
            begins = self.shadow_id != self.stored_shadow
            shadow = Shadow(self.shadow.bundle.id, self.shadow.pages(), self.shadow.devices.page_count, begins=begins)
        return Snapshot(self.fleet.bundle.id, pages, self.fleet.devices.page_count, shadow)

    def _waiting(self) -> dict[int, bytes]:
        """Pages of what messages rely on, and of readings that have not had their turn."""
        return self.glossary.pages() | self.align.pages() | self.reorder.pages()

    def settle(self, checkpoint: Checkpoint, at: int) -> None:
        """The checkpoint is in the database, since `at`: wall time, microseconds."""
        self.committed_at = at
        self.committed = self.live_from = checkpoint.next_offset
        self.epoch = checkpoint.epoch_after
        self.dead_letters.clear()
        self.last_words.clear()
        for fleet in self._fleets:
            fleet.settle()
        if checkpoint.snapshot is not None:
            self.stored_model, self.stored_shadow = checkpoint.snapshot.model_id, self.shadow_id
            self.state_offset = checkpoint.next_offset
            self.amended = False
            self.departed.clear()
            for fleet in self._fleets:
                fleet.devices.settle()

    def _devices_seen(self) -> tuple[DeviceSeen, ...]:
        return _devices_seen(self.fleet.devices.dirty_pages().values())

    # --- snapshots beside the loop -----------------------------------------------------------------------------------

    @property
    def worth_a_snapshot(self) -> bool:
        """There is something that a snapshot of its own would spare a replay."""
        whole = self.committed == self.position and not (self.replaying or self._unfounded)
        return whole and self.saving is None and self.state_offset != self.position

    def copy(self) -> StateCopy:
        """The state as it is, which is committed; its pages count as stored from here on."""
        pages = _copied(self.fleet)
        shadow = None if self.shadow is None else _copied(self.shadow)
        stands = self.epoch, self.owner, self.state_offset, self.position
        return StateCopy(self.name, self.partition, *stands, pages, self._waiting(), shadow)

    def end_saving(self) -> None:
        """Take note of a snapshot that is done. Raises what it raised: PartitionLost, StoreUnavailable."""
        if self.saving is not None and self.saving.outcome.done():
            self.saving.outcome.result()
            self._saved(self.saving)

    def _saved(self, saving: Saving) -> None:
        self.state_offset, self.saving = saving.state_offset, None

    def _not_saved(self, saving: Saving) -> None:
        for fleet, numbers in zip(self._fleets, (saving.numbers, saving.shadow_numbers), strict=False):
            fleet.devices.unsettle(numbers)
        self.saving = None


def _copied(fleet: Fleet) -> dict[int, Page]:
    """The pages that have changed, which count as stored from here on."""
    pages = {number: page.copied() for number, page in fleet.devices.dirty_pages().items()}
    fleet.devices.settle()
    return pages


def _devices_seen(pages: Iterable[Page]) -> tuple[DeviceSeen, ...]:
    return tuple(
        DeviceSeen(*seen)
        for page in pages
        for seen in zip(page.device_ids, page.rows["first_at"].tolist(), page.rows["last_at"].tolist(), strict=True)
    )
