"""The simulation: anything may happen to three daemons, and the tables are those of one plain loop over the log."""

import sys
from functools import cache
from tempfile import TemporaryDirectory

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sensord.clock import ManualClock
from sensord.daemon.policy import Pace
from sensord.model.bundle import Bundle, Packed, unpack
from sensord.store.registry import Registry
from tests.builders import START, packed
from tests.properties.database import Database
from tests.properties.oracle import FLEET, expect
from tests.properties.process import LIMITS, POINTS, TOPIC, Plant, Process
from tests.properties.producer import Producer
from tests.properties.tables import compare, progress

MOST_DAEMONS = 3
ENOUGH = 300  # turns, for a healthy daemon to finish
SOME_DEVICES = st.sets(st.integers(0, 5), min_size=1)
WHICH = st.integers(0, MOST_DAEMONS - 1)


@cache
def database() -> Database:
    """One file for all runs."""
    folder = TemporaryDirectory(prefix="sensord-simulation-")  # as long as the process
    _kept.append(folder)
    return Database(f"sqlite:///{folder.name}/sensord.db")


_kept: list[TemporaryDirectory[str]] = []


@cache
def models() -> tuple[Packed, ...]:
    return packed(), packed(seed=7), packed(seed=3, events=True)


@cache
def bundle(bundle_id: str) -> Bundle:
    [found] = [model for model in models() if model.bundle_id == bundle_id]
    return unpack(found)


class Simulation(RuleBasedStateMachine):
    """Rules are what may happen; the end of a run lets one healthy daemon finish, and compares."""

    def __init__(self) -> None:
        super().__init__()
        database().start_afresh()
        self.plant = Plant(database(), clock=ManualClock(START / 1e6))
        self.plant.log.create(TOPIC, 2)
        self.producer = Producer(self.plant.log)
        self.registry = Registry(database().engine)
        self.daemons: list[Process] = []
        self.promote(models()[0])

    def promote(self, model: Packed) -> None:
        now = self.plant.clock.now()
        self.registry.publish(FLEET, model.bundle_id, model.manifest, model.weights, model.sha256, now)
        self.registry.promote(FLEET, model.bundle_id, now)

    # --- the log -----------------------------------------------------------------------------------------------------

    @rule(devices=SOME_DEVICES, seconds=st.integers(1, 12), failing=st.sets(st.integers(0, 5)))
    def write(self, devices: set[int], seconds: int, failing: set[int]) -> None:
        self.producer.write(devices, seconds, failing)

    # --- daemons -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.daemons) < MOST_DAEMONS)
    @rule(max_records=st.sampled_from([3, 20, 500]), pace=st.sampled_from([Pace(1, 5), Pace(0.1, 0.5)]))
    def start(self, max_records: int, pace: Pace) -> None:
        self.daemons.append(Process(self.plant, pace, max_records, accept_gap=False))

    @precondition(lambda self: self.daemons)
    @rule(which=WHICH, seconds=st.sampled_from([0.0, 0.7, 3.0]))
    def step(self, which: int, seconds: float) -> None:
        daemon = self.daemons[which % len(self.daemons)]
        daemon.step()
        self.plant.clock.advance(seconds)
        self.bury()

    @precondition(lambda self: self.daemons)
    @rule(which=WHICH, point=st.sampled_from(POINTS))
    def crash(self, which: int, point: str) -> None:
        daemon = self.daemons[which % len(self.daemons)]
        daemon.points.arm(point, daemon.die)
        daemon.step()
        self.bury()

    def bury(self) -> None:
        self.daemons = [daemon for daemon in self.daemons if daemon.ended is None]

    # --- what has to hold --------------------------------------------------------------------------------------------

    @invariant()
    def the_database_stands_where_the_journal_ends(self) -> None:
        journal = self.plant.journal
        for partition in self.plant.log.partitions(TOPIC):
            if (found := progress(database().engine).get(partition.number)) is not None:
                assert found == (journal.epoch(partition), journal.end(partition))

    def teardown(self) -> None:
        for daemon in self.daemons:
            daemon.kill()
        if sys.exc_info()[0] is not None:
            return  # a rule has failed already
        self.finish()
        compare(database().engine, expect(self.plant.journal.entries, bundle, LIMITS))

    def finish(self) -> None:
        """One healthy daemon reads on to the end."""
        self.plant.fate.clear()
        daemon = Process(self.plant, Pace(1, 5), 500, accept_gap=False)
        for _ in range(ENOUGH):
            daemon.step()
            self.plant.clock.advance(1.0)
            assert daemon.ended is None, daemon.ended
            if daemon.loop.ready and self.read_to_the_end():
                break
        else:
            raise AssertionError("the daemon never finished")
        daemon.drain()

    def read_to_the_end(self) -> bool:
        """Every record of the log is committed."""
        for partition in self.plant.log.partitions(TOPIC):
            bounds = self.plant.log.bounds(partition)
            records, _ = self.plant.log.read(partition, bounds.beginning, bounds.end)
            committed = self.plant.journal.end(partition)
            if committed is None or (records and committed <= records[-1].offset):
                return False
        return True
