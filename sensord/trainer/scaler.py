"""Scalers: a device's readings, or a fleet's, brought to mean 0 and spread 1. Used by `job`, `calibrate` and `compare`.

One pass after another over the readings, without copies of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensord import spill
from sensord.compiled import F32, compiled, plain
from sensord.readings import Floats

Wide = NDArray[np.float64]
SCALE_FLOOR = 0.1  # a device's scale is at least this share of the fleet's


@dataclass(frozen=True, slots=True)
class Scaler:
    """mean and scale (channels,), channel units."""

    mean: Floats
    scale: Floats

    def apply(self, values: Floats) -> Floats:
        """Scale values (time, channels); what is absent becomes the last known value, or the mean. Raises SpillFull."""
        scaled = spill.empty(values.shape, np.float32)
        _scale(plain(values), self.mean, self.scale, scaled)
        return scaled


def fleet_scaler(histories: Sequence[Floats]) -> Scaler:
    """The scaler of a device without history."""
    mean, scale, _ = moments(histories)
    return Scaler(mean.astype(np.float32), np.maximum(scale, 1e-6).astype(np.float32))


def device_scaler(values: Floats, fleet: Scaler) -> Scaler:
    """A device's own scaler; a channel that hardly moved keeps a share of the fleet's scale."""
    mean, scale, count = moments([values])
    own = np.where(count > 0, mean, fleet.mean).astype(np.float32)
    return Scaler(own, np.maximum(np.where(count > 0, scale, 0), SCALE_FLOOR * fleet.scale).astype(np.float32))


def moments(histories: Sequence[Floats]) -> tuple[Wide, Wide, NDArray[np.int64]]:
    """Mean, standard deviation and number of the values of each channel that are there: (channels,) each.

    histories: (time, channels) each; NaN is absent, and the mean and deviation of nothing.
    """
    channels = histories[0].shape[1]
    total, squares, count = np.zeros(channels), np.zeros(channels), np.zeros(channels, np.int64)
    for values in histories:
        _sum(plain(values), total, count)
    with np.errstate(invalid="ignore"):
        mean = total / count
        for values in histories:
            _sum_squares(plain(values), mean, squares)
        return mean, np.sqrt(squares / count), count


@compiled
def _sum(values: Floats, total: Wide, count: NDArray[np.int64]) -> None:
    for t in range(len(values)):
        for j in range(values.shape[1]):
            if not np.isnan(values[t, j]):
                total[j] += values[t, j]
                count[j] += 1


@compiled
def _sum_squares(values: Floats, mean: Wide, squares: Wide) -> None:
    for t in range(len(values)):
        for j in range(values.shape[1]):
            if not np.isnan(values[t, j]):
                off = values[t, j] - mean[j]
                squares[j] += off * off


@compiled
def _scale(values: Floats, mean: Floats, scale: Floats, scaled: Floats) -> None:
    for t in range(len(values)):
        for j in range(values.shape[1]):
            if np.isfinite(values[t, j]):
                scaled[t, j] = (values[t, j] - mean[j]) / scale[j]
            else:
                scaled[t, j] = scaled[t - 1, j] if t > 0 else F32(0)
