"""Daemons that can be killed and frozen anywhere in a turn, and that write down what they commit."""

import threading
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import astuple, dataclass, field

from sensord.clock import ManualClock
from sensord.daemon.at_once import AtOnce
from sensord.daemon.loop import FleetRules, Loop, Rules
from sensord.daemon.models import Models
from sensord.daemon.owner import Owner
from sensord.daemon.policy import Pace
from sensord.daemon.shard import Shard
from sensord.daemon.watchdog import Watchdog
from sensord.detection.alerts import Reason
from sensord.detection.fleet import Limits
from sensord.errors import BundleInvalid, NeedsAPerson, StoreUnavailable
from sensord.metrics import Metrics
from sensord.readings import Partition, RawRecord
from sensord.store.progress import Checkpoint, Claim, Committed, LaterSnapshot, Progress
from sensord.store.registry import Registry
from sensord.stream.decoders import Decoded
from sensord.stream.decoders.json import JsonDecoder
from sensord.stream.memory import MemoryLog, MemorySource
from sensord.stream.source import Batch
from tests.dawdling import Dawdling
from tests.properties.database import Database
from tests.properties.journal import Amendment, Claimed, Commit, GapAccepted, Journal, Stored
from tests.properties.oracle import FLEET, Terms

TOPIC = "sensors.pumps"
CHANNELS = ("heat", "noise")
LIMITS = Limits(max_gap_s=60, max_episode_s=45, silent_periods=40)
PATIENCE_S = 30.0
IN_TRANSACTION = ("writing alerts", "writing pages")  # whoever is frozen there keeps the file locked
FREEZABLE = (
    "polled",
    "decoding",
    "claiming",
    "claimed",
    "bridging",
    "bridged",
    "committing",
    "committed",
    "stored",
    "settled",
)
POINTS = FREEZABLE + IN_TRANSACTION
MANY = 10_000  # devices: nobody has to leave
PART_BYTES = 200  # two or three readings


class Killed(BaseException):
    """The process ends here; nothing in the product may catch it."""


@dataclass
class Plant:
    """What all daemons share. fate: what becomes of coming commits, one each; "before", "after" or "fine"."""

    database: Database
    log: MemoryLog = field(default_factory=MemoryLog)
    clock: ManualClock = field(default_factory=ManualClock)
    journal: Journal = field(default_factory=Journal)
    fate: list[str] = field(default_factory=list)
    terms: Terms = field(default_factory=lambda: Terms(LIMITS, MANY, 0))


@dataclass
class Failpoints:
    """Places in a turn where something may happen to a daemon, once; `reach` is called at each.

    cut: its connection to the database is gone, which it finds out when it next asks.
    """

    cut: bool = False
    _armed: str | None = None
    _what: Callable[[], None] | None = None

    def arm(self, point: str, what: Callable[[], None]) -> None:
        self._armed, self._what = point, what

    def reach(self, point: str) -> None:
        if self._armed == point and (what := self._what) is not None:
            self._armed = self._what = None
            what()


class SeenLog(MemorySource):
    """A source that knows what the log held when it was last polled, and held before where it has expired since."""

    def __init__(self, log: MemoryLog, points: Failpoints, max_records: int) -> None:
        super().__init__(log, [TOPIC], max_records=max_records)
        self._points = points
        self._records: dict[Partition, dict[int, RawRecord]] = {}
        self.seen_topic_id = ""

    def poll(self, timeout_s: float) -> Batch:
        self._look()
        batch = super().poll(timeout_s)
        self._points.reach("polled")
        return batch

    def topic_id(self, topic: str) -> str:
        self._look()
        return super().topic_id(topic)

    def hint(self, offsets: object) -> None:
        self._points.reach("settled")

    def seen(self, partition: Partition, start: int, end: int) -> list[RawRecord]:
        """The records between two offsets."""
        known = self._records[partition]
        return [known[offset] for offset in sorted(known) if start <= offset < end]

    def _look(self) -> None:
        if self.seen_topic_id != self._log.topic_id(TOPIC):
            self.seen_topic_id = self._log.topic_id(TOPIC)
            self._records.clear()
        for partition in self._log.partitions(TOPIC):
            beginning, end = astuple(self._log.bounds(partition))
            known = self._records.get(partition, {})
            kept = {offset: record for offset, record in known.items() if not beginning <= offset < end}
            there = {record.offset: record for record in self._log.read(partition, beginning, end)[0]}
            self._records[partition] = kept | there


class WatchedLoop(Loop):
    """Notes what changes a state without a record, and where."""

    def __init__(self, *parts: object) -> None:
        super().__init__(*parts)  # type: ignore[arg-type]  # the same parts
        self._amended: dict[Partition, tuple[Shard, list[Amendment]]] = {}

    def amendments(self, partition: Partition) -> list[Amendment]:
        """Those since the shard's last commit."""
        shard, found = self._amended.get(partition, (None, []))
        return found if shard is not None and shard is self.shards.get(partition) else []

    def _take_up_acceptances(self) -> None:
        try:
            super()._take_up_acceptances()
        finally:
            self._note()

    def _evict_surplus(self) -> None:
        held = {partition: set(shard.fleet.devices.ids) for partition, shard in self.shards.items()}
        super()._evict_surplus()
        self._note(held)

    def _swap_models(self) -> None:
        try:
            super()._swap_models()
        finally:
            self._note()

    def _note(self, held: Mapping[Partition, Set[str]] | None = None) -> None:
        """held: the devices of before, where some may have left."""
        for partition, shard in self.shards.items():
            evicted = frozenset((held or {}).get(partition, set()) - set(shard.fleet.devices.ids))
            found = self.amendments(partition)
            told = {alert_id for amendment in found for alert_id in amendment.accepted}
            pending = shard.fleet._chronicle._pending.values()  # asking for `changes` would change it
            accepted = {one.alert.id for one in pending if one.alert.close_reason is Reason.ACCEPTED}
            before = (found[-1].model_id, found[-1].shadow_id) if found else (shard.stored_model, shard.stored_shadow)
            now = shard.fleet.bundle.id, shard.shadow_id
            if accepted - told or evicted or now != before:
                new = Amendment(shard.position, frozenset(accepted - told), evicted, *now)
                self._amended[partition] = shard, [*found, new]

    def committed(self, partition: Partition) -> None:
        self._amended.pop(partition, None)


class JournalledProgress(Progress):
    """Writes every transaction into the journal, and fails as it is fated to."""

    def __init__(self, plant: Plant, process: "Process") -> None:
        super().__init__(plant.database.engine)
        self._plant, self._process = plant, process

    def claim(self, fleet: str, partition: Partition, owner: str, topic_id: str, at: int) -> Claim:
        self._process.points.reach("claiming")
        claim = super().claim(fleet, partition, owner, topic_id, at)
        self._plant.journal.write(Claimed(partition, claim.epoch))
        self._process.points.reach("claimed")
        return claim

    def commit(self, checkpoints: Sequence[Checkpoint], at: int) -> Committed:
        self._process.points.reach("committing")
        fate = self._plant.fate.pop(0) if self._plant.fate else "fine"
        if fate == "before":
            raise StoreUnavailable("failed before it was applied")
        self._plant.database.about_to_commit(len(self._plant.journal.entries))
        committed = super().commit(checkpoints, at)
        for checkpoint in checkpoints:
            self._plant.journal.write(self._entry(checkpoint))
        assert not committed.conflicts, f"{committed.conflicts} alerts were there already"
        self._process.points.reach("committed")
        if fate == "after":
            raise StoreUnavailable("applied, but the answer was lost")
        for checkpoint in checkpoints:
            self._process.loop.committed(checkpoint.partition)
        return committed

    def store(self, snapshot: LaterSnapshot) -> None:
        fate = self._plant.fate.pop(0) if self._plant.fate else "fine"
        if fate == "before":
            raise StoreUnavailable("failed before it was applied")
        self._plant.database.about_to_commit(len(self._plant.journal.entries))
        super().store(snapshot)
        self._plant.journal.write(Stored(snapshot.partition, snapshot.epoch, snapshot.state_offset))
        self._process.points.reach("stored")
        if fate == "after":
            raise StoreUnavailable("applied, but the answer was lost")

    def accept_gap(
        self, claim: Claim, from_offset: int | None, to_offset: int, topic_id: str, reason: str, at: int
    ) -> Claim:
        self._process.points.reach("bridging")
        after = super().accept_gap(claim, from_offset, to_offset, topic_id, reason, at)
        self._plant.journal.write(GapAccepted(claim.partition, claim.epoch, from_offset, to_offset, reason))
        self._check_gap(claim.partition, from_offset or 0, to_offset)
        self._process.points.reach("bridged")
        return after

    def _check_gap(self, partition: Partition, start: int, end: int) -> None:
        """No record that the log still has and nobody has read is given up."""
        beginning = self._plant.log.bounds(partition).beginning
        skipped = [record.offset for record in self._plant.log.read(partition, beginning, end)[0]]
        assert start >= end or not [offset for offset in skipped if start <= offset < end], skipped

    def _entry(self, mark: Checkpoint) -> Commit:
        source = self._process.source
        start = mark.next_offset if mark.previous_offset is None else mark.previous_offset
        if mark.previous_offset is None:
            beginning = source.bounds([mark.partition])[mark.partition].beginning
            assert mark.next_offset <= beginning, f"{mark.partition} starts at {mark.next_offset}, not at {beginning}"
        return Commit(
            mark.partition,
            mark.epoch,
            mark.previous_offset,
            mark.next_offset,
            source.seen_topic_id,
            source.seen(mark.partition, start, mark.next_offset),
            self._process.loop.amendments(mark.partition),
            mark.snapshot.model_id if mark.snapshot else None,
            mark.snapshot.shadow.model_id if mark.snapshot and mark.snapshot.shadow else None,
        )


class PointedDecoder(JsonDecoder):
    """Decoding is a place to die at, in the midst of a batch of several partitions."""

    def __init__(self, channels: Sequence[str], points: Failpoints) -> None:
        super().__init__(channels)
        self._points = points

    def decode(self, partition: Partition, records: Sequence[RawRecord]) -> Decoded:
        self._points.reach("decoding")
        return super().decode(partition, records)


class Process:
    """One daemon. ended: why it is no more, "" for a kill; None while it lives."""

    def __init__(self, plant: Plant, pace: Pace, max_records: int, accept_gap: bool, dawdles: int = 0) -> None:
        self.points = Failpoints()
        self.ended: str | None = None
        self.frozen = False
        self.source = SeenLog(plant.log, self.points, max_records)
        registry = Registry(plant.database.engine)
        fleet = _fleet_rules(plant.terms, self.points)
        self.loop = WatchedLoop(
            self.source,
            JournalledProgress(plant, self),
            Models(registry, {FLEET: CHANNELS}),
            Rules({TOPIC: fleet}, Owner("test", 1), pace, part_bytes=PART_BYTES, accept_gap=accept_gap),
            plant.clock,
            Watchdog(plant.clock, 1e9),
            Metrics(),
            AtOnce(),
            Dawdling(dawdles),
        )
        self._plant = plant
        self._rested, self._thawed = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._doomed = self._leaving = False
        self._failure: BaseException | None = None

    def step(self) -> None:
        """Turn once. Afterwards it may have ended, or be frozen in the midst of it."""
        self._do(self.loop.turn)

    def drain(self) -> None:
        """Leave in good order."""
        self._leaving = True
        self._do(self.loop.drain)

    def kill(self) -> None:
        """SIGKILL; the group learns of it."""
        if self.frozen:
            self._doomed = True
            self.thaw()
        self._end("killed")

    def holds(self, partition: Partition) -> list[Shard]:
        """What it has in memory of a partition, owned or not."""
        loop = self.loop
        held = [loop.shards.get(partition), loop._unclaimed.get(partition), loop._parked.get(partition)]
        return [shard for shard in held if shard is not None]

    def die(self) -> None:
        """For a failpoint."""
        raise Killed

    def freeze(self) -> None:
        """For a failpoint: SIGSTOP, or a long pause of a virtual machine. Only where no transaction is open."""
        self.frozen = True
        self._rested.set()
        if not self._thawed.wait(PATIENCE_S) or self._doomed:
            raise Killed
        self._thawed.clear()

    def thaw(self) -> None:
        """Go on from where it was frozen, to the end of that turn."""
        self.frozen = False
        self._plant.database.serve(self.points)
        self._thawed.set()
        self._await()

    def _do(self, what: Callable[[], object]) -> None:
        """In a thread of its own, of which one at a time runs: it can be left standing in the midst of a call."""
        self._plant.database.serve(self.points)
        self._thread = threading.Thread(target=self._run, args=[what], daemon=True)
        self._thread.start()
        self._await()

    def _run(self, what: Callable[[], object]) -> None:
        try:
            what()
        except BaseException as error:  # noqa: BLE001  # a person's business, the end of the process, or a finding
            self._failure = error
        self._rested.set()

    def _await(self) -> None:
        assert self._rested.wait(PATIENCE_S), "a daemon hangs"
        self._rested.clear()
        self._plant.database.serve(None)
        failure, self._failure = self._failure, None
        if isinstance(failure, Killed):
            self._end("killed")
        elif isinstance(failure, NeedsAPerson | BundleInvalid):
            self._end(f"{type(failure).__name__}: {failure}")
        elif failure is not None:
            raise failure
        elif self._leaving and not self.frozen and self.ended is None:
            self.ended = "drained"

    def _end(self, why: str) -> None:
        if self.ended is None:
            self.ended = why
            self._plant.log.leave(self.source)


def _fleet_rules(terms: Terms, points: Failpoints) -> FleetRules:
    def decoder(channels: tuple[str, ...]) -> PointedDecoder:
        return PointedDecoder(channels, points)

    return FleetRules(FLEET, terms.limits, terms.most_devices, decoder, terms.lateness)
