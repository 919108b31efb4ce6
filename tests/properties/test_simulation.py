"""Whatever happens to daemons, log and database, in whatever order: nothing is lost and nothing is doubled."""

import time
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.machine import Simulation


def test_anything_may_happen() -> None:
    run_state_machine_as_test(Simulation, settings=settings(max_examples=30, stateful_step_count=40))
