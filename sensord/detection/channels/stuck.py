"""Stuck, or too quiet: a channel that moves less than it ever did in health."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sensord.detection.alerts import Kind
from sensord.detection.channels.contract import Past, Seen, present
from sensord.readings import Floats

SPAN = 32.0  # readings over which the movement is averaged
SETTLED = 64  # readings until an average is believed
LOUDEST = 1e3  # a score's end: how much quieter than ever a standing channel counts as


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

    def score(self, seen: Seen, constants: Floats, state: Floats) -> Floats:
        channels = seen.z.shape[1]
        last, movement, count = state[:, :channels], state[:, channels:-1], state[:, -1]  # views
        absent = np.isnan(seen.z)
        step = np.where(absent | (count == 0)[:, None], movement, np.abs(present(seen.z) - last))
        movement += (step - movement) / np.minimum(np.maximum(count, np.float32(1)), np.float32(SPAN))[:, None]
        last[:] = np.where(absent, last, seen.z)
        count[:] = np.minimum(count + 1, np.float32(SETTLED))
        score = constants / np.maximum(movement, constants / np.float32(LOUDEST) + np.float32(1e-12))
        return np.where((count >= SETTLED)[:, None] & ~absent, score, np.float32(0))


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
