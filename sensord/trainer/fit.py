"""Fit: weights for the trunk by gradient descent. Used by `job` and `compare`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sensord import spill
from sensord.detection.baselines import Expectation
from sensord.model.network import INPUT_LIMIT, Network, NetworkShape
from sensord.readings import Floats
from sensord.trainer.heads import ROWS, Normal, Wide
from sensord.trainer.ranks import ALONE, Ranks

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


class Forecaster(nn.Module):
    """The trunk, and the linear readout that forecasts; the readout exists for fitting alone."""

    def __init__(self, trunk: Network, hidden: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.readout = nn.Linear(hidden, trunk.shape.channels)

    def forward(self, seen: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """seen (streams, length, channels); returns what is expected next, likewise, and the state after."""
        hidden, state = self.trunk.run(seen, state)  # (streams, length, hidden)
        return self.readout(hidden), state


def fit_trunk(scaled: Sequence[Floats], options: FitOptions, progress: Progress, ranks: Ranks = ALONE) -> Network:
    """Fit a network to forecast what a linear model can't, so that its state holds what only the past can tell.

    Truncated back-propagation through time with carried state (Williams and Peng 1990). scaled: one (time, channels)
    array a device, finite, of two readings at least. The same input, seed and number of ranks give the same weights, on
    every rank. Raises RankLost.
    """
    network = blank_trunk(scaled[0].shape[1], options)
    if not options.steps or not list(network.parameters()):
        return network
    with ranks.together():
        forecaster = (
            Forecaster(network, options.hidden).to(options.device).train()
        )  # cuDNN's LSTM learns in no other mode
        _descend(forecaster, scaled, options, progress, ranks)
    return network.eval().to("cpu")


def _descend(
    forecaster: Forecaster, scaled: Sequence[Floats], options: FitOptions, progress: Progress, ranks: Ranks
) -> None:
    """Gradient descent on this rank's streams; the weights are changed in place."""
    learnt, averaging = list(forecaster.parameters()), ranks.averaging(forecaster)
    optimizer = torch.optim.AdamW(learnt, options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.learning_rate, total_steps=options.steps)
    streams = Streams(scaled, options, ranks)
    state = forecaster.trunk.initial(streams.count).to(options.device)
    if not ranks.leads:
        torch.manual_seed(options.seed + ranks.rank)  # noise of its own
    for step in range(options.steps):
        chunk = streams.next().to(options.device)
        noisy = chunk.seen + options.noise * torch.randn_like(chunk.seen)
        expected, state = averaging(noisy, state.detach() * chunk.carried)
        loss = ((expected - chunk.missed).square() * chunk.weight).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learnt, options.clip_norm)
        optimizer.step()
        schedule.step()
        progress(step + 1, options.steps)


def blank_trunk(channels: int, options: FitOptions) -> Network:
    """The network before its first step; seeds torch."""
    torch.manual_seed(options.seed)
    return Network(NetworkShape(channels, options.hidden, options.cell)).eval()


def baseline_trunk(expectation: Expectation, channels: int, options: FitOptions) -> Network:
    """What a baseline's head looks at; VAR and T2 see nothing of theirs, so it is the cheapest."""
    if expectation is Expectation.UNTRAINED:
        return blank_trunk(channels, options)
    return Network(NetworkShape(channels, channels, "ewma")).eval()


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
    """Histories read side by side in chunks; a stream that comes to a history's end goes on at a random place.

    Of several ranks each reads the histories of its own devices, in its share of the streams.
    """

    def __init__(self, scaled: Sequence[Floats], options: FitOptions, ranks: Ranks = ALONE) -> None:
        self.length = chunk_length([len(values) for values in scaled], options)
        self.count = max(1, options.streams // ranks.size)
        missed = missed_by_linear(scaled)
        self._pairs = [(scaled[device][:-1], missed[device]) for device in ranks.share(len(scaled))]
        self._ends = np.cumsum([len(seen) for seen, _ in self._pairs])
        self._rng = np.random.default_rng(options.seed if ranks.leads else (options.seed, ranks.rank))
        self._places = [(0, int(self._ends[0]))] * self.count  # (device, its next reading); none is left of these

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
    channels = scaled[0].shape[1]
    equations = Normal.blank(channels + 1, channels)
    for values in scaled:
        for rows in _stretches(len(values) - 1):
            equations.add(_seen(values[:-1][rows]), values[1:][rows].astype(np.float64))
    head = equations.solve(1.0, np.ones(channels + 1, np.bool_))
    missed = spill.rows([len(values) - 1 for values in scaled], (channels,), np.float32)
    for values, found in zip(scaled, missed, strict=True):
        for rows in _stretches(len(found)):
            found[rows] = np.clip(values[1:][rows] - _seen(values[:-1][rows]) @ head.T, -INPUT_LIMIT, INPUT_LIMIT)
    return missed


def _stretches(readings: int) -> Iterator[slice]:
    return (slice(first, min(first + ROWS, readings)) for first in range(0, readings, ROWS))


def _seen(values: Floats) -> Wide:
    """What a linear model looks at: (time, channels + 1)."""
    seen = np.clip(values, -INPUT_LIMIT, INPUT_LIMIT).astype(np.float64)
    return np.concatenate((seen, np.ones((len(seen), 1))), axis=1)
