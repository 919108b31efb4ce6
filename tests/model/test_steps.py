"""What the daemon steps is what was fitted: each compiled step against the cell in torch."""

import numpy as np
import pytest
import torch

from sensord.compiled import compiled
from sensord.model.cells import CELLS, FIXED_CELLS
from sensord.model.network import Network, NetworkShape
from sensord.model.steps import Weights, Work, step, weights_of, work_for
from sensord.readings import Floats

CHANNELS, DEVICES, READINGS = 5, 3, 200
_step = step


@compiled
def through(xs: Floats, state: Floats, weights: Weights, work: Work) -> None:
    for reading in xs:
        _step(reading, state, weights, work)


def network(cell: str) -> Network:
    torch.manual_seed(1)
    hidden = CHANNELS if cell in FIXED_CELLS else 16
    made = Network(NetworkShape(CHANNELS, hidden, cell)).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.6)  # away from what initialisation leaves out, zeros above all
    return made


@pytest.mark.parametrize("cell", [*CELLS, *FIXED_CELLS])
def test_a_compiled_step_does_what_the_cell_does(cell: str) -> None:
    made, xs = network(cell), np.random.default_rng(0).normal(0, 3, (DEVICES, READINGS, CHANNELS)).astype(np.float32)
    weights = weights_of(made.cell)
    work = work_for(weights)
    with torch.inference_mode():
        expected = made.initial(DEVICES)
        for t in range(READINGS):
            expected = made.cell.step(torch.from_numpy(xs[:, t]), expected)
    for device in range(DEVICES):
        state = np.zeros(made.state_size, np.float32)
        through(xs[device], state, weights, work)
        np.testing.assert_allclose(state, expected[device].numpy(), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_huge_gates_saturate_and_stay_finite(cell: str) -> None:
    made = network(cell)
    for parameter in made.parameters():
        torch.nn.init.constant_(parameter, 1e3)
    weights, state = weights_of(made.cell), np.zeros(made.state_size, np.float32)
    through(np.full((9, CHANNELS), 10, np.float32), state, weights, work_for(weights))
    assert np.isfinite(state).all()
