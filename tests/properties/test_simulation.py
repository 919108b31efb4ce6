"""Whatever happens to daemons, log and database, in whatever order: nothing is lost and nothing is doubled."""

import os

from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.machine import Simulation

EXAMPLES = int(os.environ.get("SENSORD_SIMULATION_EXAMPLES", "100"))
PHASES = (Phase.generate, Phase.shrink) if os.environ.get("SHRINK") else (Phase.generate,)


def test_anything_may_happen() -> None:
    run_state_machine_as_test(
        Simulation,
        settings=settings(max_examples=EXAMPLES, stateful_step_count=40, phases=PHASES, report_multiple_bugs=False),
    )
