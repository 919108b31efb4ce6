"""Plays scenarios and judges what they leave. Used by `scripts/faults` and by the tests."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sensord.detection.fleet import make_ready
from sensord.model.bundle import unpack
from tests.faults import ledger, servers
from tests.faults.invariants import (
    Expected,
    Tables,
    alerts_equal,
    chain_is_whole,
    dead_letters_exact,
    fence_held,
    gaps_exact,
    readiness_told,
    state_equal,
)
from tests.faults.ledger import Entry
from tests.faults.mutations import check
from tests.faults.scenarios.scenario import Scenario
from tests.faults.stage import Stage, model, staged
from tests.faults.trial import Stuck, Trial
from tests.faults.workload import Workload

INVARIANTS = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8")


@dataclass(slots=True)
class Outcome:
    """What became of one scenario. problems: by invariant, what is wrong; an invariant that held isn't in it."""

    name: str
    what: str
    problems: dict[str, list[str]] = field(default_factory=dict)
    recovery_s: float | None = None
    peak_mb: float = 0.0
    idle_cpu: float | None = None
    seconds: float = 0.0
    not_judged: tuple[str, ...] = ()
    alerts: int = 0
    commits: int = 0
    mutation: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return not self.problems


@contextmanager
def own_stage(workload: Workload, rate: float) -> Iterator[Stage]:
    """A stage on servers of its own, all of which may be killed. Raises ServerUnavailable."""
    with (
        servers.broker() as broker,
        servers.database() as postgres,
        staged(broker.address, broker, postgres, workload, rate) as stage,
    ):
        make_ready(unpack(model()))  # to compile takes a minute and memory that no daemon here is to be blamed for
        yield stage


def play(stage: Stage, scenario: Scenario, mutation: str = "") -> Outcome:
    """Play one scenario and judge it. Raises NotApplicable for a mutation that would change nothing."""
    if mutation:
        check(mutation)
    topic = scenario.topic(stage) if scenario.topic else stage.main_topic()
    if scenario.topic is None:
        stage.golden(topic)
    outcome = Outcome(scenario.name, scenario.what, mutation=mutation)
    began = time.monotonic()
    with stage.trial(topic, mutation) as trial:
        expected: Expected | None = None
        try:
            expected = scenario.play(stage, trial)
        except Stuck as stuck:
            outcome.problems["I8"] = [str(stuck)]
        except Exception as error:  # noqa: BLE001  # the others are still worth playing
            outcome.problems["I8"] = [f"the scenario itself failed: {type(error).__name__}: {error}"]
        outcome.seconds = time.monotonic() - began
        stage.mend()
        trial.stop_all()
        found, entries = Tables.of(trial.engine), ledger.entries(trial.engine)
        outcome.peak_mb = max((daemon.peak_mb for daemon in trial.daemons), default=0.0)
    try:
        expected = expected or Expected(stage.golden(topic), topic.written.injected, topic.written.ends)
    except Stuck as stuck:  # what a scenario that failed has left of its topic; the others are still worth playing
        outcome.problems.setdefault("I8", []).append(f"no oracle: {stuck}")
        return outcome
    judge(outcome, scenario, trial, found, entries, expected)
    return outcome


def judge(
    outcome: Outcome, scenario: Scenario, trial: Trial, found: Tables, entries: list[Entry], expected: Expected
) -> None:
    """Note what is wrong, by invariant."""
    outcome.alerts, outcome.commits = len(found.alerts), sum(entry.kind == "commit" for entry in entries)
    outcome.recovery_s = recovery(entries, trial.faults_over_at)
    outcome.notes = trial.notes
    outcome.idle_cpu = max((outage.cpu for outage in trial.outages), default=None)
    outcome.not_judged = _not_judged(entries, expected)
    verdicts = {
        "I1": alerts_equal(found, expected),
        "I2": chain_is_whole(entries, found, expected),
        "I3": state_equal(found, expected),
        "I4": dead_letters_exact(found, expected),
        "I5": fence_held(entries),
        "I6": _within_limits(outcome, scenario),
        "I7": gaps_exact(found, expected),
        "I8": outcome.problems.get("I8", []) + _exit_codes(trial) + _readiness(trial, scenario),
    }
    outcome.problems = {
        name: problems for name, problems in verdicts.items() if problems and name not in outcome.not_judged
    }


def _not_judged(entries: list[Entry], expected: Expected) -> tuple[str, ...]:
    """SQLite keeps no ledger; and where no partition can be told, neither can alerts and state."""
    none = () if entries else ("I2", "I5")
    return none + (("I1", "I3") if expected.untold >= expected.ends.keys() else ())


def recovery(entries: list[Entry], faults_over_at: list[float]) -> float | None:
    """The longest that it took from the end of a fault to the next commit, seconds; None where no fault ended."""
    committed = [entry.at.timestamp() for entry in entries if entry.kind == "commit" and entry.from_offset is not None]
    waits = [min((at - over for at in committed if at >= over), default=None) for over in faults_over_at]
    return max((wait for wait in waits if wait is not None), default=None)


def _within_limits(outcome: Outcome, scenario: Scenario) -> list[str]:
    problems = []
    if outcome.recovery_s is not None and outcome.recovery_s > scenario.recovery_s:
        problems.append(f"recovery took {outcome.recovery_s:.1f} s, {scenario.recovery_s:.0f} s at most")
    if outcome.peak_mb > scenario.memory_mb:
        problems.append(f"a daemon had {outcome.peak_mb:.0f} MB, {scenario.memory_mb:.0f} MB at most")
    if outcome.idle_cpu is not None and outcome.idle_cpu > scenario.idle_cpu:
        problems.append(f"daemons used {outcome.idle_cpu:.0%} of a core to wait, {scenario.idle_cpu:.0%} at most")
    return problems


def _readiness(trial: Trial, scenario: Scenario) -> list[str]:
    told = sorted((each for daemon in trial.daemons for each in daemon.readiness), key=lambda each: each.at)
    if not scenario.tells_ready:
        return []
    return readiness_told(told, trial.outages)


def _exit_codes(trial: Trial) -> list[str]:
    return [
        f"{daemon.log_file.stem} ended with {daemon.process.returncode}, not {daemon.expected}: {daemon.log[-500:]}"
        for daemon in trial.daemons
        if daemon.process.poll() != daemon.expected
    ]
