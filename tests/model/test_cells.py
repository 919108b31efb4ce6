"""Promises of the cells: they are their textbook equations, and stepping a sequence is running it."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sensord.model.cells import EWMA_LAMBDA, EwmaCell, LstmCell
from sensord.model.network import INPUT_LIMIT, Network
from tests.builders import network

Wide = NDArray[np.float64]
CHANNELS, HIDDEN = 3, 5


def lstm(seed: int = 0) -> LstmCell:
    torch.manual_seed(seed)
    return LstmCell(CHANNELS, HIDDEN)


def sigma(x: Wide) -> Wide:
    return np.asarray(1 / (1 + np.exp(-x)))


def textbook(cell: LstmCell, x: Wide, h: Wide, c: Wide) -> tuple[Wide, Wide]:
    """The docstring's equations for one device, gate by gate, on W = [W_h, W_x] as the textbook stacks them."""
    w_x, w_h, b_x, b_h = (weight.detach().numpy().astype(np.float64) for weight in cell.weights)
    hx = np.concatenate((h, x))
    rows = dict(zip("ifCo", np.split(np.arange(4 * HIDDEN), 4), strict=True))
    gate = {k: np.hstack((w_h[r], w_x[r])) @ hx + b_h[r] + b_x[r] for k, r in rows.items()}
    f, i, o = sigma(gate["f"]), sigma(gate["i"]), sigma(gate["o"])
    after = f * c + i * np.tanh(gate["C"])
    return o * np.tanh(after), after


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@given(seed=st.integers(0, 1_000))
def test_a_step_of_the_lstm_equals_the_textbook_equations(seed: int) -> None:
    cell, rng = lstm(seed), np.random.default_rng(seed)
    x, h, c = rng.normal(0, 2, (4, CHANNELS)), rng.uniform(-1, 1, (4, HIDDEN)), rng.normal(0, 2, (4, HIDDEN))
    state = torch.tensor(np.hstack((h, c)), dtype=torch.float32)
    after = cell.step(torch.tensor(x, dtype=torch.float32), state)
    expected = np.stack([np.concatenate(textbook(cell, *row)) for row in zip(x, h, c, strict=True)])  # h, then C
    np.testing.assert_allclose(after.numpy(), expected, atol=1e-6)


def test_a_run_of_the_lstm_equals_the_textbook_equations() -> None:
    cell, xs = lstm(), np.random.default_rng(0).normal(0, 1, (60, CHANNELS))
    hs, last = cell.run(torch.tensor(xs[None], dtype=torch.float32), torch.zeros(1, cell.state_size))
    h = c = np.zeros(HIDDEN)
    for t, x in enumerate(xs):
        h, c = textbook(cell, x, h, c)
        np.testing.assert_allclose(hs[0, t].numpy(), h, atol=1e-5)
    np.testing.assert_allclose(last[0].numpy(), np.concatenate((h, c)), atol=1e-5)


@pytest.mark.parametrize("start", ["at zero", "in the middle"])
def test_stepping_through_a_sequence_equals_running_it_whole(start: str) -> None:
    cell = lstm()
    xs = torch.randn(2, 200, CHANNELS)
    state = torch.zeros(2, cell.state_size) if start == "at zero" else torch.randn(2, cell.state_size)
    hs, last = cell.run(xs, state)
    for t in range(xs.shape[1]):
        state = cell.step(xs[:, t], state)
        torch.testing.assert_close(cell.hidden(state), hs[:, t], atol=1e-5, rtol=0)
    torch.testing.assert_close(state, last, atol=1e-5, rtol=0)


def test_a_network_sees_no_more_of_a_spike_than_the_limit() -> None:
    one: Network = network(CHANNELS)
    spike, limit = torch.full((1, 1, CHANNELS), 1e6), torch.full((1, 1, CHANNELS), INPUT_LIMIT)
    for seen, held in zip(one.run(spike, one.initial(1)), one.run(limit, one.initial(1)), strict=True):
        assert torch.equal(seen, held)


def test_ewma_is_its_equation_and_stepping_is_running() -> None:
    cell = EwmaCell(CHANNELS, CHANNELS)
    xs = torch.arange(12.0).reshape(1, 4, CHANNELS)
    hs, last = cell.run(xs, torch.zeros(1, CHANNELS))
    state, mean = torch.zeros(1, CHANNELS), np.zeros(CHANNELS)
    for t in range(4):
        state = cell.step(xs[:, t], state)
        mean = (1 - EWMA_LAMBDA) * mean + EWMA_LAMBDA * xs[0, t].numpy()
        assert torch.equal(cell.hidden(state), hs[:, t])
        np.testing.assert_allclose(state[0].numpy(), mean, rtol=1e-6)
    assert torch.equal(state, last)


def test_ewma_has_one_mean_a_channel() -> None:
    with pytest.raises(ValueError, match="each channel has one mean"):
        EwmaCell(CHANNELS, HIDDEN)
