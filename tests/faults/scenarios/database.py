"""."""
from tests.faults.scenarios.scenario import Scenario
SCENARIOS: tuple[Scenario, ...] = ()
