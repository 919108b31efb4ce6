"""The simulation: anything may happen to three daemons, and the tables are those of one plain loop over the log."""

import sys

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from sensord.daemon.policy import Pace
from tests.properties.process import FREEZABLE, POINTS
from tests.properties.producer import DEVICES, POISON
from tests.properties.site import MOST_DAEMONS, QUICK, SLOW, Site, models

DEVICE = st.integers(0, DEVICES - 1)
SOME_DEVICES = st.sets(DEVICE, min_size=1)
WHICH = st.integers(0, 5)
RECORDS = st.sampled_from([1, 7, 40, 1_000])


class Simulation(RuleBasedStateMachine):
    """Rules are what may happen; the end of a run lets one healthy daemon finish, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.site = Site()

    # --- devices -----------------------------------------------------------------------------------------------------

    @rule(devices=SOME_DEVICES, seconds=st.integers(1, 8), failing=st.sets(DEVICE))
    def write(self, devices: set[int], seconds: int, failing: set[int]) -> None:
        self.site.producer.write(devices, seconds, failing)

    @rule(device=DEVICE, kind=st.integers(0, len(POISON) - 1))
    def write_poison(self, device: int, kind: int) -> None:
        self.site.producer.write_poison(device, kind)

    @rule(device=DEVICE, back=st.sampled_from([1, 30]))
    def write_late(self, device: int, back: int) -> None:
        self.site.producer.write_late(device, back)

    @rule(device=DEVICE)
    def repeat(self, device: int) -> None:
        self.site.producer.repeat(device)

    @rule(device=DEVICE)
    def write_together(self, device: int) -> None:
        self.site.producer.write_together(device)

    @rule(seconds=st.sampled_from([20, 61, 200]))
    def say_nothing(self, seconds: int) -> None:
        self.site.producer.second += seconds

    # --- daemons -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.site.daemons) < MOST_DAEMONS)
    @rule(pace=st.sampled_from([SLOW, QUICK]), max_records=st.sampled_from([3, 20, 500]), accept_gap=st.booleans())
    def start(self, pace: Pace, max_records: int, accept_gap: bool) -> None:
        self.site.start(pace, max_records, accept_gap)

    @precondition(lambda self: self.site.awake())
    @rule(which=WHICH, times=st.integers(1, 6), seconds=st.sampled_from([0.0, 0.7, 3.0]))
    def step(self, which: int, times: int, seconds: float) -> None:
        for _ in range(times):
            if awake := self.site.awake():
                self.site.step(awake[which % len(awake)], seconds)

    @precondition(lambda self: self.site.awake())
    @rule(times=st.integers(1, 4))
    def all_step(self, times: int) -> None:
        for _ in range(times):
            for daemon in self.site.awake():
                self.site.step(daemon, 0.7)

    @precondition(lambda self: self.site.awake())
    @rule(which=WHICH, point=st.sampled_from(POINTS))
    def crash(self, which: int, point: str) -> None:
        daemon = self.site.awake()[which % len(self.site.awake())]
        daemon.points.arm(point, daemon.die)
        self.site.step(daemon)

    @precondition(lambda self: self.site.awake())
    @rule(which=WHICH, point=st.sampled_from(FREEZABLE), expelled=st.booleans())
    def freeze(self, which: int, point: str, expelled: bool) -> None:
        daemon = self.site.awake()[which % len(self.site.awake())]
        daemon.points.arm(point, daemon.freeze)
        self.site.step(daemon)
        if expelled and daemon.frozen:
            self.site.log.expel(daemon.source)

    @precondition(lambda self: self.site.frozen())
    @rule(which=WHICH)
    def thaw(self, which: int) -> None:
        self.site.frozen()[which % len(self.site.frozen())].thaw()
        self.site.look()

    @precondition(lambda self: self.site.daemons)
    @rule(which=WHICH)
    def expel(self, which: int) -> None:
        self.site.log.expel(self.site.daemons[which % len(self.site.daemons)].source)

    @precondition(lambda self: self.site.daemons)
    @rule(which=WHICH)
    def kill(self, which: int) -> None:
        self.site.daemons[which % len(self.site.daemons)].kill()
        self.site.look()

    @precondition(lambda self: self.site.awake())
    @rule(which=WHICH)
    def drain(self, which: int) -> None:
        self.site.awake()[which % len(self.site.awake())].drain()
        self.site.look()

    # --- the database ------------------------------------------------------------------------------------------------

    @rule(fate=st.lists(st.sampled_from(["before", "after", "fine"]), min_size=1, max_size=4))
    def commits_fail(self, fate: list[str]) -> None:
        self.site.plant.fate.extend(fate)

    @rule(transactions=st.integers(0, 6))
    def database_fails(self, transactions: int) -> None:
        self.site.plant.database.fails_in = transactions

    @rule()
    def lose_last_commit(self) -> None:
        self.site.lose_last_commit()

    # --- the log -----------------------------------------------------------------------------------------------------

    @rule(which=WHICH, records=RECORDS)
    def truncate(self, which: int, records: int) -> None:
        self.site.truncate(self.site.partitions[which % len(self.site.partitions)], records)

    @rule(which=WHICH, records=RECORDS)
    def expire(self, which: int, records: int) -> None:
        self.site.expire(self.site.partitions[which % len(self.site.partitions)], records)

    @rule(which=WHICH, offsets=st.integers(1, 3))
    def end_a_kafka_transaction(self, which: int, offsets: int) -> None:
        partition = self.site.partitions[which % len(self.site.partitions)]
        if self.site.is_settled(partition):
            self.site.log.skip(partition, offsets)

    @rule()
    def recreate(self) -> None:
        self.site.recreate()

    @rule()
    def grow(self) -> None:
        self.site.grow()

    # --- people ------------------------------------------------------------------------------------------------------

    @rule(number=st.integers(0, len(models()) - 1))
    def promote(self, number: int) -> None:
        self.site.promote(number)

    @rule(which=WHICH)
    def accept(self, which: int) -> None:
        self.site.accept(which)

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:
            self.site.finish()
        else:
            self.site.close()  # a rule has failed already
