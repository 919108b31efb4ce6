"""Heads: the next reading from the state, in closed form. Used by `calibrate`, and by `compare`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensord.compiled import compiled, copy
from sensord.detection.scorer import Flags
from sensord.model.cells import EwmaCell
from sensord.model.network import INPUT_LIMIT, Network
from sensord.model.steps import Weights, Work, step, weights_of, work_for
from sensord.readings import Floats
from sensord.trainer.holes import pieces
from sensord.trainer.threads import threaded

Wide = NDArray[np.float64]
ROWS = 1 << 15  # readings whose inputs are held at a time
_step = step


@dataclass(slots=True)
class Normal:
    """The normal equations of a ridge regression, which add up over readings and devices."""

    gram: Wide  # (inputs, inputs)
    cross: Wide  # (inputs, channels)
    power: Wide  # (channels,) sum of squares of what is to be expected
    count: int

    @classmethod
    def blank(cls, inputs: int, channels: int) -> Self:
        return cls(np.zeros((inputs, inputs)), np.zeros((inputs, channels)), np.zeros(channels), 0)

    @classmethod
    def total(cls, equations: "Iterable[Normal]") -> "Normal":
        """Their sum; one at least."""
        rest = iter(equations)
        whole = next(rest)
        for each in rest:
            whole.include(each)
        return whole

    def include(self, other: "Normal") -> None:
        self.gram += other.gram
        self.cross += other.cross
        self.power += other.power
        self.count += other.count

    def add(self, x: Wide, y: Wide) -> None:
        """x (n, inputs), y (n, channels)."""
        self.include(Normal(x.T @ x, x.T @ y, np.square(y).sum(axis=0), len(y)))

    def solve(self, ridge: float, inputs: Flags) -> Floats:
        """W of z[t+1] = W [h_t, z_t, 1]: (channels, inputs), 0 for the inputs that may not be used.

        inputs: which may be, (inputs,) for all channels alike or (channels, inputs).
        """
        allowed = np.broadcast_to(inputs, (self.cross.shape[1], len(self.gram)))
        head = np.zeros(allowed.shape)
        for used in np.unique(allowed, axis=0):
            alike = (allowed == used).all(axis=1)
            gram = self.gram[np.ix_(used, used)]
            found = np.linalg.solve(gram + ridge * np.eye(len(gram)), self.cross[np.ix_(used, alike)])
            head[np.ix_(alike, used)] = found.T
        return np.ascontiguousarray(head, np.float32)

    def mean_square(self, head: Floats) -> Wide:
        """Of each channel's error under a head: (channels,)."""
        wide = head.astype(np.float64)
        quadratic = np.einsum("ci,ij,cj->c", wide, self.gram, wide, optimize=True)
        return np.asarray((self.power - 2 * np.einsum("ci,ic->c", wide, self.cross) + quadratic) / self.count)


def foresight(
    network: Network,
    scaled: Sequence[Floats],
    learnt: float,
    heads: Sequence[Flags],
    breaks: Sequence[tuple[int, ...]] = (),
) -> list[Wide]:
    """Mean square of each channel's one-step error on what comes after the first share `learnt` of each device's
    history, under one head for all that was fitted on what comes before: (channels,) for each of `heads`.

    scaled: (time, channels) a device; heads: inputs as `Normal.solve` takes them; breaks: where each has holes.
    """
    found = threaded(partial(_split_equations, network, learnt), zip(scaled, breaks or [()] * len(scaled), strict=True))
    before, after = next(found)
    for earlier, later in found:
        before.include(earlier)
        after.include(later)
    return [after.mean_square(before.solve(1.0, inputs)) for inputs in heads]


def head_inputs(network: Network, scaled: Floats) -> Wide:
    """What the head looks at after each reading of one device, (time, channels) scaled: (time, inputs)."""
    return np.concatenate([inputs for _, inputs in _walk(network, scaled)])


def head_equations(network: Network, scaled: Floats, breaks: tuple[int, ...] = ()) -> Normal:
    """What one device's history, (time, channels) scaled, says about the head; breaks: where it has holes."""
    return _equations(network, scaled, len(scaled), breaks)[0]


def _split_equations(network: Network, learnt: float, device: tuple[Floats, tuple[int, ...]]) -> tuple[Normal, Normal]:
    scaled, breaks = device
    return _equations(network, scaled, round(learnt * len(scaled)), breaks)


def _equations(network: Network, scaled: Floats, cut: int, breaks: tuple[int, ...]) -> tuple[Normal, Normal]:
    """What expecting the readings before the cut says about the head, and what those from it on say."""
    width = network.shape.hidden + scaled.shape[1] + 1
    sides = Normal.blank(width, scaled.shape[1]), Normal.blank(width, scaled.shape[1])
    for piece in pieces(len(scaled), breaks):
        for first, inputs in _walk(network, scaled[piece]):
            expected = scaled[piece][first + 1 : first + 1 + len(inputs)].astype(np.float64)
            here = int(np.clip(cut - piece.start - first - 1, 0, len(expected)))
            for side, rows in zip(sides, (slice(0, here), slice(here, len(expected))), strict=True):
                if rows.start < rows.stop:
                    side.add(inputs[rows], expected[rows])
    return sides


@torch.inference_mode()
def _walk(network: Network, scaled: Floats) -> Iterator[tuple[int, Wide]]:
    """`head_inputs`, `ROWS` at a time, each behind the place of its first."""
    state = network.initial(1)
    for first in range(0, len(scaled), ROWS):
        rows = scaled[first : first + ROWS]
        hidden, state = _run(network, rows, state)
        seen = np.clip(rows, -INPUT_LIMIT, INPUT_LIMIT)
        yield first, np.concatenate((hidden, seen, np.ones((len(seen), 1))), axis=1).astype(np.float64)


def _run(network: Network, rows: Floats, state: Tensor) -> tuple[Floats, Tensor]:
    """Hidden state after each reading, (time, hidden), and the last state."""
    if isinstance(network.cell, EwmaCell):  # torch would make a call for every reading
        hidden, last = np.empty((len(rows), network.shape.hidden), np.float32), state[0].numpy().copy()
        weights = weights_of(network.cell)
        _follow(np.clip(rows, -INPUT_LIMIT, INPUT_LIMIT), last, weights, work_for(weights), hidden)
        return hidden, torch.from_numpy(last)[None]
    after, state = network.run(torch.from_numpy(rows)[None], state)  # (1, time, hidden)
    return after[0].numpy(), state


@compiled
def _follow(rows: Floats, state: Floats, weights: Weights, work: Work, hidden: Floats) -> None:
    for t in range(len(rows)):
        _step(rows[t], state, weights, work)
        copy(state, hidden[t])
