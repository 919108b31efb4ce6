"""Bundles that are promoted while the daemon works."""

from dataclasses import replace

from sqlalchemy import select

from sensord.store.schema import partition_progress
from tests.faults.invariants import Expected
from tests.faults.scenarios.membership import last
from tests.faults.scenarios.scenario import Scenario
from tests.faults.stage import Stage, model, promote
from tests.faults.trial import SIGKILLED, Stuck, Trial


def bad_models(stage: Stage, trial: Trial) -> None:
    """Two bundles are promoted that can't be used: one is damaged, one has other channels. The old one stays."""
    last(trial, 15)
    daemon = trial.start()
    trial.wait_share(0.2)
    good = model(seed=1)
    damaged = replace(good, bundle_id="pumps-damaged", weights=good.weights[:-1] + b"?")
    for number, bad in enumerate((damaged, model(seed=2, channels=("heat", "smell"))), start=1):
        promote(trial.store, bad)
        trial.wait(lambda n=number: daemon.log.count("bundle refused") >= n, "it refused a bundle")  # type: ignore[misc]
        trial.wait_progress()
    trial.finish()


def killed_in_swap(stage: Stage, trial: Trial) -> Expected:
    """Killed between the swaps of two partitions' bundles. When a swap comes is chance: no oracle knows the alerts."""
    last(trial, 15)
    daemon = trial.start("mid-swap:2")
    trial.wait_share(0.2)
    promoted = promote(trial.store, model(seed=1))
    trial.wait_ended(daemon, SIGKILLED)
    trial.fault_over()
    trial.start()
    trial.finish()
    with trial.engine.connect() as connection:
        used = set(connection.scalars(select(partition_progress.c.model_id)))
    if used != {promoted}:
        raise Stuck(f"{promoted} was promoted, in use is {used}")
    topic = stage.main_topic()
    untold = frozenset(topic.written.ends)
    return Expected(stage.golden(topic), topic.written.injected, topic.written.ends, untold=untold)


SCENARIOS = (
    Scenario("bad-models", "a damaged and a misfit bundle are promoted", bad_models),
    Scenario("kill-mid-swap", "kill -9 while bundles are swapped", killed_in_swap),
)
