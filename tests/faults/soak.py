"""Faults at random, for as long as one likes: a topic that is written all the time, and daemons that never have peace.

One daemon, the survivor, is frozen, cut off and starved but never killed: what it holds after hours tells whether
memory grows. Used by `scripts/faults --soak`.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sensord.errors import EXIT_FAILURE
from tests.faults import ledger
from tests.faults.invariants import Expected, Tables
from tests.faults.scenarios.scenario import Scenario
from tests.faults.stage import Stage, Topic
from tests.faults.suite import Outcome, judge
from tests.faults.trial import SIGKILLED, Daemon, Stuck, Trial
from tests.faults.workload import Workload, write_with, writer

READINGS_PER_S = 500
DEVICES = 100
CHUNK_S = 2.0
PAUSE_S = (2.0, 12.0)  # between two faults
BRIEF_S = (1.0, 15.0)  # how long one lasts
SETTLED_S = 60.0  # memory before that is start-up, not growth
CATCH_UP_S = 300.0
DAEMONS = 3
RECOVERY_S = 60.0
MEMORY_MB = 560.0

Fault = Callable[["Soak"], None]


@dataclass
class Soak:
    """A trial under way. said: what was done, in order; lives: seconds and MB of each survivor, the last one's now."""

    stage: Stage
    trial: Trial
    dice: random.Random
    survivor: Daemon
    said: list[str] = field(default_factory=list)
    lives: list[list[tuple[float, float]]] = field(default_factory=lambda: [[]])

    def wait(self) -> None:
        time.sleep(self.dice.uniform(*BRIEF_S))

    def mortals(self) -> list[Daemon]:
        """Who may be killed; who dies at a failpoint is left to it."""
        return [
            each
            for each in self.trial.daemons
            if each is not self.survivor and not each.ended and each.expected is None
        ]


# --- faults ----------------------------------------------------------------------------------------------------------


def another(soak: Soak) -> None:
    """One daemon more, unless there are enough."""
    if len(soak.mortals()) < DAEMONS - 1:
        soak.trial.start()


def kill(soak: Soak) -> None:
    if mortals := soak.mortals():
        soak.dice.choice(mortals).kill()


def stop(soak: Soak) -> None:
    if mortals := [each for each in soak.mortals() if each.log]:  # before its first word it doesn't listen yet
        stopped = soak.dice.choice(mortals)
        stopped.stop()
        if stopped.process.returncode == EXIT_FAILURE:  # a database that had just been away left it something to replay
            stopped.expected = EXIT_FAILURE


def freeze(soak: Soak) -> None:
    frozen = soak.dice.choice([*soak.mortals(), soak.survivor])
    frozen.freeze()
    soak.wait()
    frozen.thaw()


def kill_at_point(soak: Soak) -> None:
    point = soak.dice.choice(["after-fence", "after-insert", "mid-snapshot", "before-commit", "after-commit"])
    soak.trial.start(f"{point}:{soak.dice.randint(1, 20)}").expected = SIGKILLED


def database_restart(soak: Soak) -> None:
    soak.stage.postgres.kill()
    soak.wait()
    soak.stage.postgres.start()


def database_cut(soak: Soak) -> None:
    soak.stage.postgres.proxy.cut()


def database_black_hole(soak: Soak) -> None:
    soak.stage.postgres.proxy.black_hole()
    soak.wait()
    soak.stage.postgres.proxy.mend()


def commits_unknown(soak: Soak) -> None:
    soak.stage.postgres.proxy.cut_commits = 0.3
    soak.wait()
    soak.stage.postgres.proxy.mend()


def broker_restart(soak: Soak) -> None:
    if soak.stage.broker:
        soak.stage.broker.kill()
        soak.stage.broker.start()


def broker_freeze(soak: Soak) -> None:
    if soak.stage.broker:
        soak.stage.broker.freeze()
        soak.wait()
        soak.stage.broker.thaw()


def broker_cut(soak: Soak) -> None:
    if soak.stage.broker:
        soak.stage.broker.proxy.cut()


FAULTS: tuple[Fault, ...] = (
    another,
    another,
    kill,
    stop,
    freeze,
    kill_at_point,
    database_restart,
    database_cut,
    database_black_hole,
    commits_unknown,
    broker_restart,
    broker_freeze,
    broker_cut,
)


# --- the soak --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Soaked:
    """What came of it. slope: growth of the survivor that lived longest, MB an hour; None where that was too short."""

    outcome: Outcome
    seed: int
    faults: list[str]
    slope_mb_per_hour: float | None
    readings: int


def soak(stage: Stage, minutes: float, seed: int, tell: Callable[[str], None]) -> Soaked:
    """Mix faults for some minutes, let it all catch up, and judge it by one uninterrupted run over the same topic."""
    topic = stage.create_topic(stage.workload.partitions)
    outcome = Outcome("soak", f"faults at random for {minutes:g} min, seed {seed}")
    began = time.monotonic()
    with stage.trial(topic) as trial:
        through = trial.store.replace(f":{stage.postgres.port}/", f":{stage.postgres.proxy.port}/")
        trial.store = through
        if stage.broker:
            trial.kafka = stage.broker.proxy.address
        trial.rate = READINGS_PER_S * 4.0
        running = Soak(stage, trial, random.Random(seed), trial.start())
        try:
            with _writing(stage, topic, seed, minutes * 60):
                _torment(running, began + minutes * 60, tell)
            _calm(running, topic)
        except Stuck as stuck:
            outcome.problems["I8"] = [str(stuck)]
        stage.mend()
        trial.stop_all()
        outcome.seconds = time.monotonic() - began
        outcome.peak_mb = max(daemon.peak_mb for daemon in trial.daemons)
        found, entries = Tables.of(trial.engine), ledger.entries(trial.engine)
    tell("the oracle reads the topic")
    expected = Expected(stage.golden(topic), topic.written.injected, topic.written.ends)
    limits = Scenario("soak", "", lambda *_: None, recovery_s=RECOVERY_S, memory_mb=MEMORY_MB)
    judge(outcome, limits, trial, found, entries, expected)
    return Soaked(outcome, seed, running.said, slope(max(running.lives, key=_length)), sum(topic.written.ends.values()))


def _torment(running: Soak, until: float, tell: Callable[[str], None]) -> None:
    while time.monotonic() < until:
        fault = running.dice.choice(FAULTS)
        tell(fault.__name__)
        running.said.append(fault.__name__)
        fault(running)
        _keep_alive(running)
        pause = min(running.dice.uniform(*PAUSE_S), max(until - time.monotonic(), 0))
        time.sleep(pause)


def _keep_alive(running: Soak) -> None:
    """Note what the survivor holds. Whose client failed ends with 1 and is started again, as a supervisor would."""
    for daemon in list(running.trial.daemons):
        daemon.look()
        code = daemon.process.poll()
        if daemon.expected == SIGKILLED and code == EXIT_FAILURE:  # its client failed before it reached its failpoint
            daemon.expected = EXIT_FAILURE
        if daemon.ended and daemon.expected is None:
            if code != EXIT_FAILURE:
                raise Stuck(f"a daemon ended with {code}:\n{daemon.log[-1_500:]}")
            daemon.expected = EXIT_FAILURE
            running.said.append("(a client failed)")
            again = running.trial.start()
            if daemon is running.survivor:
                running.survivor = again
                running.lives.append([])
    resident = _resident_mb(running.survivor.process.pid)
    running.lives[-1].append((time.monotonic(), resident))


def _calm(running: Soak, topic: Topic) -> None:
    """No more faults: everything that was written has to be committed. Who waits for a failpoint is let go."""
    running.stage.mend()
    _keep_alive(running)
    running.trial.supervised = True
    for daemon in running.trial.daemons:
        if not daemon.ended and daemon.expected == SIGKILLED:
            daemon.kill()
    running.trial.fault_over()
    running.trial.finish(CATCH_UP_S)


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return float("nan")
    return pages * 4096 / (1 << 20)


def _length(life: list[tuple[float, float]]) -> float:
    return life[-1][0] - life[0][0] if life else 0.0


def slope(memory: list[tuple[float, float]]) -> float | None:
    """Growth by least squares, MB an hour, once the start is over."""
    if not memory:
        return None
    settled = [(at, mb) for at, mb in memory if at - memory[0][0] >= SETTLED_S and np.isfinite(mb)]
    if len(settled) < 3:
        return None
    at, mb = np.array(settled).T
    return float(np.polyfit(at - at[0], mb, 1)[0] * 3_600)


@contextmanager
def _writing(stage: Stage, topic: Topic, seed: int, seconds: float) -> Iterator[None]:
    """Write a workload at its pace from a thread, straight to the broker, until all is written."""
    readings = round(seconds * READINGS_PER_S)
    whole = Workload(seed, readings - readings % DEVICES, DEVICES, stage.workload.partitions, readings // 200)
    messages, failed = whole.messages(), list[Exception]()
    size = round(READINGS_PER_S * CHUNK_S)

    def work() -> None:
        began = time.monotonic()
        try:
            with writer(stage.kafka) as producer:
                for number, first in enumerate(range(0, len(messages), size)):
                    write_with(producer, topic.name, messages[first : first + size], topic.written)
                    time.sleep(max(0.0, began + (number + 1) * CHUNK_S - time.monotonic()))
        except Exception as error:  # noqa: BLE001  # told to whoever waits
            failed.append(error)

    thread = threading.Thread(target=work, name="writer", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stage.mend()
        thread.join(CATCH_UP_S)
    if failed or thread.is_alive():
        raise Stuck(f"the workload was not written: {failed}")
