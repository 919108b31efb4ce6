"""Calibrate: scaler, head, covariance and threshold of every device, without labels. Used by `job` and `evaluate`.

Thresholds are set across devices, on scores that are as honest as live ones: each block of a history is scored as if it
had been left out, and for the fleet's own row each device. A score's multiples of the device's median, pooled over the
devices, give one factor for all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sensord.detection.baselines import Expectation
from sensord.detection.scorer import Flags
from sensord.model.bundle import Profiles, Tuning
from sensord.model.network import Network
from sensord.readings import Floats
from sensord.trainer.fit import Normal, Wide, foresight, head_equations
from sensord.trainer.threshold import HeldOut, ThresholdRule, calm_scores
from sensord.trainer.trace import trace

HELD_OUT = 0.25  # the last part of every history, for the expectation
RIDGE = 100.0
SHRINKAGE = 0.1  # of the diagonal of covariance and drift, added to them
DRIFT_BLOCKS = 4  # parts of a history whose means show how far it drifts
OWN_PROFILE = 200  # readings of history from which a device gets constants of its own
SCALE_FLOOR = 0.1  # a device's scale and usual score are at least this share of the fleet's
BLOCKS = (4, 16)  # fewest and most that a history is cut into, to leave each out once
PRIOR_BLOCKS = 4  # how many blocks of its own history the other devices' spread is worth to a device
DEVICE_GROUPS = 8  # of devices, to leave each out once


@dataclass(frozen=True, slots=True)
class Scaler:
    """mean and scale (channels,), channel units."""

    mean: Floats
    scale: Floats

    def apply(self, values: Floats) -> Floats:
        """Scale values (time, channels); what is absent becomes the last known value, or the mean."""
        scaled = (values - self.mean) / self.scale
        return fill_forward(scaled).astype(np.float32)


def fill_forward(values: Floats) -> Floats:
    """Replace NaN by the last finite value of its column, 0 before the first: (time, channels)."""
    known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values))[:, None], -1), axis=0)
    filled = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    return np.where(last >= 0, filled, np.float32(0))


def fleet_scaler(histories: Sequence[Floats]) -> Scaler:
    """The scaler of a device without history."""
    pooled = np.concatenate(histories).astype(np.float64)
    mean, scale = np.nanmean(pooled, axis=0), np.nanstd(pooled, axis=0)
    return Scaler(mean.astype(np.float32), np.maximum(scale, 1e-6).astype(np.float32))


def device_scaler(values: Floats, fleet: Scaler) -> Scaler:
    """A device's own scaler; a channel that hardly moved keeps a share of the fleet's scale."""
    wide = values.astype(np.float64)
    seen = np.isfinite(wide).any(axis=0)
    filled = np.where(seen, wide, fleet.mean)
    scale = np.maximum(np.nanstd(filled, axis=0), SCALE_FLOOR * fleet.scale)
    return Scaler(np.nanmean(filled, axis=0).astype(np.float32), scale.astype(np.float32))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Profiles, and how they do on parts of history that they were fitted without.

    factor: by which thresholds exceed the device's usual score. held_out_beyond: share of readings beyond.
    held_out_error: root mean square of the one-step error, scaled.
    """

    profiles: Profiles
    factor: float
    held_out_beyond: float
    held_out_error: float


def calibrate(
    network: Network,
    histories: Mapping[str, Floats],
    tuning: Tuning,
    rule: ThresholdRule,
    expectation: Expectation = Expectation.MODEL,
) -> Calibration:
    """Constants of the fleet and of every device with enough history.

    histories: device id -> (time, channels) in channel units, NaN where absent, healthy, in time order.
    """
    inputs = useful_inputs(network, histories, expectation)
    earlier = {name: values[: _kept(values)] for name, values in histories.items()}
    trial, left_out = fit_profiles(network, earlier, tuning, inputs)
    live_like = replace(trial, threshold=trial.usual * left_out.factors(rule, left_out.own, tuning))
    late, error = _late(network, live_like, histories, tuning)
    fitted, left_out = fit_profiles(network, histories, tuning, inputs)
    factors = left_out.factors(rule, late, tuning)
    factor = float(factors[-1])
    calm = np.median(np.concatenate([calm_scores(each, factor, tuning) for each in left_out.own]))
    profiles = replace(fitted, threshold=fitted.usual * factors, usual=fitted.usual * np.float32(calm))
    return Calibration(profiles, factor, float((np.concatenate(left_out.own) > factor).mean()), error)


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
    network: Network, histories: Mapping[str, Floats], tuning: Tuning, inputs: Flags
) -> tuple[Profiles, _LeftOut]:
    """Profiles that lack nothing but thresholds."""
    draft = fit_heads(network, histories, inputs)
    fleet, own = _deviations(network, draft, histories, tuning)
    priors = _others([spread_of([each]) for each in own])
    held_out = [
        unseen_device_scores(fleet),
        *(unseen_block_scores(each, prior, tuning) for each, prior in zip(own, priors, strict=True)),
    ]
    usual = usual_scores(held_out)
    spreads = [
        drawn(spread_of([each]), block_count(each, tuning), prior) for each, prior in zip(own, priors, strict=True)
    ]
    precision = np.stack([precision_of(each) for each in (spread_of(fleet), *spreads)])
    unseen = [each / usual[0] for each in held_out[0]]
    known = [np.concatenate(each) / level for each, level in zip(held_out[1:], usual[1:], strict=True)]
    return replace(draft, precision=precision, usual=usual), _LeftOut(known or unseen, unseen, len(usual))


def fit_heads(network: Network, histories: Mapping[str, Floats], inputs: Flags) -> Profiles:
    """Profiles that know what to expect, but not yet how far a reading may lie from it."""
    fleet = fleet_scaler(list(histories.values()))
    own = {name: values for name, values in histories.items() if len(values) >= OWN_PROFILE}
    scalers = [fleet, *(device_scaler(values, fleet) for values in own.values())]
    shared = Normal.total([head_equations(network, fleet.apply(values)) for values in histories.values()])
    equations = [
        head_equations(network, scaler.apply(values)) for scaler, values in zip(scalers[1:], own.values(), strict=True)
    ]
    channels = len(fleet.mean)
    return Profiles(
        tuple(own),
        np.stack([scaler.mean for scaler in scalers]),
        np.stack([scaler.scale for scaler in scalers]),
        np.stack([each.solve(RIDGE, inputs) for each in (shared, *equations)]),
        np.broadcast_to(np.eye(channels, dtype=np.float32), (len(scalers), channels, channels)),
        np.full(len(scalers), np.inf, np.float32),
        np.ones(len(scalers), np.float32),
    )


def useful_inputs(network: Network, histories: Mapping[str, Floats], expectation: Expectation) -> Flags:
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
        errors = [foresight(network, scaled, 1 - HELD_OUT, allowed) for allowed in (inputs, linear)]
        inputs[errors[0] >= errors[1]] = linear
    return inputs


def _deviations(
    network: Network, draft: Profiles, histories: Mapping[str, Floats], tuning: Tuning
) -> tuple[list[Floats], list[Floats]]:
    """Deviations u after the warm-up: of all devices under the fleet's row, and of those that have one under theirs."""
    own = [histories[name] for name in draft.device_ids]
    rows = [0] * len(histories) + list(range(1, len(draft)))
    traced = trace(network, draft, tuning, [*histories.values(), *own], rows)
    deviations = [each.since(tuning.warm_up).deviation for each in traced]
    fleet = [each for each in deviations[: len(histories)] if len(each)]  # one no longer than the warm-up says nothing
    return fleet, deviations[len(histories) :]


def _late(
    network: Network, trial: Profiles, histories: Mapping[str, Floats], tuning: Tuning
) -> tuple[list[Floats], float]:
    """Of the last part of every history, which the trial was fitted without: scores in the device's usual score, and
    the root mean square of the one-step error."""
    own = {name: row for row, name in enumerate(trial.device_ids, start=1)}
    rows = [own.get(name, 0) for name in histories]
    traces = trace(network, trial, tuning, list(histories.values()), rows)
    late = [each.since(_kept(values)) for values, each in zip(histories.values(), traces, strict=True)]
    error = np.concatenate([each.error for each in late])
    multiples = [each.score / trial.usual[row] for row, each in zip(rows, late, strict=True)]
    return multiples, float(np.sqrt(np.nanmean(error**2)))


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


def unseen_block_scores(deviation: Floats, prior: Wide, tuning: Tuning) -> list[Floats]:
    """Scores of a device's history (time, channels), block by block, each under a precision fitted on the others."""
    count = block_count(deviation, tuning)
    blocks = np.array_split(deviation, count)
    rests = [np.concatenate(blocks[:i] + blocks[i + 1 :]) for i in range(count)]
    return [
        scores(block, precision_of(drawn(spread_of([rest]), count - 1, prior)))
        for block, rest in zip(blocks, rests, strict=True)
    ]


def unseen_device_scores(deviations: Sequence[Floats]) -> list[Floats]:
    """Scores of each device (time, channels) under a precision fitted on others, as one scores that was never seen."""
    if len(deviations) == 1:
        return [scores(deviations[0], precision_of(spread_of(deviations)))]
    groups = min(len(deviations), DEVICE_GROUPS)
    precisions = [
        precision_of(spread_of([each for i, each in enumerate(deviations) if i % groups != group]))
        for group in range(groups)
    ]
    return [scores(each, precisions[i % groups]) for i, each in enumerate(deviations)]


def usual_scores(held_out: Sequence[Sequence[Floats]]) -> Floats:
    """The median score of each row: (rows,). A device that hardly moved keeps a share of the fleet's."""
    medians = np.array([np.median(np.concatenate(each)) for each in held_out], np.float32)
    return np.maximum(medians, np.float32(max(SCALE_FLOOR * float(medians[0]), 1e-6)))


def precision_of(spread: Wide) -> Floats:
    """Its inverse: (channels, channels)."""
    return np.linalg.inv(spread).astype(np.float32)


def spread_of(deviations: Sequence[Floats]) -> Wide:
    """Cov(u) + D'D + shrinkage, D the differences of successive block means: what drifted in health is excused.

    deviations: (time, channels) a device. Returns (channels, channels).
    """
    wide = [deviation.astype(np.float64) for deviation in deviations]
    pooled = np.concatenate(wide)
    covariance = np.cov(pooled, rowvar=False, bias=True).reshape(pooled.shape[1], pooled.shape[1])
    drift = np.zeros_like(covariance)
    for deviation in wide:
        means = np.stack([block.mean(axis=0) for block in np.array_split(deviation, DRIFT_BLOCKS) if len(block)])
        steps = np.diff(means, axis=0)  # (blocks - 1, channels)
        drift += steps.T @ steps / len(wide)
    spread = covariance + drift
    diagonal = np.diag(np.maximum(np.diag(spread), 1e-8))
    return np.asarray(spread + SHRINKAGE * diagonal, np.float64)


def scores(deviation: Floats, precision: Floats) -> Floats:
    """sqrt(u' P u) of rows that share a precision: (time,)."""
    squares = np.einsum("tf,fg,tg->t", deviation, precision, deviation)
    return np.asarray(np.sqrt(np.maximum(squares, 0)), np.float32)
