"""Calibrate: scaler, head, covariance and threshold of every device, without labels. Used by `job` and `evaluate`.

Thresholds are set across devices, on scores that are as honest as live ones: each block of a history is scored as if it
had been left out, and for the fleet's own row each device. A score's multiples of the device's median, pooled over the
devices, give one factor for all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain, repeat
from typing import Self

import numpy as np

from sensord import spill
from sensord.detection.baselines import Expectation
from sensord.detection.scorer import Flags
from sensord.model.bundle import Profiles
from sensord.model.manifest import Tuning
from sensord.model.network import Network
from sensord.readings import Floats
from sensord.trainer.heads import Normal, Wide, foresight, head_equations
from sensord.trainer.holes import WHOLE, Breaks
from sensord.trainer.scaler import SCALE_FLOOR, Scaler, device_scaler, fleet_scaler
from sensord.trainer.threads import threaded
from sensord.trainer.threshold import HELD_OUT, HeldOut, ThresholdRule, calm_scores
from sensord.trainer.trace import trace

RIDGE = 100.0
SHRINKAGE = 0.1  # of the diagonal of covariance and drift, added to them
DRIFT_BLOCKS = 4  # parts of a history whose means show how far it drifts
OWN_PROFILE = 200  # readings of history from which a device gets constants of its own
BLOCKS = (4, 16)  # fewest and most that a history is cut into, to leave each out once
PRIOR_BLOCKS = 4  # how many blocks of its own history the other devices' spread is worth to a device
DEVICE_GROUPS = 8  # of devices, to leave each out once


@dataclass(frozen=True, slots=True)
class Calibration:
    """Profiles, and how they do on parts of history that they were fitted without.

    trial: profiles of the first part alone, under the same thresholds, for whoever judges by the last. factor: by which
    thresholds exceed the device's usual score. held_out_beyond: share of readings beyond.
    held_out_error: root mean square of the one-step error, scaled.
    """

    profiles: Profiles
    trial: Profiles
    factor: float
    held_out_beyond: float
    held_out_error: float


def calibrate(
    network: Network,
    histories: Mapping[str, Floats],
    tuning: Tuning,
    rule: ThresholdRule,
    expectation: Expectation = Expectation.MODEL,
    breaks: Breaks = WHOLE,
) -> Calibration:
    """Constants of the fleet and of every device with enough history.

    histories: device id -> (time, channels) in channel units, NaN where absent, healthy, in time order. breaks: where
    these have holes.
    """
    inputs = useful_inputs(network, histories, expectation, breaks)
    trial, left_out = fit_profiles(network, _earlier(histories), tuning, inputs, breaks)
    live_like = replace(trial, threshold=trial.usual * left_out.factors(rule, left_out.own, tuning))
    late, error = _late(network, live_like, histories, tuning, breaks)
    fitted, left_out = fit_profiles(network, histories, tuning, inputs, breaks)
    factors = left_out.factors(rule, late, tuning)
    factor = float(factors[-1])
    calm = spill.joined((calm_scores(each, factor, tuning) for each in left_out.own), np.float32)
    level = np.float32(np.median(calm, overwrite_input=True))
    beyond = sum(int((each > factor).sum()) for each in left_out.own) / sum(map(len, left_out.own))
    live, trial = (_with_thresholds(profiles, float(factors[0]), factor, level) for profiles in (fitted, trial))
    return Calibration(live, trial, factor, beyond, error)


def _with_thresholds(profiles: Profiles, of_fleet: float, own: float, level: np.float32) -> Profiles:
    factors = np.full(len(profiles), own, np.float32)
    factors[0] = of_fleet
    return replace(profiles, threshold=profiles.usual * factors, usual=profiles.usual * level)


def held_out_error(
    network: Network,
    histories: Mapping[str, Floats],
    tuning: Tuning,
    expectation: Expectation,
    breaks: Breaks = WHOLE,
) -> float:
    """What `calibrate` would say of the one-step error, which no threshold has a say in."""
    inputs = useful_inputs(network, histories, expectation, breaks)
    return _late(network, fit_heads(network, _earlier(histories), inputs, breaks), histories, tuning, breaks)[1]


def _earlier(histories: Mapping[str, Floats]) -> dict[str, Floats]:
    return {name: values[: _kept(values)] for name, values in histories.items()}


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """Scores of what a profile was fitted without, in its usual score, (time,) a device: for each row of the profiles
    that is a device's own, and of devices that only the fleet's row stands for."""

    own: Sequence[Floats]
    unseen: Sequence[Floats]
    rows: int

    def factors(self, rule: ThresholdRule, late: Sequence[Floats], tuning: Tuning) -> Floats:
        """Thresholds as multiples of the usual score: (rows,)."""
        factors = np.full(self.rows, rule.factor(HeldOut(self.own, late), tuning), np.float32)
        factors[0] = rule.factor(HeldOut(self.unseen, late), tuning)
        return factors


def fit_profiles(
    network: Network, histories: Mapping[str, Floats], tuning: Tuning, inputs: Flags, breaks: Breaks
) -> tuple[Profiles, _LeftOut]:
    """Profiles that lack nothing but thresholds."""
    draft = fit_heads(network, histories, inputs, breaks)
    fleet, own = _deviations(network, draft, histories, tuning, breaks)
    fleet_spread = Spread.total(threaded(Spread.of, fleet))
    spreads = [each.matrix() for each in threaded(Spread.of, own)]
    priors = _others(spreads)
    unseen = unseen_device_scores(fleet)
    known = spill.rows([len(each) for each in own], (), np.float32)
    for found, scored in zip(
        known, threaded(lambda each: unseen_block_scores(*each, tuning), zip(own, priors, strict=True)), strict=True
    ):
        found[:] = scored
    usual = usual_scores(unseen, known)
    drawn_in = [
        drawn(spread, block_count(each, tuning), prior)
        for each, spread, prior in zip(own, spreads, priors, strict=True)
    ]
    precision = np.stack([precision_of(each) for each in (fleet_spread.matrix(), *drawn_in)])
    for scored, level in zip((*unseen, *known), (*[usual[0]] * len(unseen), *usual[1:]), strict=True):
        np.divide(scored, level, out=scored)
    return replace(draft, precision=precision, usual=usual), _LeftOut(known or unseen, unseen, len(usual))


def fit_heads(network: Network, histories: Mapping[str, Floats], inputs: Flags, breaks: Breaks) -> Profiles:
    """Profiles that know what to expect, but not yet how far a reading may lie from it."""
    fleet = fleet_scaler(list(histories.values()))
    own = {name: values for name, values in histories.items() if len(values) >= OWN_PROFILE}
    scalers = [fleet, *(device_scaler(values, fleet) for values in own.values())]

    def equations_of(each: tuple[Scaler, str]) -> Normal:
        scaler, name = each
        return head_equations(network, scaler.apply(histories[name]), breaks.get(name, ()))

    shared = Normal.total(threaded(equations_of, zip(repeat(fleet), histories)))
    equations = threaded(equations_of, zip(scalers[1:], own, strict=True))
    channels = len(fleet.mean)
    return Profiles(
        tuple(own),
        np.stack([scaler.mean for scaler in scalers]),
        np.stack([scaler.scale for scaler in scalers]),
        np.stack([each.solve(RIDGE, inputs) for each in chain([shared], equations)]),
        np.broadcast_to(np.eye(channels, dtype=np.float32), (len(scalers), channels, channels)),
        np.full(len(scalers), np.inf, np.float32),
        np.ones(len(scalers), np.float32),
    )


def useful_inputs(network: Network, histories: Mapping[str, Floats], expectation: Expectation, breaks: Breaks) -> Flags:
    """Which of the head's inputs each channel is expected from: (channels, inputs).

    A state that was fitted to little history foresees chance. So a channel's head looks at it only where it foresees
    the last part of the histories better than the last reading alone does; then it can't do worse than a linear model.
    """
    hidden, channels = network.shape.hidden, network.shape.channels
    fleet = fleet_scaler(list(histories.values()))
    scaled = [device_scaler(values, fleet).apply(values) for values in histories.values()]
    inputs = np.tile(expectation.inputs(hidden, channels), (channels, 1))
    if expectation in (Expectation.MODEL, Expectation.UNTRAINED):
        linear = Expectation.VAR.inputs(hidden, channels)
        errors = foresight(
            network, scaled, 1 - HELD_OUT, (inputs, linear), [breaks.get(name, ()) for name in histories]
        )
        inputs[errors[0] >= errors[1]] = linear
    return inputs


def _deviations(
    network: Network, draft: Profiles, histories: Mapping[str, Floats], tuning: Tuning, breaks: Breaks
) -> tuple[list[Floats], list[Floats]]:
    """Deviations u after the warm-up: of all devices under the fleet's row, and of those that have one under theirs."""
    own = [histories[name] for name in draft.device_ids]
    rows = [0] * len(histories) + list(range(1, len(draft)))
    broken = [breaks.get(name, ()) for name in (*histories, *draft.device_ids)]
    traced = trace(network, draft, tuning, [*histories.values(), *own], rows, broken)
    deviations = [each.since(tuning.warm_up).deviation for each in traced]
    fleet = [each for each in deviations[: len(histories)] if len(each)]  # one no longer than the warm-up says nothing
    return fleet, deviations[len(histories) :]


def _late(
    network: Network, trial: Profiles, histories: Mapping[str, Floats], tuning: Tuning, breaks: Breaks
) -> tuple[list[Floats], float]:
    """Of the last part of every history, which the trial was fitted without: scores in the device's usual score, and
    the root mean square of the one-step error."""
    own = {name: row for row, name in enumerate(trial.device_ids, start=1)}
    rows = [own.get(name, 0) for name in histories]
    broken = [breaks.get(name, ()) for name in histories]
    traces = trace(network, trial, tuning, list(histories.values()), rows, broken)
    late = [each.since(_kept(values)) for values, each in zip(histories.values(), traces, strict=True)]
    for row, each in zip(rows, late, strict=True):
        np.divide(each.score, trial.usual[row], out=each.score)
    known = sum(int(np.isfinite(each.error).sum()) for each in late)
    squares = spill.joined((np.nan_to_num(np.square(each.error).ravel()) for each in late), np.float32)
    return [each.score for each in late], float(np.sqrt(squares.sum() / np.float32(known)))


def _kept(values: Floats) -> int:
    return round((1 - HELD_OUT) * len(values))


def _others(spreads: Sequence[Wide]) -> list[Wide]:
    """For each device the mean spread of the others; its own where there are none."""
    if len(spreads) == 1:
        return list(spreads)
    total = np.sum(spreads, axis=0)
    return [(total - each) / (len(spreads) - 1) for each in spreads]


def drawn(spread: Wide, blocks: int, prior: Wide) -> Wide:
    """A device's spread drawn towards the other devices', as if they had added `PRIOR_BLOCKS` blocks to its own: a
    short history hasn't seen all that the device does."""
    return (blocks * spread + PRIOR_BLOCKS * prior) / (blocks + PRIOR_BLOCKS)


def block_count(deviation: Floats, tuning: Tuning) -> int:
    """Blocks are as long as the baseline's memory, so that neighbours have little to do with each other."""
    return int(np.clip(len(deviation) / tuning.baseline, *BLOCKS))


def unseen_block_scores(deviation: Floats, prior: Wide, tuning: Tuning) -> Floats:
    """Scores of a device's history (time, channels), each block's under a precision fitted on the others: (time,)."""
    count = block_count(deviation, tuning)
    blocks = np.array_split(deviation, count)
    rests = (np.concatenate(blocks[:i] + blocks[i + 1 :]) for i in range(count))
    spreads = (drawn(Spread.of(rest).matrix(), count - 1, prior) for rest in rests)
    return np.concatenate([scores(block, precision_of(each)) for block, each in zip(blocks, spreads, strict=True)])


def unseen_device_scores(deviations: Sequence[Floats]) -> list[Floats]:
    """Scores of each device (time, channels) under a precision fitted on others, as one scores that was never seen."""
    groups = min(len(deviations), DEVICE_GROUPS)
    of_group = [Spread.total(threaded(Spread.of, deviations[group::groups])) for group in range(groups)]
    others = [[each for i, each in enumerate(of_group) if i != group] or of_group for group in range(groups)]
    precisions = [precision_of(Spread.total(each).matrix()) for each in others]
    found = spill.rows([len(each) for each in deviations], (), np.float32)
    for i, deviation in enumerate(deviations):
        found[i][:] = scores(deviation, precisions[i % groups])
    return found


def usual_scores(unseen: Sequence[Floats], known: Sequence[Floats]) -> Floats:
    """The median score of the fleet's row, over all devices, and of each other row: (rows,). A device that hardly moved
    keeps a share of the fleet's."""
    fleet = np.median(spill.joined(unseen, np.float32), overwrite_input=True)
    medians = np.array([fleet, *(np.median(each) for each in known)], np.float32)
    return np.maximum(medians, np.float32(max(SCALE_FLOOR * float(medians[0]), 1e-6)))


def precision_of(spread: Wide) -> Floats:
    """Its inverse: (channels, channels)."""
    return np.linalg.inv(spread).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Spread:
    """What deviations are like; of several devices it adds up (Chan, Golub and LeVeque 1979).

    count: readings. mean (channels,). scatter: sum of (u - mean)(u - mean)', (channels, channels). drift: sum of D'D,
    D the differences of successive block means of a device, likewise. devices: how many.
    """

    count: int
    mean: Wide
    scatter: Wide
    drift: Wide
    devices: int

    @classmethod
    def of(cls, deviation: Floats) -> Self:
        """Of one device: (time, channels)."""
        wide = deviation.astype(np.float64)
        mean = wide.mean(axis=0)
        means = np.stack([block.mean(axis=0) for block in np.array_split(wide, DRIFT_BLOCKS) if len(block)])
        steps = np.diff(means, axis=0)  # (blocks - 1, channels)
        wide -= mean
        return cls(len(wide), mean, wide.T @ wide, steps.T @ steps, 1)

    @classmethod
    def total(cls, spreads: "Iterable[Spread]") -> "Spread":
        """Of all together; one at least."""
        return reduce(Spread._with, spreads)

    def _with(self, other: "Spread") -> "Spread":
        count, apart = self.count + other.count, other.mean - self.mean
        scatter = self.scatter + other.scatter + np.outer(apart, apart) * (self.count * other.count / count)
        mean = self.mean + apart * (other.count / count)
        return Spread(count, mean, scatter, self.drift + other.drift, self.devices + other.devices)

    def matrix(self) -> Wide:
        """Cov(u) + D'D + shrinkage, (channels, channels): what drifted in health is excused."""
        spread = self.scatter / self.count + self.drift / self.devices
        diagonal = np.diag(np.maximum(np.diag(spread), 1e-8))
        return np.asarray(spread + SHRINKAGE * diagonal, np.float64)


def scores(deviation: Floats, precision: Floats) -> Floats:
    """sqrt(u' P u) of rows that share a precision: (time,)."""
    squares = np.einsum("tf,fg,tg->t", deviation, precision, deviation)
    return np.asarray(np.sqrt(np.maximum(squares, 0)), np.float32)
