"""SIGKILL: at every failpoint, and at random."""

import random
from functools import partial

from tests.faults.scenarios.scenario import Scenario
from tests.faults.stage import Stage
from tests.faults.trial import SIGKILLED, Trial

RANDOM_KILLS = 10
SNAPSHOT_S = 3.0  # the first is taken at once: a kill within a second or two of it leaves much to replay
POINTS = {  # point -> the times it is reached before the process dies there
    "after-poll": 30,
    "after-score": 30,
    "after-fence": 20,
    "after-insert": 10,
    "mid-snapshot": 3,
    "before-commit": 10,
    "commit-sent": 10,
    "after-commit": 10,
    "in-claim": 2,
    "after-claim": 2,
}


def uninterrupted(stage: Stage, trial: Trial) -> None:
    """No fault: two daemons share the topic, at another pace than the oracle's."""
    trial.start()
    trial.finish()


def killed_at(point: str, nth: int, stage: Stage, trial: Trial) -> None:
    """Killed at a failpoint; another takes over, and has something to replay."""
    if point != "mid-snapshot":
        trial.snapshot_interval_s = SNAPSHOT_S
    trial.wait_ended(trial.start(f"{point}:{nth}:kill"), SIGKILLED)
    trial.fault_over()
    trial.start()
    trial.finish()


def killed_while_replaying(stage: Stage, trial: Trial) -> None:
    """Killed, and its successor killed in mid-replay; a third takes over."""
    trial.snapshot_interval_s = SNAPSHOT_S
    trial.wait_ended(trial.start("before-commit:12"), SIGKILLED)
    trial.wait_ended(trial.start("mid-replay"), SIGKILLED)
    trial.fault_over()
    trial.start()
    trial.finish()


def killed_at_random(stage: Stage, trial: Trial) -> None:
    """Killed again and again, each time at some other moment between two commits."""
    dice = random.Random(stage.workload.seed)
    for kill in range(1, RANDOM_KILLS + 1):
        daemon = trial.start()
        trial.wait_share(kill / (RANDOM_KILLS + 1) * 0.9)
        moment = trial.total * (kill + dice.random()) / (RANDOM_KILLS + 1) * 0.9
        trial.wait(lambda moment=moment: sum(trial.committed().values()) >= moment, "its moment")  # type: ignore[misc]
        daemon.kill()
        trial.fault_over()
    trial.start()
    trial.finish()


SCENARIOS = (
    Scenario("uninterrupted", "no fault; slower than the oracle", uninterrupted),
    *(
        Scenario(f"kill-{point}", f"kill -9 {point.replace('-', ' ')}", partial(killed_at, point, nth))
        for point, nth in POINTS.items()
    ),
    Scenario("kill-mid-replay", "kill -9, and again while replaying", killed_while_replaying),
    Scenario("kill-random", f"kill -9 at {RANDOM_KILLS} random moments", killed_at_random),
)
