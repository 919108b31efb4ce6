"""Calibrate: scaler, head, covariance and threshold of every device, without labels. Used by `job` and `evaluate`.

Thresholds are set across devices: everything is fitted once more on the first part of each device's history, and how
far the scores of the last part overshoot, pooled over the devices, gives one factor for all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sensord.detection.baselines import Expectation
from sensord.detection.scorer import Memory, Scorer
from sensord.model.bundle import Profiles, Tuning
from sensord.model.network import WAVE, Network, Stepper
from sensord.readings import Floats
from sensord.trainer.fit import Normal, head_equations
from sensord.trainer.threshold import ThresholdRule

HELD_OUT = 0.25  # the last part of every history, for the threshold
RIDGE = 100.0
SHRINKAGE = 0.1  # of the diagonal of covariance and drift, added to them
DRIFT_BLOCKS = 4  # parts of a history whose means show how far it drifts
OWN_PROFILE = 200  # readings of history from which a device gets constants of its own
SCALE_FLOOR = 0.1  # a device's scale is at least this share of the fleet's


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
    """Profiles, and how they did on the last part of every history when fitted without it.

    factor: by which thresholds exceed q99 of each device's own scores. held_out_beyond: share of readings beyond.
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
    earlier = {name: values[: _kept(values)] for name, values in histories.items()}
    trial = fit_profiles(network, earlier, tuning, expectation)
    own = {name: row for row, name in enumerate(trial.device_ids, start=1)}
    rows = [own.get(name, 0) for name in histories]
    traces = trace(network, trial, tuning, list(histories.values()), rows)
    late = [each.since(_kept(values)) for values, each in zip(histories.values(), traces, strict=True)]
    overshoot = [
        scores(each.deviation, trial.precision[row]) / trial.threshold[row]
        for row, each in zip(rows, late, strict=True)
    ]
    factor = rule.factor(overshoot)
    fitted = fit_profiles(network, histories, tuning, expectation)
    profiles = replace(fitted, threshold=fitted.threshold * np.float32(factor))
    beyond = float((np.concatenate(overshoot) > factor).mean())
    error = np.concatenate([each.error for each in late])
    return Calibration(profiles, factor, beyond, float(np.sqrt(np.nanmean(error**2))))


def _kept(values: Floats) -> int:
    return round((1 - HELD_OUT) * len(values))


def fit_profiles(
    network: Network, histories: Mapping[str, Floats], tuning: Tuning, expectation: Expectation
) -> Profiles:
    """Profiles whose thresholds are q99 of the scores on the very history they were fitted on."""
    fleet = fleet_scaler(list(histories.values()))
    own = {name: values for name, values in histories.items() if len(values) >= OWN_PROFILE}
    scalers = [fleet, *(device_scaler(values, fleet) for values in own.values())]
    shared = Normal.total([head_equations(network, fleet.apply(values)) for values in histories.values()])
    equations = [
        head_equations(network, scaler.apply(values)) for scaler, values in zip(scalers[1:], own.values(), strict=True)
    ]
    channels = len(fleet.mean)
    inputs = expectation.inputs(network.shape.hidden, channels)
    draft = Profiles(
        tuple(own),
        np.stack([scaler.mean for scaler in scalers]),
        np.stack([scaler.scale for scaler in scalers]),
        np.stack([each.solve(RIDGE, inputs) for each in (shared, *equations)]),
        np.broadcast_to(np.eye(channels, dtype=np.float32), (len(scalers), channels, channels)),
        np.full(len(scalers), np.inf, np.float32),
    )
    by_fleet = trace(network, draft, tuning, list(histories.values()), [0] * len(histories))
    by_device = trace(network, draft, tuning, list(own.values()), list(range(1, len(own) + 1)))
    calm = [  # what each row is calibrated on
        [each.since(tuning.warm_up).deviation for each in traces] for traces in (by_fleet, *([t] for t in by_device))
    ]
    precision = np.stack([precision_of(deviations) for deviations in calm])
    q99 = [np.quantile(np.concatenate([scores(d, p) for d in ds]), 0.99) for ds, p in zip(calm, precision, strict=True)]
    return replace(draft, precision=precision, threshold=np.maximum(np.array(q99, np.float32), np.float32(1e-6)))


def precision_of(deviations: Sequence[Floats]) -> Floats:
    """inv(Cov(u) + D'D + shrinkage), D the differences of successive block means: what drifted in health is excused.

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
    return np.linalg.inv(spread + SHRINKAGE * diagonal).astype(np.float32)


def scores(deviation: Floats, precision: Floats) -> Floats:
    """sqrt(u' P u) of rows that share a precision: (time,)."""
    squares = np.einsum("tf,fg,tg->t", deviation, precision, deviation)
    return np.asarray(np.sqrt(np.maximum(squares, 0)), np.float32)


@dataclass(frozen=True, slots=True)
class Trace:
    """What the scorer made of a history: deviation u and one-step error, (time, channels), scaled; error NaN where
    nothing was expected or observed."""

    deviation: Floats
    error: Floats

    def since(self, start: int) -> "Trace":
        return Trace(self.deviation[start:], self.error[start:])


def trace(
    network: Network, profiles: Profiles, tuning: Tuning, histories: Sequence[Floats], rows: Sequence[int]
) -> list[Trace]:
    """Run the daemon's scorer over whole histories, all devices side by side.

    histories: (time, channels) a device; rows: its row in the profiles.
    """
    scorer = Scorer(Stepper(network), profiles, tuning)
    traces: list[Trace] = []
    for first in range(0, len(histories), WAVE):
        traces += _trace_wave(scorer, histories[first : first + WAVE], np.array(rows[first : first + WAVE], np.int32))
    return traces


def _trace_wave(scorer: Scorer, histories: Sequence[Floats], rows: NDArray[np.int32]) -> list[Trace]:
    order = np.argsort([-len(values) for values in histories], kind="stable")  # so that a wave is always a prefix
    lengths = np.array([len(histories[i]) for i in order])
    shape = (len(order), int(lengths[0]), histories[0].shape[1])
    values, deviation, expected = (np.full(shape, np.nan, np.float32) for _ in range(3))  # (devices, time, channels)
    for place, i in enumerate(order):
        values[place, : lengths[place]] = histories[i]
    memory = Memory.blank(len(order), scorer.stepper.state_size, shape[2])
    for t in range(shape[1]):
        n = int((lengths > t).sum())
        memory = memory.first(n)
        scored = scorer.score(values[:n, t], rows[order[:n]], memory)
        deviation[:n, t], expected[:n, t] = scored.deviation, scored.expected
    error = (values - expected) / scorer.profiles.scale[rows[order]][:, None, :]
    traces = {i: Trace(deviation[p, : lengths[p]], error[p, : lengths[p]]) for p, i in enumerate(order.tolist())}
    return [traces[i] for i in range(len(histories))]
