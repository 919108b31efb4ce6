"""Every fault by its name. A module here for each kind; `SCENARIOS` has them all, in the order in which they run."""

from tests.faults.scenarios import data, database, disk, kafka, kills, membership, models
from tests.faults.scenarios.scenario import Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        *kills.SCENARIOS,
        *membership.SCENARIOS,
        *database.SCENARIOS,
        *disk.SCENARIOS,
        *kafka.SCENARIOS,
        *data.SCENARIOS,
        *models.SCENARIOS,
    )
}

__all__ = ["SCENARIOS", "Scenario"]
