"""One reading's step of each recurrent cell, compiled; what `cells` defines in torch, for a single device at a time.

`cells` is what is fitted. This is what a daemon runs for every reading: as exact (a test holds the two together), but
one device's result doesn't depend on how many others are stepped with it, and a step costs less than torch's call.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sensord.compiled import F32, compiled, copy, inlined
from sensord.model.cells import (
    EWMA_LAMBDA,
    WINDOW,
    Cell,
    EwmaCell,
    GruCell,
    LstmCell,
    RnnCell,
    TransformerCell,
    parameters,
)
from sensord.readings import Floats

LSTM, GRU, RNN, TRANSFORMER, EWMA, ELSEWHERE = range(6)  # kinds of step; the last: none, torch does it on its device

ZERO, ONE, TWO, HALF = F32(0), F32(1), F32(2), F32(0.5)
LAMBDA, EPSILON = F32(EWMA_LAMBDA), F32(1e-5)  # of the layer norm: torch's
LARGEST = F32(87.0)  # e to this is finite in float32, and so is its inverse
LOG2_E, LN2_HIGH, LN2_LOW = F32(1.44269504088896341), F32(0.693359375), F32(-2.12194440e-4)
P0, P1, P2 = F32(1.9875691500e-4), F32(1.3981999507e-3), F32(8.3334519073e-3)
P3, P4, P5 = F32(4.1665795894e-2), F32(1.6666665459e-1), F32(5.0000001201e-1)
BIAS, MANTISSA = np.int32(127), np.int32(23)  # of a float32


class Attention(NamedTuple):
    """What a transformer's step needs beside `Weights`; of other cells all are empty. Matrices (inputs, outputs)."""

    project: Floats
    position: Floats
    merge: Floats
    bias_merge: Floats
    widen: Floats
    bias_widen: Floats
    narrow: Floats
    bias_narrow: Floats
    norms: Floats  # (4, hidden): weight and bias of the first norm, and of the second


class Weights(NamedTuple):
    """A cell's weights as a step wants them. kind: which step. x (channels, gates), h (hidden, gates), biases (gates,)
    each; gates in torch's order, one after another. A transformer's x and bias_x embed the reading."""

    kind: int
    x: Floats
    h: Floats
    bias_x: Floats
    bias_h: Floats
    attention: Attention


class Work(NamedTuple):
    """Room for one step's intermediate results. bits and powers are the same memory."""

    gates: Floats
    more: Floats
    logits: Floats  # (WINDOW,)
    bits: NDArray[np.int32]
    powers: Floats


_NONE, _NOTHING = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
NO_ATTENTION = Attention(_NONE, _NONE, _NONE, _NOTHING, _NONE, _NOTHING, _NONE, _NOTHING, _NONE)


def weights_of(cell: Cell) -> Weights:
    """What a step needs to know of a cell."""
    match cell:
        case LstmCell():
            return _recurrent(LSTM, cell.lstm)
        case GruCell():
            return _recurrent(GRU, cell.gru)
        case RnnCell():
            return _recurrent(RNN, cell.rnn)
        case TransformerCell():
            return _transformer_weights(cell)
        case EwmaCell():
            return Weights(EWMA, _NONE, _NONE, _NOTHING, _NOTHING, NO_ATTENTION)
    raise NotImplementedError(f"no step is compiled for {type(cell).__name__}")


def _recurrent(kind: int, layer: nn.RNNBase) -> Weights:
    x, h, bias_x, bias_h = parameters(layer)
    return Weights(kind, _array(x.T), _array(h.T), _array(bias_x), _array(bias_h), NO_ATTENTION)


def _transformer_weights(cell: TransformerCell) -> Weights:
    norms = (cell.norm_attended.weight, cell.norm_attended.bias, cell.norm_out.weight, cell.norm_out.bias)
    attention = Attention(
        project=_array(cell.project.weight.T),
        position=_array(cell.position),
        merge=_array(cell.merge.weight.T),
        bias_merge=_array(cell.merge.bias),
        widen=_array(cell.widen.weight.T),
        bias_widen=_array(cell.widen.bias),
        narrow=_array(cell.narrow.weight.T),
        bias_narrow=_array(cell.narrow.bias),
        norms=np.stack([_array(norm) for norm in norms]),
    )
    return Weights(TRANSFORMER, _array(cell.embed.weight.T), _NONE, _array(cell.embed.bias), _NOTHING, attention)


def _array(tensor: Tensor) -> Floats:
    return np.array(tensor.detach().cpu().numpy(), np.float32, order="C")


def work_for(weights: Weights) -> Work:
    """Room for the steps of one thread."""
    gates = max(len(weights.bias_x), len(weights.attention.bias_widen))
    bits = np.zeros(max(gates, WINDOW), np.int32)
    more, logits = np.zeros(gates, np.float32), np.zeros(WINDOW, np.float32)
    return Work(np.zeros(gates, np.float32), more, logits, bits, bits.view(np.float32))


@inlined
def _exp(values: Floats, work: Work) -> None:
    """e^v in place, to 1.2e-7 of it; the range cut to where it is finite.

    v = n ln 2 + r with |r| <= ln 2 / 2, and e^r by the polynomial of Cephes' expf (Moshier): without branches, so that
    it vectorises; 2^n is put together from its bits.
    """
    bits, powers = work.bits, work.powers
    for j in range(len(values)):
        v = min(max(values[j], -LARGEST), LARGEST)
        n = np.floor(v * LOG2_E + HALF)
        r = v - n * LN2_HIGH - n * LN2_LOW
        p = ((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r + P5
        values[j] = p * r * r + r + ONE
        bits[j] = (np.int32(n) + BIAS) << MANTISSA
    for j in range(len(values)):
        values[j] *= powers[j]


@inlined
def _sigmoid(values: Floats, work: Work) -> None:
    """1 / (1 + e^-v), in place."""
    for j in range(len(values)):
        values[j] = -values[j]
    _exp(values, work)
    for j in range(len(values)):
        values[j] = ONE / (ONE + values[j])


@inlined
def _tanh(values: Floats, work: Work) -> None:
    """2 sigmoid(2 v) - 1, in place."""
    for j in range(len(values)):
        values[j] = -TWO * values[j]
    _exp(values, work)
    for j in range(len(values)):
        values[j] = TWO / (ONE + values[j]) - ONE


@inlined
def _add_product(to: Floats, matrix: Floats, vector: Floats) -> None:
    """to += vector @ matrix; a row of the matrix at a time, which vectorises without changing the order of sums."""
    for k in range(len(vector)):
        factor = vector[k]
        for j in range(len(to)):
            to[j] += matrix[k, j] * factor


# Slices rather than places counted from a first one: only so does the compiler know that no index is negative, and
# vectorises.


@compiled
def _lstm(x: Floats, state: Floats, weights: Weights, work: Work) -> None:
    """See `cells.LstmCell`."""
    hidden, gates = len(weights.h), work.gates
    for j in range(len(gates)):
        gates[j] = weights.bias_x[j] + weights.bias_h[j]
    h, c = state[:hidden], state[hidden:]
    _add_product(gates, weights.x, x)
    _add_product(gates, weights.h, h)
    both, candidate, shown = gates[: 2 * hidden], gates[2 * hidden : 3 * hidden], gates[3 * hidden :]
    write, keep, bounded = both[:hidden], both[hidden:], work.more[:hidden]
    _sigmoid(both, work)
    _tanh(candidate, work)
    _sigmoid(shown, work)
    for j in range(hidden):
        c[j] = keep[j] * c[j] + write[j] * candidate[j]
        bounded[j] = c[j]
    _tanh(bounded, work)
    for j in range(hidden):
        h[j] = shown[j] * bounded[j]


@compiled
def _gru(x: Floats, state: Floats, weights: Weights, work: Work) -> None:
    """See `cells.GruCell`."""
    hidden, gates, by_state = len(weights.h), work.gates, work.more
    copy(weights.bias_x, gates)
    copy(weights.bias_h, by_state)
    _add_product(gates, weights.x, x)
    _add_product(by_state, weights.h, state)
    both, candidate, recalled = gates[: 2 * hidden], gates[2 * hidden :], by_state[2 * hidden :]
    read, keep = both[:hidden], both[hidden:]
    for j in range(2 * hidden):
        both[j] += by_state[j]
    _sigmoid(both, work)
    for j in range(hidden):
        candidate[j] += read[j] * recalled[j]
    _tanh(candidate, work)
    for j in range(hidden):
        state[j] = (ONE - keep[j]) * candidate[j] + keep[j] * state[j]


@compiled
def _rnn(x: Floats, state: Floats, weights: Weights, work: Work) -> None:
    """See `cells.RnnCell`."""
    gates = work.gates
    for j in range(len(gates)):
        gates[j] = weights.bias_x[j] + weights.bias_h[j]
    _add_product(gates, weights.x, x)
    _add_product(gates, weights.h, state)
    _tanh(gates, work)
    copy(gates, state)


@compiled
def _attend(
    query: Floats, keys: Floats, values: Floats, held: int, position: Floats, attended: Floats, work: Work
) -> None:
    """What each head makes of the `held` youngest of the window's readings: (hidden,), into attended."""
    heads, hidden = len(position), len(query)
    size = hidden // heads
    attended[:] = ZERO
    logits = work.logits[:held]
    scale, oldest = ONE / np.sqrt(F32(size)), WINDOW - held
    for head in range(heads):
        q, to = query[head * size : (head + 1) * size], attended[head * size : (head + 1) * size]
        for i in range(held):
            start = (oldest + i) * hidden + head * size
            k, dot = keys[start : start + size], ZERO
            for j in range(size):
                dot += q[j] * k[j]
            logits[i] = dot * scale + position[head, oldest + i]
        highest = logits[0]
        for i in range(1, held):
            highest = max(highest, logits[i])
        for i in range(held):
            logits[i] -= highest
        _exp(logits, work)
        total = ZERO
        for i in range(held):
            total += logits[i]
        for i in range(held):
            start = (oldest + i) * hidden + head * size
            v, share = values[start : start + size], logits[i] / total
            for j in range(size):
                to[j] += share * v[j]


@compiled
def _normalise(values: Floats, weight: Floats, bias: Floats) -> None:
    """Layer normalisation (Ba et al. 2016), in place."""
    mean, square, n = ZERO, ZERO, F32(len(values))
    for j in range(len(values)):
        mean += values[j]
    mean /= n
    for j in range(len(values)):
        square += (values[j] - mean) * (values[j] - mean)
    scale = ONE / np.sqrt(square / n + EPSILON)
    for j in range(len(values)):
        values[j] = (values[j] - mean) * scale * weight[j] + bias[j]


@compiled
def _transformer(x: Floats, state: Floats, weights: Weights, work: Work) -> None:
    """See `cells.TransformerCell`."""
    a, hidden = weights.attention, len(weights.bias_x)
    width = WINDOW * hidden
    h, keys, values = state[:hidden], state[hidden : hidden + width], state[hidden + width : hidden + 2 * width]
    embedded, projected = work.gates[:hidden], work.more[: 3 * hidden]
    copy(weights.bias_x, embedded)
    _add_product(embedded, weights.x, x)
    projected[:] = ZERO
    _add_product(projected, a.project, embedded)
    copy(keys[hidden:], keys[: width - hidden])
    copy(values[hidden:], values[: width - hidden])
    copy(projected[hidden : 2 * hidden], keys[width - hidden :])
    copy(projected[2 * hidden :], values[width - hidden :])
    held = min(int(state[-1]) + 1, WINDOW)
    state[-1] = F32(held)

    attended = work.more[hidden : 2 * hidden]  # the query before it is still wanted
    _attend(projected[:hidden], keys, values, held, a.position, attended, work)
    for j in range(hidden):
        h[j] = embedded[j] + a.bias_merge[j]
    _add_product(h, a.merge, attended)
    _normalise(h, a.norms[0], a.norms[1])
    wide = work.gates
    copy(a.bias_widen, wide)
    _add_product(wide, a.widen, h)
    for j in range(len(wide)):
        wide[j] = max(wide[j], ZERO)
    for j in range(hidden):
        h[j] += a.bias_narrow[j]
    _add_product(h, a.narrow, wide)
    _normalise(h, a.norms[2], a.norms[3])


@compiled
def step(x: Floats, state: Floats, weights: Weights, work: Work) -> None:
    """Move one device's state on by a reading: x (channels,), scaled; state (state_size,), in place."""
    if weights.kind == LSTM:
        _lstm(x, state, weights, work)
    elif weights.kind == GRU:
        _gru(x, state, weights, work)
    elif weights.kind == RNN:
        _rnn(x, state, weights, work)
    elif weights.kind == TRANSFORMER:
        _transformer(x, state, weights, work)
    elif weights.kind == EWMA:
        for j in range(len(state)):
            state[j] += LAMBDA * (x[j] - state[j])
