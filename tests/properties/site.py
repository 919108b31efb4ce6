"""All that there is: devices, a log, a database, people and daemons, with a hand on each. Used by `machine`'s rules.

It checks after each step what has to hold all the time, and at the end that the tables are what the oracle expects.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple
from functools import cache
from tempfile import TemporaryDirectory
from uuid import UUID

from sensord.clock import MICROSECONDS, ManualClock
from sensord.daemon.policy import Pace
from sensord.errors import StageConflict
from sensord.model.bundle import Bundle, Packed, unpack
from sensord.readings import Partition
from sensord.store.alerts import AlertFilter, AlertRow, accept, list_alerts
from sensord.store.registry import Registry
from tests.builders import START, packed
from tests.properties.database import Database
from tests.properties.journal import Accepted, GapAccepted
from tests.properties.oracle import FLEET, PERSON, Terms, expect
from tests.properties.process import LIMITS, TOPIC, Plant, Process
from tests.properties.producer import DEVICES, Producer
from tests.properties.tables import committed, compare

MOST_DAEMONS = 3
MOST_PARTITIONS = 4
ENOUGH = 300  # turns, for a healthy daemon to finish
OFTEN = Pace(1, 5)
PACES = (OFTEN, Pace(0.1, 0.5), Pace(0.5, 30))

_folders: list[TemporaryDirectory[str]] = []  # kept until the process ends


@cache
def database() -> Database:
    """One file for all runs."""
    _folders.append(TemporaryDirectory(prefix="sensord-simulation-"))
    return Database(f"sqlite:///{_folders[-1].name}/sensord.db")


@cache
def models() -> tuple[Packed, ...]:
    """Bundles that may be promoted; the last two must be refused."""
    cut = packed(seed=11)
    wide = packed(hidden=32)  # as a real one: a narrower one hides what padding is for
    damaged = Packed(cut.bundle_id, cut.manifest, cut.weights[:-8], cut.sha256)
    return wide, packed(hidden=32, seed=7), packed(hidden=32, seed=3, events=True), damaged, packed(("heat", "flow"))


GOOD = 3  # of the models


@cache
def bundle(bundle_id: str) -> Bundle:
    """A good one by its id."""
    [found] = [model for model in models()[:GOOD] if model.bundle_id == bundle_id]
    return unpack(found)


class Site:
    """losses: partitions whose log has lost something that no gap accounts for yet."""

    def __init__(self) -> None:
        database().start_afresh()
        self.plant = Plant(database(), clock=ManualClock(START / 1e6))
        self.log, self.journal = self.plant.log, self.plant.journal
        self.log.create(TOPIC, 2)
        self.producer = Producer(self.log, self.is_settled)
        self.registry = Registry(database().engine)
        self.daemons: list[Process] = []
        self.losses: set[Partition] = set()
        self._checked = 0  # entries of the journal
        self.promote(0)

    def begin(self, most_devices: int, lateness_s: int) -> None:
        """The first daemon of a fleet of which a partition may have so many devices, with readings so late."""
        self.plant.terms = Terms(LIMITS, most_devices, lateness_s * MICROSECONDS)
        self.start(Pace(0.5, 30), 500, accept_gap=False)

    @property
    def partitions(self) -> list[Partition]:
        return self.log.partitions(TOPIC)

    # --- people ------------------------------------------------------------------------------------------------------

    def promote(self, number: int) -> None:
        """Make a bundle current."""
        model, now = models()[number], self.plant.clock.now()
        self.registry.publish(FLEET, model.bundle_id, model.manifest, model.weights, model.sha256, now, "ann")
        self.registry.promote(FLEET, model.bundle_id, now, "ann")

    def try_out(self, number: int) -> None:
        """Have a bundle scored beside the current one."""
        model, now = models()[number], self.plant.clock.now()
        self.registry.publish(FLEET, model.bundle_id, model.manifest, model.weights, model.sha256, now, "ann")
        with suppress(StageConflict):  # it is current
            self.registry.shadow(FLEET, model.bundle_id, now, "ann")

    def accept(self, which: int) -> None:
        """Call an open alert normal."""
        waiting = sorted(a.id for a in self._open_alerts() if a.accepted_at is None)
        if waiting:
            self._accept(waiting[which % len(waiting)])

    def _accept(self, alert_id: UUID) -> None:
        now = self.plant.clock.now()
        accept(database().engine, str(alert_id), PERSON, now)
        self.journal.write(Accepted(alert_id, now))

    # --- daemons -----------------------------------------------------------------------------------------------------

    def awake(self) -> list[Process]:
        return [daemon for daemon in self.daemons if not daemon.frozen]

    def frozen(self) -> list[Process]:
        return [daemon for daemon in self.daemons if daemon.frozen]

    def start(self, pace: Pace, max_records: int, accept_gap: bool, dawdles: int = 0) -> None:
        self.daemons.append(Process(self.plant, pace, max_records, accept_gap, dawdles))

    def step(self, daemon: Process, seconds: float = 0.0) -> None:
        daemon.step()
        self.plant.clock.advance(seconds)
        self.look()

    def all_step(self, times: int, seconds: float) -> None:
        for _ in range(times):
            for daemon in self.awake():
                self.step(daemon, seconds)

    def crash(self, daemon: Process, point: str) -> None:
        """End it at this point, if it comes by."""
        self._reach(daemon, point, daemon.die)

    def freeze(self, daemon: Process, point: str, expelled: bool) -> None:
        """Stop it at this point, if it comes by; expelled: the group has given it up."""
        self._reach(daemon, point, daemon.freeze)
        if daemon.frozen and expelled:
            self.log.expel(daemon.source)

    def thaw(self, daemon: Process) -> None:
        daemon.thaw()
        self.look()

    def leave(self, daemons: list[Process], drained: bool = False) -> None:
        for daemon in daemons:
            if drained and not daemon.frozen:
                daemon.drain()
            else:
                daemon.kill()
        self.look()

    def _reach(self, daemon: Process, point: str, what: Callable[[], None]) -> None:
        daemon.points.arm(point, what)
        for _ in range(3):
            if daemon in self.awake():
                self.step(daemon, 1.0)

    def look(self) -> None:
        """Bury who has ended, and see whether all is well."""
        for daemon in self.daemons:
            if daemon.ended is not None:
                self._accept_end(daemon.ended)
        self.daemons = [daemon for daemon in self.daemons if daemon.ended is None]
        for entry in self.journal.entries[self._checked :]:
            if isinstance(entry, GapAccepted):
                assert entry.partition in self.losses, f"nothing was lost: {entry}"
                self.losses.discard(entry.partition)
        self._checked = len(self.journal.entries)
        self._database_agrees()

    def _database_agrees(self) -> None:
        """What it says of every partition is what the journal ends with."""
        for number, found in committed(database().engine).items():
            partition = Partition(TOPIC, number)
            assert found == self.journal.end(partition), str(partition)

    def _accept_end(self, why: str) -> None:
        if why.startswith("OffsetsLost"):
            assert any(str(partition) in why for partition in self.losses), f"nothing was lost: {why}"
        elif why.startswith("BundleInvalid"):
            assert not self._current_is_good(), why
        else:
            assert why in ("killed", "drained"), why

    def _current_is_good(self) -> bool:
        return self.registry.current_id(FLEET) in {model.bundle_id for model in models()[:GOOD]}

    # --- the log -----------------------------------------------------------------------------------------------------

    def is_settled(self, partition: Partition) -> bool:
        """Nobody is ahead of the log: what is written over lost offsets before anybody looks can't be told apart."""
        end = self.log.bounds(partition).end
        held = [shard.position for daemon in self.daemons for shard in daemon.holds(partition)]
        return max([self.journal.end(partition) or 0, *held]) <= end

    def lose_records(self, partition: Partition, what: str, records: int) -> None:
        """The head of a partition expires, its tail is truncated, or the whole topic is made anew."""
        beginning, end = astuple(self.log.bounds(partition))
        self.losses.add(partition)
        match what:
            case "expire":
                self.log.expire(partition, min(end, beginning + records))
            case "truncate":
                self.log.truncate(partition, max(beginning, end - records))
            case _:
                self.losses.update(self.partitions)
                self.log.create(TOPIC, len(self.partitions))

    def extend_log(self, partition: Partition, what: str) -> None:
        """Another partition, or an offset without a record, as Kafka's transactions leave them."""
        if what == "partition":
            self.log.grow(TOPIC, min(len(self.partitions) + 1, MOST_PARTITIONS))
        elif self.is_settled(partition):
            self.log.skip(partition)

    # --- the database ------------------------------------------------------------------------------------------------

    def lose_last_commit(self, noticed: bool) -> None:
        """A standby takes over that lacks it, and gives epochs out again. noticed: all connections are cut."""
        length = database().lose_last_commit()
        if length is None:
            return
        undone = self.journal.entries[length:]
        self.losses |= {entry.partition for entry in undone if isinstance(entry, GapAccepted)}
        del self.journal.entries[length:]
        self._checked = length
        for daemon in self.daemons:
            daemon.points.cut |= noticed

    # --- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Everything ends at once."""
        for daemon in self.daemons:
            daemon.kill()
        self.daemons.clear()

    def finish(self) -> None:
        """One healthy daemon reads on to the end, and then all tables are as they should be."""
        self.close()
        self.plant.fate.clear()
        database().fails_in = None
        if not self._current_is_good():
            self.promote(0)
        self.producer.write(range(DEVICES), 4, [])  # what waited for them in a snapshot has its turn
        self.start(OFTEN, 500, accept_gap=bool(self.losses))
        [daemon] = self.daemons
        for _ in range(ENOUGH):
            self.step(daemon, 1.0)
            assert daemon.ended is None, daemon.ended
            if daemon.loop.ready and all(map(self._is_read, self.partitions)):
                break
        else:
            raise AssertionError("the daemon never finished")
        daemon.drain()
        self.look()
        compare(database().engine, expect(self.journal.entries, bundle, self.plant.terms))

    def _is_read(self, partition: Partition) -> bool:
        bounds = self.log.bounds(partition)
        records, _ = self.log.read(partition, bounds.beginning, bounds.end)
        committed = self.journal.end(partition)
        return committed is not None and (not records or committed > records[-1].offset)

    def _open_alerts(self) -> list[AlertRow]:
        return list_alerts(database().engine, AlertFilter(open_only=True))
