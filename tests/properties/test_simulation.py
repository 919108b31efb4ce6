"""Whatever happens to daemons, log, database and bundles, in whatever order: nothing is lost and nothing is doubled.

About a minute by itself; as long as you like with SENSORD_SIMULATION_EXAMPLES, and other runs with
SENSORD_SIMULATION_SEED. A failure shows the seed and the steps; SENSORD_SIMULATION_SHRINK=1 finds fewer steps first:

    SENSORD_SIMULATION_EXAMPLES=5000 SENSORD_SIMULATION_SEED=7 scripts/test tests/properties -k anything
"""

import os

import pytest

from tests.properties.machine import explore

EXAMPLES = int(os.environ.get("SENSORD_SIMULATION_EXAMPLES", "120"))
SEED = int(os.environ.get("SENSORD_SIMULATION_SEED", "1"))
SHRINK = os.environ.get("SENSORD_SIMULATION_SHRINK") == "1"


@pytest.mark.slow
@pytest.mark.timeout(0 if EXAMPLES > 120 or SHRINK else 300)
def test_anything_may_happen() -> None:
    explore(EXAMPLES, SEED, SHRINK)
