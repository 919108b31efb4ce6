"""How far beyond the scores of healthy history a threshold must lie, pooled over devices. Used by `calibrate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sensord.readings import Floats

DAY_S = 86_400.0
BLOCK = 64  # readings; scores are smoothed, so neighbours are one event
TAIL = 0.2  # the largest share of block maxima, which the tail is fitted to


class ThresholdRule(Protocol):
    """Chooses the factor for thresholds."""

    def factor(self, overshoot: Sequence[Floats]) -> float:
        """overshoot: score / q99 of held-out readings, one array a device. Returns the factor to put on q99."""
        ...

    def part(self, share: float) -> "ThresholdRule":
        """The same rule for a detector that may spend only a share of what is allowed."""
        ...


@dataclass(frozen=True, slots=True)
class RowShare:
    """A share of healthy readings may lie beyond; for benchmarks that count readings."""

    share: float = 0.025

    def factor(self, overshoot: Sequence[Floats]) -> float:
        return float(np.quantile(np.concatenate(overshoot), 1 - self.share))

    def part(self, share: float) -> "RowShare":
        return RowShare(self.share * share)


@dataclass(frozen=True, slots=True)
class AlarmBudget:
    """So many false alarms per device and day, at one reading every period_s seconds.

    Held-out history is far too short to see an alarm that rare, so the tail of block maxima is continued as an
    exponential (the peaks-over-threshold method with shape 0; Coles 2001, section 4).
    """

    per_device_day: float
    period_s: float

    def factor(self, overshoot: Sequence[Floats]) -> float:
        maxima = np.concatenate([_block_maxima(scores) for scores in overshoot])
        start = np.quantile(maxima, 1 - TAIL)
        excess = maxima[maxima >= start] - start
        alarms_a_block = self.per_device_day * BLOCK * self.period_s / DAY_S
        reach = np.log(max(TAIL / alarms_a_block, 1.0))  # how many mean excesses further out
        return max(1.0, float(start + excess.mean() * reach))

    def part(self, share: float) -> "AlarmBudget":
        return AlarmBudget(self.per_device_day * share, self.period_s)


def _block_maxima(scores: Floats) -> Floats:
    """The largest of every `BLOCK` scores; a short last block joins the one before."""
    blocks = np.array_split(scores, max(1, len(scores) // BLOCK))
    return np.array([block.max() for block in blocks if len(block)], np.float32)
