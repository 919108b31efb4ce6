"""Fit: weights for the trunk by gradient descent, heads in closed form. Used by `job` and `evaluate`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sensord.detection.baselines import Expectation
from sensord.detection.scorer import Flags
from sensord.model.network import INPUT_LIMIT, Network, NetworkShape
from sensord.readings import Floats

Wide = NDArray[np.float64]
Progress = Callable[[int, int], None]  # (done, of)

CHUNKS_A_HISTORY = (
    8  # a dependence must be seen several times to be told from chance, so chunks are no longer than this
)


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How the trunk is fitted; lengths in readings.

    Errors flow back through a chunk of `shortest` to `longest` readings, an eighth of the usual history; the state
    flows on from chunk to chunk. steps 0 leaves the trunk as it is drawn.
    """

    hidden: int = 32
    cell: str = "lstm"
    steps: int = 600
    streams: int = 32
    shortest: int = 64
    longest: int = 512
    learning_rate: float = 2e-2
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    noise: float = 0.1
    seed: int = 0
    device: str = "cpu"


def fit_trunk(scaled: Sequence[Floats], options: FitOptions, progress: Progress) -> Network:
    """Fit a network to forecast what a linear model can't, so that its state holds what only the past can tell.

    Truncated back-propagation through time with carried state (Williams and Peng 1990). The linear readout that
    forecasts exists for fitting alone. scaled: one (time, channels) array a device, finite, of two readings at least.
    The same input and seed give the same weights.
    """
    network = blank_trunk(scaled[0].shape[1], options).to(options.device)
    if not options.steps or not list(network.parameters()):
        return network.eval().to("cpu")
    readout = nn.Linear(options.hidden, network.shape.channels).to(options.device)
    learnt = [*network.parameters(), *readout.parameters()]
    optimizer = torch.optim.AdamW(learnt, options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.learning_rate, total_steps=options.steps)
    streams = Streams(scaled, options)
    state = network.initial(options.streams).to(options.device)
    for step in range(options.steps):
        chunk = streams.next().to(options.device)
        noisy = chunk.seen + options.noise * torch.randn_like(chunk.seen)
        hidden, state = network.run(noisy, state.detach() * chunk.carried)  # (streams, length, hidden)
        loss = ((readout(hidden) - chunk.missed).square() * chunk.weight).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learnt, options.clip_norm)
        optimizer.step()
        schedule.step()
        progress(step + 1, options.steps)
    return network.eval().to("cpu")


def blank_trunk(channels: int, options: FitOptions) -> Network:
    """The network before its first step; seeds torch."""
    torch.manual_seed(options.seed)
    return Network(NetworkShape(channels, options.hidden, options.cell)).eval()


def baseline_trunk(expectation: Expectation, channels: int, options: FitOptions) -> Network:
    """What a baseline's head looks at; VAR and T2 see nothing of theirs."""
    if expectation is Expectation.EWMA:
        return Network(NetworkShape(channels, channels, "ewma")).eval()
    return blank_trunk(channels, options)


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next readings of every stream.

    seen: (streams, length, channels). missed: what a linear model of seen misses of the readings after, likewise.
    carried: (streams, 1), 0 where a stream begins. weight: (streams, length, 1), 0 where there is no reading; the
    weights of all numbers in missed sum to 1.
    """

    seen: Tensor
    missed: Tensor
    carried: Tensor
    weight: Tensor

    def to(self, device: str) -> "Chunk":
        return Chunk(self.seen.to(device), self.missed.to(device), self.carried.to(device), self.weight.to(device))


class Streams:
    """Histories read side by side in chunks; a stream that comes to a history's end goes on at a random place."""

    def __init__(self, scaled: Sequence[Floats], options: FitOptions) -> None:
        self.length = chunk_length([len(values) for values in scaled], options)
        self._pairs = list(zip((values[:-1] for values in scaled), missed_by_linear(scaled), strict=True))
        self._ends = np.cumsum([len(seen) for seen, _ in self._pairs])
        self._rng = np.random.default_rng(options.seed)
        self._places = [(0, int(self._ends[0]))] * options.streams  # (device, its next reading); none is left of these

    def next(self) -> Chunk:
        shape = (len(self._places), self.length, self._pairs[0][0].shape[1])
        seen, missed, known = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        carried = np.ones((len(self._places), 1), np.float32)
        for stream, place in enumerate(self._places):
            ended = place[1] >= len(self._pairs[place[0]][0])
            carried[stream] = not ended
            device, at = self._draw() if ended else place
            rows = slice(at, at + self.length)
            n = len(self._pairs[device][0][rows])
            seen[stream, :n], missed[stream, :n] = (part[rows] for part in self._pairs[device])
            known[stream, :n] = 1
            self._places[stream] = device, at + self.length
        weight = known[:, :, :1] / known.sum()
        return Chunk(*(torch.from_numpy(array) for array in (seen, missed, carried, weight)))

    def _draw(self) -> tuple[int, int]:
        """A device and one of its readings, all readings alike."""
        pick = int(self._rng.integers(self._ends[-1]))
        device = int(np.searchsorted(self._ends, pick, side="right"))
        return device, pick - int(self._ends[device] - len(self._pairs[device][0]))


def chunk_length(lengths: Sequence[int], options: FitOptions) -> int:
    """Over how many readings errors flow back, for histories of these lengths."""
    return int(np.clip(np.median(lengths) // CHUNKS_A_HISTORY, options.shortest, options.longest))


def missed_by_linear(scaled: Sequence[Floats]) -> list[Floats]:
    """Each reading but the first less what the best linear model of the one before expects: (time - 1, channels)."""
    before = [np.clip(values[:-1], -INPUT_LIMIT, INPUT_LIMIT) for values in scaled]
    inputs = [np.concatenate((seen, np.ones((len(seen), 1), np.float32)), axis=1) for seen in before]
    pairs = [(x.astype(np.float64), y[1:].astype(np.float64)) for x, y in zip(inputs, scaled, strict=True)]
    head = Normal.total([Normal(x.T @ x, x.T @ y) for x, y in pairs]).solve(1.0, np.ones(inputs[0].shape[1], np.bool_))
    return [np.clip(y - x @ head.T, -INPUT_LIMIT, INPUT_LIMIT).astype(np.float32) for x, y in pairs]


@dataclass(slots=True)
class Normal:
    """The normal equations of a ridge regression, which add up over devices."""

    gram: Wide  # (inputs, inputs)
    cross: Wide  # (inputs, channels)

    @classmethod
    def total(cls, equations: "Sequence[Normal]") -> "Normal":
        return cls(np.sum([e.gram for e in equations], axis=0), np.sum([e.cross for e in equations], axis=0))

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


def foresight(network: Network, scaled: Sequence[Floats], learnt: float, inputs: Flags) -> Wide:
    """Mean square of each channel's one-step error on what comes after the first share `learnt` of each device's
    history, under one head for all that was fitted on what comes before: (channels,). scaled: (time, channels) a
    device; inputs as `Normal.solve` takes them."""
    cuts = [round(learnt * len(values)) for values in scaled]
    before = [head_equations(network, values[:cut]) for values, cut in zip(scaled, cuts, strict=True)]
    head = Normal.total(before).solve(1.0, inputs)
    squares = [
        np.square(values[cut:] - head_inputs(network, values)[cut - 1 : -1] @ head.T)
        for values, cut in zip(scaled, cuts, strict=True)
    ]
    return np.asarray(np.concatenate(squares).mean(axis=0))


@torch.inference_mode()
def head_inputs(network: Network, scaled: Floats) -> Wide:
    """What the head looks at after each reading of one device, (time, channels) scaled: (time, inputs)."""
    hidden, _ = network.run(torch.from_numpy(scaled)[None], network.initial(1))  # (1, time, hidden)
    seen = np.clip(scaled, -INPUT_LIMIT, INPUT_LIMIT)
    return np.concatenate((hidden[0].numpy(), seen, np.ones((len(seen), 1))), axis=1).astype(np.float64)


def head_equations(network: Network, scaled: Floats) -> Normal:
    """What one device's history, (time, channels) scaled, says about the head."""
    inputs = head_inputs(network, scaled)[:-1]
    return Normal(inputs.T @ inputs, inputs.T @ scaled[1:].astype(np.float64))
