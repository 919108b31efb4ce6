"""Promises of the cells: they are their textbook equations, and stepping a sequence is running it."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from sensord.model.cells import CELLS, EWMA_LAMBDA, SPAN, WINDOW, Cell, EwmaCell
from sensord.model.network import INPUT_LIMIT, Network
from tests.builders import network

Wide = NDArray[np.float64]
Weights = dict[str, Wide]
CHANNELS, HIDDEN = 3, 8


def cell_of(name: str, seed: int = 0) -> Cell:
    torch.manual_seed(seed)
    return CELLS[name](CHANNELS, HIDDEN)


def weights_of(cell: Cell) -> Weights:
    assert isinstance(cell, nn.Module)
    named = {name: weight.detach().numpy().astype(np.float64) for name, weight in cell.named_parameters()}
    return {name.removeprefix("lstm.").removeprefix("gru.").removeprefix("rnn."): w for name, w in named.items()}


# --- the textbook ----------------------------------------------------------------------------------------------------


def sigma(x: Wide) -> Wide:
    return np.asarray(1 / (1 + np.exp(-x)))


def stacked(w: Weights, rows: slice) -> tuple[Wide, Wide]:
    """W = [W_h, W_x] and b of some gates, as the textbook stacks them."""
    bias = w["bias_ih_l0"][rows] + w["bias_hh_l0"][rows]
    return np.hstack((w["weight_hh_l0"][rows], w["weight_ih_l0"][rows])), bias


def gate_rows(letters: str) -> dict[str, slice]:
    return {letter: slice(i * HIDDEN, (i + 1) * HIDDEN) for i, letter in enumerate(letters)}


def lstm(w: Weights, xs: Wide) -> Wide:
    """h after each reading, from zero: (time, hidden)."""
    h = c = np.zeros(HIDDEN)
    hs = []
    for x in xs:
        hx = np.concatenate((h, x))
        gate = {letter: weight @ hx + b for letter, r in gate_rows("ifCo").items() for weight, b in [stacked(w, r)]}
        c = sigma(gate["f"]) * c + sigma(gate["i"]) * np.tanh(gate["C"])
        h = sigma(gate["o"]) * np.tanh(c)
        hs.append(h)
    return np.stack(hs)


def gru(w: Weights, xs: Wide) -> Wide:
    h, hs, rows = np.zeros(HIDDEN), [], gate_rows("rzn")
    for x in xs:
        own = {k: w["weight_ih_l0"][r] @ x + w["bias_ih_l0"][r] for k, r in rows.items()}
        past = {k: w["weight_hh_l0"][r] @ h + w["bias_hh_l0"][r] for k, r in rows.items()}
        r, z = sigma(own["r"] + past["r"]), sigma(own["z"] + past["z"])
        h = (1 - z) * np.tanh(own["n"] + r * past["n"]) + z * h
        hs.append(h)
    return np.stack(hs)


def rnn(w: Weights, xs: Wide) -> Wide:
    h, hs = np.zeros(HIDDEN), []
    weight, b = stacked(w, slice(None))
    for x in xs:
        h = np.tanh(weight @ np.concatenate((h, x)) + b)
        hs.append(h)
    return np.stack(hs)


def layer_norm(x: Wide, weight: Wide, bias: Wide) -> Wide:
    return np.asarray((x - x.mean()) / np.sqrt(x.var() + 1e-5) * weight + bias)


def transformer(w: Weights, xs: Wide) -> Wide:
    """Reading by reading and head by head; no masks, no padding: only what is there is looked at."""
    heads = w["position"].shape[0]
    d = HIDDEN // heads
    w_q, w_k, w_v = np.split(w["project.weight"], 3)
    es = [w["embed.weight"] @ x + w["embed.bias"] for x in xs]
    hs = []
    for t, e in enumerate(es):
        attended = []
        for head in range(heads):
            part = slice(head * d, (head + 1) * d)
            back = range(min(t + 1, WINDOW))
            logits = [w_q[part] @ e @ (w_k[part] @ es[t - j]) / d**0.5 + w["position"][head, -1 - j] for j in back]
            shares = np.exp(logits) / np.exp(logits).sum()
            attended.append(sum(share * (w_v[part] @ es[t - j]) for j, share in zip(back, shares, strict=True)))
        a = np.concatenate(attended)
        u = layer_norm(e + w["merge.weight"] @ a + w["merge.bias"], w["norm_attended.weight"], w["norm_attended.bias"])
        fed = w["narrow.weight"] @ np.maximum(w["widen.weight"] @ u + w["widen.bias"], 0) + w["narrow.bias"]
        hs.append(layer_norm(u + fed, w["norm_out.weight"], w["norm_out.bias"]))
    return np.stack(hs)


TEXTBOOKS: dict[str, Callable[[Weights, Wide], Wide]] = {
    "lstm": lstm,
    "gru": gru,
    "rnn": rnn,
    "transformer": transformer,
}


# --- the promises ----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("name", TEXTBOOKS)
@settings(max_examples=5)
@given(seed=st.integers(0, 1_000))
def test_a_cell_equals_its_textbook_equations(name: str, seed: int) -> None:
    cell, xs = cell_of(name, seed), np.random.default_rng(seed).normal(0, 2, (WINDOW + 20, CHANNELS))
    if name == "transformer":
        assert isinstance(cell, nn.Module)
        nn.init.normal_(cell.get_parameter("position"))  # zero at first, which would hide a mistake
    expected = TEXTBOOKS[name](weights_of(cell), xs)
    state = torch.zeros(1, cell.state_size)
    for t, x in enumerate(xs):
        state = cell.step(torch.tensor(x[None], dtype=torch.float32), state)
        np.testing.assert_allclose(cell.hidden(state)[0].numpy(), expected[t], atol=2e-5)


def test_every_cell_has_a_textbook() -> None:
    assert set(TEXTBOOKS) == set(CELLS)


@pytest.mark.parametrize("name", CELLS)
def test_a_state_is_a_flat_row_of_its_size_with_the_hidden_part_in_it(name: str) -> None:
    cell = cell_of(name)
    after = cell.step(torch.randn(4, CHANNELS), torch.zeros(4, cell.state_size))
    assert after.shape == (4, cell.state_size)
    assert cell.hidden(after).shape == (4, cell.hidden_size)
    assert torch.isfinite(after).all()


@pytest.mark.parametrize("start", ["at zero", "in the middle"])
@pytest.mark.parametrize("name", CELLS)
def test_stepping_through_a_sequence_equals_running_it_whole(name: str, start: str) -> None:
    cell = cell_of(name)
    state = torch.zeros(2, cell.state_size)
    if start == "in the middle":
        _, state = cell.run(torch.randn(2, 50, CHANNELS), state)
    xs = torch.randn(2, 300, CHANNELS)
    hs, last = cell.run(xs, state)
    for t in range(xs.shape[1]):
        state = cell.step(xs[:, t], state)
        torch.testing.assert_close(cell.hidden(state), hs[:, t], atol=2e-5, rtol=0)
    torch.testing.assert_close(state, last, atol=2e-5, rtol=0)


def test_a_transformer_sees_its_window_and_nothing_before() -> None:
    cell, xs = cell_of("transformer"), torch.randn(1, 2 * WINDOW, CHANNELS)
    before, within = xs.clone(), xs.clone()
    before[0, WINDOW - 1] += 1  # the last reading is at 2 WINDOW - 1, its window begins one later
    within[0, WINDOW] += 1
    h, h_before, h_within = (cell.run(x, torch.zeros(1, cell.state_size))[0][0, -1] for x in (xs, before, within))
    torch.testing.assert_close(h_before, h)
    assert (h_within - h).abs().max() > 1e-4


@pytest.mark.parametrize(("name", "holds"), [("lstm", True), ("gru", True), ("rnn", False)])
def test_an_untrained_gated_cell_holds_what_it_saw_hundreds_of_readings_ago(name: str, holds: bool) -> None:
    torch.manual_seed(0)
    cell = CELLS[name](CHANNELS, 32)
    told = torch.zeros(2, SPAN // 2, CHANNELS)
    told[:, 0] = torch.tensor([[5.0], [-5.0]])
    _, last = cell.run(told, torch.zeros(2, cell.state_size))
    assert bool((last[0] - last[1]).abs().max() > 1e-3) is holds


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
