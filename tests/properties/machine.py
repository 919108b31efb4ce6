"""The simulation: anything may happen to three daemons, and the tables are those of one plain loop over the log."""

import sys

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sensord.daemon.policy import Pace
from tests.properties.process import FREEZABLE, MANY, POINTS
from tests.properties.producer import DEVICES, ODDLY, POISON
from tests.properties.site import GOOD, MOST_DAEMONS, OFTEN, PACES, Site

DEVICE = st.integers(0, DEVICES - 1)
SOME_DEVICES = st.sets(DEVICE, min_size=1)
WHICH = st.integers(0, 5)
STEPS = 40
MOST_DEVICES = (MANY, 2, 1)  # of a partition; all devices are 3 on each of 2
LATENESS_S = (0, 2)
FATE = st.sampled_from(["before", "after", "fine"])
MODEL = st.sampled_from([0, 1, 2, 0, 1, 2, 3, 4])
MAYBE_MODEL = st.none() | st.integers(0, GOOD - 1)
RECORDS = st.sampled_from([1, 7, 40, 1_000])


class Simulation(RuleBasedStateMachine):
    """Rules are what may happen; the end of a run lets one healthy daemon finish, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.site = Site()

    @initialize(most_devices=st.sampled_from(MOST_DEVICES), lateness_s=st.sampled_from(LATENESS_S))
    def begin(self, most_devices: int, lateness_s: int) -> None:
        self.site.begin(most_devices, lateness_s)

    # --- devices -----------------------------------------------------------------------------------------------------

    @rule(devices=SOME_DEVICES, seconds=st.integers(1, 6), failing=st.sets(DEVICE))
    def write(self, devices: set[int], seconds: int, failing: set[int]) -> None:
        self.site.producer.write(devices, seconds, failing)

    @rule(device=DEVICE, kinds=st.lists(st.integers(0, len(POISON) - 1), min_size=1, max_size=3))
    def write_poison(self, device: int, kinds: list[int]) -> None:
        for kind in kinds:
            self.site.producer.write_poison(device, kind)

    @rule(device=DEVICE, how=st.sampled_from(ODDLY))
    def write_oddly(self, device: int, how: str) -> None:
        self.site.producer.write_oddly(device, how)

    # --- daemons -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.site.daemons) < MOST_DAEMONS)
    @rule(
        pace=st.sampled_from(PACES),
        max_records=st.sampled_from([3, 20, 500]),
        accept_gap=st.booleans(),
        dawdles=st.sampled_from([0, 1, 4, 20]),
    )
    def start(self, pace: Pace, max_records: int, accept_gap: bool, dawdles: int) -> None:
        self.site.start(pace, max_records, accept_gap, dawdles)

    @rule(times=st.integers(1, 4), seconds=st.sampled_from([0.0, 0.7, 3.0]))
    def all_step(self, times: int, seconds: float) -> None:
        self.site.all_step(times, seconds)

    @precondition(lambda self: self.site.awake())
    @rule(which=WHICH, times=st.integers(1, 3), seconds=st.sampled_from([0.0, 0.7, 3.0]))
    def step(self, which: int, times: int, seconds: float) -> None:
        daemon = self.site.awake()[which % len(self.site.awake())]
        for _ in range(times):
            if daemon in self.site.awake():
                self.site.step(daemon, seconds)

    @precondition(lambda self: self.site.awake())
    @rule(which=WHICH, point=st.sampled_from(POINTS))
    def crash(self, which: int, point: str) -> None:
        self.site.crash(self.site.awake()[which % len(self.site.awake())], point)

    @precondition(lambda self: self.site.awake())
    @rule(which=WHICH, point=st.sampled_from(FREEZABLE), expelled=st.booleans())
    def freeze(self, which: int, point: str, expelled: bool) -> None:
        self.site.freeze(self.site.awake()[which % len(self.site.awake())], point, expelled)

    @precondition(lambda self: self.site.frozen())
    @rule(which=WHICH)
    def thaw(self, which: int) -> None:
        self.site.thaw(self.site.frozen()[which % len(self.site.frozen())])

    @precondition(lambda self: self.site.awake())
    @rule(
        which=WHICH, point=st.sampled_from(FREEZABLE), turns=st.integers(1, 3), model=MAYBE_MODEL, leaves=st.booleans()
    )
    def take_over(self, which: int, point: str, turns: int, model: int | None, leaves: bool) -> None:
        """The whole story of a zombie: frozen, given up, replaced, and back again."""
        zombie = self.site.awake()[which % len(self.site.awake())]
        self.site.freeze(zombie, point, expelled=True)
        if not zombie.frozen:
            return
        if not self.site.awake():
            self.site.start(OFTEN, 500, accept_gap=False)
        if model is not None:
            self.site.promote(model)
        self.site.all_step(turns, 0.7)
        if leaves:
            self.site.leave(self.site.awake())
        self.site.thaw(zombie)

    @precondition(lambda self: self.site.daemons)
    @rule(which=WHICH, how=st.sampled_from(["expelled", "killed", "drained"]))
    def leave(self, which: int, how: str) -> None:
        daemon = self.site.daemons[which % len(self.site.daemons)]
        if how == "expelled":
            self.site.log.expel(daemon.source)
        else:
            self.site.leave([daemon], drained=how == "drained")

    # --- the database ------------------------------------------------------------------------------------------------

    @rule(fate=st.lists(FATE, min_size=1, max_size=3))
    def commits_fail(self, fate: list[str]) -> None:
        self.site.plant.fate.extend(fate)

    @rule(transactions=st.integers(0, 6))
    def database_fails(self, transactions: int) -> None:
        self.site.plant.database.fails_in = transactions

    @rule(noticed=st.booleans())
    def lose_last_commit(self, noticed: bool) -> None:
        self.site.producer.write(range(DEVICES), 1, [])
        self.site.all_step(2, 0.7)
        self.site.lose_last_commit(noticed)

    # --- the log -----------------------------------------------------------------------------------------------------

    @rule(which=WHICH, what=st.sampled_from(["truncate", "expire", "recreate"]), records=RECORDS)
    def lose_records(self, which: int, what: str, records: int) -> None:
        self.site.lose_records(self.site.partitions[which % len(self.site.partitions)], what, records)

    @rule(which=WHICH, what=st.sampled_from(["marker", "partition"]))
    def extend_log(self, which: int, what: str) -> None:
        self.site.extend_log(self.site.partitions[which % len(self.site.partitions)], what)

    # --- people ------------------------------------------------------------------------------------------------------

    @rule(number=MODEL)
    def promote(self, number: int) -> None:
        self.site.promote(number)

    @rule(number=MODEL)
    def try_out(self, number: int) -> None:
        self.site.try_out(number)

    @rule(which=WHICH)
    def accept(self, which: int) -> None:
        self.site.accept(which)

    @precondition(lambda self: self.site.awake())
    @rule(which=WHICH, model=MAYBE_MODEL, fate=FATE)
    def change_while_quiet(self, which: int, model: int | None, fate: str) -> None:
        """A swap or an acceptance when all is read: its snapshot moves no offset."""
        self.site.all_step(4, 3.0)
        if model is None:
            self.site.accept(which)
        else:
            self.site.promote(model)
        self.site.plant.clock.advance(60.0)
        self.site.plant.fate.append(fate)
        self.site.all_step(1, 0.0)

    # --- the end -----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:
            self.site.finish()
        else:
            self.site.close()  # a rule has failed already


def explore(examples: int, seed_: int, shrink: bool = False) -> None:
    """Run the simulation so many times. Raises AssertionError with the steps of a run that fails; prints the seed."""
    print(f"simulation: {examples} examples, seed {seed_}")  # noqa: T201  # pytest shows it with a failure
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        phases=phases,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(seed_)(type("Seeded", (Simulation,), {})), settings=chosen)
