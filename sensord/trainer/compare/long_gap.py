"""A machine whose mode is set by a brief command and shows hundreds of readings later. Used by `cli`.

A command of +1 or -1 lasts a few readings. After a gap the load comes on and, one reading later, the response follows
in the command's direction; a faulty response goes the other way. Commands and faults are drawn by tossing a coin, so a
reading and the one before it are distributed alike in health and fault: only who still knows the command can tell.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import set_num_threads

from sensord.detection.baselines import BASELINES, Expectation
from sensord.detection.scorer import Flags
from sensord.model.network import Network
from sensord.readings import Floats
from sensord.trainer.calibrate import RIDGE
from sensord.trainer.fit import FitOptions, baseline_trunk, fit_trunk
from sensord.trainer.heads import head_equations, head_inputs
from sensord.trainer.scaler import Scaler, device_scaler, fleet_scaler

CHANNELS = 3  # command, load, response
COMMAND, HOLD = 3, 8  # readings that the command lasts, and load and response
IDLE = (20, 60)  # readings from a response to the next command
JITTER = 0.1  # of the gap, up or down
NOISE = 0.1  # one sigma, of the command's height

Report = Callable[[str, int, int], None]  # (stage, done, of)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is to learn from and to judge: episodes of each device."""

    devices: int = 20
    history: int = 20
    judged: int = 20


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """One device: values (time, 3); for each episode the row where the response begins, and whether it is faulty."""

    values: Floats
    decides: NDArray[np.int64]
    faulty: Flags


def stream(random: np.random.Generator, gap: int, healthy: int, judged: int) -> Stream:
    """Healthy episodes, then judged ones of which about half are faulty."""
    episodes = healthy + judged
    modes = random.choice([-1.0, 1.0], episodes)
    faulty = (np.arange(episodes) >= healthy) & (random.random(episodes) < 0.5)
    gaps = np.rint(gap * random.uniform(1 - JITTER, 1 + JITTER, episodes)).astype(np.int64)
    lengths = COMMAND + gaps + HOLD + random.integers(*IDLE, episodes)
    begins = np.cumsum(lengths) - lengths
    decides = begins + COMMAND + gaps
    values = NOISE * random.standard_normal((int(lengths.sum()), CHANNELS))
    for begin, decide, mode, bad in zip(begins, decides, modes, faulty, strict=True):
        values[begin : begin + COMMAND, 0] += mode
        values[decide - 1 : decide - 1 + HOLD, 1] += 1.0
        values[decide : decide + HOLD, 2] += -mode if bad else mode
    return Stream(values.astype(np.float32), decides, faulty)


def long_gap(
    gap: int, cells: Sequence[str], seed: int, sizes: Sizes = Sizes(), report: Report = lambda stage, done, of: None
) -> dict[str, float]:
    """The area under the ROC curve of each cell's reconstruction error where the response begins, and the baselines'.

    1 tells every faulty response from every healthy one, 0.5 is a coin. Trunk and heads are fitted as `sensord train`
    fits them, on the healthy episodes alone.
    """
    set_num_threads(1)  # a fixed number, or the same seed gives other weights
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(gap,)))
    streams = [stream(random, gap, sizes.history, sizes.judged) for _ in range(sizes.devices)]
    histories = [each.values[: each.decides[sizes.history - 1] + HOLD] for each in streams]
    fleet = fleet_scaler(histories)
    world = World(streams, histories, [device_scaler(history, fleet) for history in histories], sizes.history)
    scaled = [scaler.apply(history) for scaler, history in zip(world.scalers, histories, strict=True)]
    found: dict[str, float] = {}
    for cell in cells:
        network = fit_trunk(scaled, FitOptions(cell=cell, seed=seed), partial(report, cell))
        found[cell] = world.auc(network, Expectation.MODEL)
    options = FitOptions(seed=seed)
    baselines = {each: world.auc(baseline_trunk(each, CHANNELS, options), each) for each in BASELINES}
    return found | {str(each): area for each, area in baselines.items()}


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Streams, the healthy beginning of each, its scaler, and how many of its episodes that beginning holds."""

    streams: Sequence[Stream]
    histories: Sequence[Floats]
    scalers: Sequence[Scaler]
    healthy: int

    def auc(self, network: Network, expectation: Expectation) -> float:
        """How well the one-step error tells faulty from healthy episodes."""
        inputs = expectation.inputs(network.shape.hidden, CHANNELS)
        errors, faulty = [], []
        for each, history, scaler in zip(self.streams, self.histories, self.scalers, strict=True):
            head = head_equations(network, scaler.apply(history)).solve(RIDGE, inputs)  # (channels, inputs)
            scaled = scaler.apply(each.values)
            expected = head_inputs(network, scaled)[:-1] @ head.T  # of every reading but the first
            error = np.sqrt(((scaled[1:] - expected) ** 2).sum(axis=1))
            errors.append(error[each.decides[self.healthy :] - 1])
            faulty.append(each.faulty[self.healthy :])
        return auc(np.concatenate(errors), np.concatenate(faulty))


def auc(scores: NDArray[np.float64], faulty: Flags) -> float:
    """The share of pairs, one faulty and one healthy, in which the faulty one scores higher; a tie counts half."""
    calm = np.sort(scores[~faulty])
    below = np.searchsorted(calm, scores[faulty]), np.searchsorted(calm, scores[faulty], side="right")
    return float(np.mean(below) / len(calm))


@dataclass(frozen=True, slots=True)
class LongGap:
    """Areas under the ROC curve: gap -> name of the cell or baseline -> one for each seed."""

    auc: Mapping[int, Mapping[str, tuple[float, ...]]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(next(iter(self.auc.values())))

    def mean(self, gap: int, name: str) -> float:
        return float(np.mean(self.auc[gap][name]))


def compare_long_gap(
    gaps: Sequence[int],
    cells: Sequence[str],
    seeds: int,
    sizes: Sizes = Sizes(),
    report: Report = lambda stage, done, of: None,
) -> LongGap:
    """Every gap with seeds 0, 1, ..."""

    def run(gap: int, seed: int) -> dict[str, float]:
        return long_gap(gap, cells, seed, sizes, lambda cell, done, of: report(f"{gap}/{seed} {cell}", done, of))

    runs = {gap: [run(gap, seed) for seed in range(seeds)] for gap in gaps}
    return LongGap({gap: {name: tuple(one[name] for one in ones) for name in ones[0]} for gap, ones in runs.items()})
