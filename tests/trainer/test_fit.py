"""Promises of the trunk's fit."""

import numpy as np
import pytest
import torch

from sensord.model.cells import CELLS
from sensord.model.network import Network
from sensord.readings import Floats
from sensord.trainer.fit import FitOptions, Streams, chunk_length, fit_trunk, missed_by_linear
from sensord.trainer.heads import head_equations

QUICK = FitOptions(hidden=8, steps=3, streams=4, shortest=16)


def histories(*lengths: int) -> list[Floats]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 1, (length, 2)).astype(np.float32) for length in lengths]


def quiet(done: int, of: int) -> None:
    """Nobody watches."""


def same(one: Network, other: Network) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_the_same_history_and_seed_give_the_same_weights_and_another_seed_others(cell: str) -> None:
    options = FitOptions(8, cell, steps=3, streams=4, shortest=16)
    first, again = (fit_trunk(histories(100, 80), options, quiet) for _ in range(2))
    assert same(first, again)
    assert not same(first, fit_trunk(histories(100, 80), FitOptions(8, cell, 3, 4, 16, seed=1), quiet))


def test_no_steps_leave_the_trunk_as_it_is_drawn() -> None:
    drawn = fit_trunk(histories(100), FitOptions(hidden=8, steps=0), quiet)
    assert same(drawn, fit_trunk(histories(50), FitOptions(hidden=8, steps=0), quiet))
    assert not same(drawn, fit_trunk(histories(100), QUICK, quiet))


def test_a_stream_goes_on_where_its_chunk_ended_until_the_history_does() -> None:
    (values,) = histories(100)
    streams = Streams([values], FitOptions(streams=1, shortest=16))
    ends: list[int] = []
    for _ in range(40):
        chunk = streams.next()
        n = int((chunk.weight[0, :, 0] > 0).sum())
        first = int(np.flatnonzero((values == chunk.seen[0, 0].numpy()).all(axis=1))[0])
        np.testing.assert_array_equal(chunk.seen[0, :n].numpy(), values[first : first + n])
        assert chunk.carried.item() == (bool(ends) and ends[-1] < 99)
        assert not chunk.carried.item() or first == ends[-1]
        assert float(chunk.weight.sum()) * 2 == pytest.approx(1.0)  # two channels
        ends.append(first + n)


def test_errors_flow_back_over_an_eighth_of_the_history_within_limits() -> None:
    assert [chunk_length([rows] * 3, FitOptions()) for rows in (64, 400, 2_000, 100_000)] == [64, 64, 250, 512]


def test_a_linear_process_leaves_nothing_to_forecast_but_its_noise() -> None:
    rng = np.random.default_rng(0)
    values = np.zeros((5_000, 1), np.float32)
    for t in range(1, len(values)):
        values[t] = 0.9 * values[t - 1] + rng.normal(0, 0.1)
    (missed,) = missed_by_linear([values])
    assert missed.std() == pytest.approx(0.1, rel=0.05)


def test_the_head_finds_what_the_state_knows() -> None:
    """A sine of two readings' memory: with the state the head expects better than without."""
    values = np.sin(np.arange(400) / 3)[:, None].astype(np.float32)
    network = fit_trunk([values], FitOptions(hidden=8, steps=60, streams=8), quiet)
    equations = head_equations(network, values)
    left = []
    for sees_state in (True, False):
        inputs = np.array([sees_state] * 8 + [True, True])
        head = equations.solve(1.0, inputs).astype(np.float64).T
        left.append(float(np.trace(head.T @ equations.gram @ head - 2 * head.T @ equations.cross)))
    assert left[0] < left[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("cell", CELLS)
def test_a_gpu_fits_the_same_trunk_but_for_rounding(cell: str) -> None:
    one, other = (
        fit_trunk(
            histories(100, 80), FitOptions(8, cell, steps=3, streams=4, shortest=16, noise=0, device=device), quiet
        )
        for device in ("cpu", "cuda")
    )
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-2)
