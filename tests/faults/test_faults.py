"""The part of the fault suite that fits into every test run; `scripts/faults` plays all of it."""

from collections.abc import Iterator

import pytest

from tests.conftest import missing
from tests.faults import servers
from tests.faults.mutations import MUTATIONS
from tests.faults.scenarios import SCENARIOS
from tests.faults.stage import Stage, staged
from tests.faults.suite import play
from tests.faults.workload import Workload
from tests.services import ServerUnavailable

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(240)]

SUBSET = (
    "kill-after-insert",
    "kill-before-commit",
    "kill-mid-snapshot",
    "zombie-in-transaction",
    "commit-unknown",
    "failover-loses-commits",
    "database-restart",
    "scale-1-2-1",
)
MUTANTS = ("row-count", "seek")
RATE = 4_000.0


@pytest.fixture(scope="module")
def stage(kafka: str) -> Iterator[Stage]:
    """The session's broker, and a database that may be killed."""
    try:
        with (
            servers.database() as postgres,
            staged(kafka, None, postgres, Workload().scaled(readings=15_000, devices=100), RATE) as made,
        ):
            yield made
    except ServerUnavailable as error:
        missing(str(error))


@pytest.mark.parametrize("name", SUBSET)
def test_what_a_fault_leaves_is_what_no_fault_leaves(stage: Stage, name: str) -> None:
    assert play(stage, SCENARIOS[name]).problems == {}


@pytest.mark.parametrize("mutation", MUTANTS)
def test_a_guard_taken_out_is_noticed(stage: Stage, mutation: str) -> None:
    outcome = play(stage, SCENARIOS[MUTATIONS[mutation].seen_by], mutation)
    assert outcome.problems.keys() & {"I1", "I3", "I4", "I5"}


def test_the_workload_raises_alerts_and_is_the_same_every_time(stage: Stage) -> None:
    assert stage.workload.messages() == stage.workload.messages()
    golden = stage.golden(stage.main_topic())
    assert len(golden.alerts) > 40
    assert len(stage.main_topic().written.injected) == stage.workload.poison + stage.workload.not_finite
