"""Heads are learnt in stretches as they would be from the whole."""

import numpy as np
import pytest
import torch

from sensord.model.cells import CELLS
from sensord.model.network import Network, NetworkShape
from sensord.readings import Floats
from sensord.trainer import heads
from sensord.trainer.heads import foresight, head_equations, head_inputs


@pytest.fixture
def scaled() -> Floats:
    return np.random.default_rng(0).normal(0, 1, (230, 2)).astype(np.float32)


def network(cell: str) -> Network:
    torch.manual_seed(0)
    return Network(NetworkShape(2, 2 if cell == "ewma" else 8, cell)).eval()


@pytest.mark.parametrize("cell", [*CELLS, "ewma"])
def test_a_history_walked_in_stretches_gives_the_heads_inputs_of_the_whole(
    cell: str, scaled: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, equations = head_inputs(network(cell), scaled), head_equations(network(cell), scaled)
    monkeypatch.setattr(heads, "ROWS", 37)
    np.testing.assert_allclose(head_inputs(network(cell), scaled), whole, atol=1e-5)
    pieces = head_equations(network(cell), scaled)
    np.testing.assert_allclose(pieces.gram, equations.gram, atol=1e-3)
    np.testing.assert_allclose(pieces.cross, equations.cross, atol=1e-3)
    assert pieces.count == equations.count == len(scaled) - 1


def test_foresight_is_the_mean_square_of_what_comes_after(scaled: Floats) -> None:
    trunk, inputs = network("lstm"), np.ones(11, np.bool_)
    cut = round(0.75 * len(scaled))
    head = head_equations(trunk, scaled[:cut]).solve(1.0, inputs)
    missed = scaled[cut:] - head_inputs(trunk, scaled)[cut - 1 : -1] @ head.T
    [found] = foresight(trunk, [scaled], 0.75, [inputs])
    np.testing.assert_allclose(found, np.square(missed).mean(axis=0), rtol=1e-4)
