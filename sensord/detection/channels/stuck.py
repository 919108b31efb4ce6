"""Stuck, or too quiet: a channel that moves less than it ever did in health."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sensord.compiled import F32, compiled
from sensord.detection.alerts import Kind
from sensord.detection.channels.contract import Past, Seen
from sensord.readings import Floats

SPAN = 32.0  # readings over which the movement is averaged
SETTLED = 64  # readings until an average is believed
LOUDEST = 1e3  # a score's end: how much quieter than ever a standing channel counts as
ZERO, ONE, TINY = F32(0), F32(1), F32(1e-12)
LONGEST_SPAN, BELIEVED, LOUD = F32(SPAN), F32(SETTLED), F32(LOUDEST)


class Stuck:
    """How many times smaller than history's smallest is the mean absolute difference between readings.

    A channel that stood still in health for long has a smallest of 0, and is never called stuck.

    Constants: quietest (channels), scaled; 0 turns a channel off. State: last value (channels), mean absolute
    difference (channels), differences seen (1).
    """

    name = "stuck"
    kind = Kind.STUCK
    least_limit = 4.0
    patience = 1

    def state_width(self, channels: int) -> int:
        return 2 * channels + 1

    def constants_width(self, channels: int) -> int:
        return channels

    def learn(self, histories: Sequence[Past]) -> Floats:
        return np.asarray(np.min([_quietest(past.z) for past in histories], axis=0), np.float32)

    @staticmethod
    @compiled
    def score(seen: Seen, constants: Floats, state: Floats, strange: Floats) -> None:
        channels = len(seen.z)
        last, movement, count = state[:channels], state[channels : 2 * channels], state[-1]
        span = min(max(count, ONE), LONGEST_SPAN)
        for j in range(channels):
            absent = np.isnan(seen.z[j])
            if not absent:
                if count > ZERO:
                    movement[j] += (abs(seen.z[j] - last[j]) - movement[j]) / span
                last[j] = seen.z[j]
            told = count + ONE >= BELIEVED and not absent
            strange[j] = constants[j] / max(movement[j], constants[j] / LOUD + TINY) if told else ZERO
        state[-1] = min(count + ONE, BELIEVED)


def _quietest(z: Floats) -> Floats:
    """The smallest mean movement of each channel over any `SETTLED` readings: (channels,); 0 where there is none."""
    steps = np.abs(np.diff(z.astype(np.float64), axis=0))
    absent = np.isnan(steps)
    sums, counts = (_cumulated(column) for column in (np.where(absent, 0, steps), ~absent))
    moved, known = sums[SETTLED:] - sums[:-SETTLED], counts[SETTLED:] - counts[:-SETTLED]
    whole = known >= SETTLED / 2
    means = np.where(whole, moved / np.maximum(known, 1), np.inf)
    lowest = means.min(axis=0, initial=np.inf)
    return np.where(np.isfinite(lowest), np.maximum(lowest, 0), 0).astype(np.float32)


def _cumulated(column: NDArray[np.generic]) -> NDArray[np.float64]:
    """Sums of the rows before each row: (rows + 1, channels)."""
    return np.concatenate((np.zeros((1, column.shape[1])), np.cumsum(column, axis=0, dtype=np.float64)))
