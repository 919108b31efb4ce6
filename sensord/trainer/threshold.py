"""How far beyond the scores of healthy history a threshold must lie, pooled over devices. Used by `calibrate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sensord import spill
from sensord.model.manifest import Tuning
from sensord.readings import Floats
from sensord.trainer.tail import Tail

DAY_S = 86_400.0
HELD_OUT = 0.25  # the last part of every history, for the expectation
ENOUGH = 50  # openings that a tail is fitted to; what happens oftener is counted
SELDOM = 0.99
YOUNG = 1_000  # readings: a shorter history is young
STEPS = 8  # levels tried while the readings beyond grow by half


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Scores of healthy readings that what scores them was fitted without, as multiples of the device's usual score;
    (time,) a device.

    left_out: every part of history in turn, scored by a fit on what lies before and after it. late: the last part,
    scored by a fit on what lies before.
    """

    left_out: Sequence[Floats]
    late: Sequence[Floats]


class ThresholdRule(Protocol):
    """Chooses the factor for thresholds."""

    def factor(self, held_out: HeldOut, tuning: Tuning) -> float:
        """Returns the threshold, as a multiple of the device's usual score."""
        ...

    def part(self, share: float) -> "ThresholdRule":
        """The same rule for a detector that may spend only a share of what is allowed."""
        ...


@dataclass(frozen=True, slots=True)
class RowShare:
    """A share of healthy readings may lie beyond; for benchmarks that count readings."""

    share: float = 0.025

    def factor(self, held_out: HeldOut, tuning: Tuning) -> float:
        return quantile(held_out.late, 1 - self.share)

    def part(self, share: float) -> "RowShare":
        return RowShare(self.share * share)


@dataclass(frozen=True, slots=True)
class AlarmBudget:
    """So many false alarms per device and day, at one reading every period_s seconds."""

    per_device_day: float
    period_s: float

    def factor(self, held_out: HeldOut, tuning: Tuning) -> float:
        return optimism(held_out) * level_for(self.per_device_day * self.period_s / DAY_S, held_out.left_out, tuning)

    def part(self, share: float) -> "AlarmBudget":
        return AlarmBudget(self.per_device_day * share, self.period_s)


def optimism(held_out: HeldOut) -> float:
    """By how much later scores exceed left-out ones, at the level that a hundredth of them exceeds; at least 1.

    What was left out of a short history is still much like what lies on both sides of it. The longer histories are, the
    less of the difference counts, and none from `YOUNG` readings on.
    """
    late, left_out = (quantile(each, SELDOM) for each in (held_out.late, held_out.left_out))
    shortness = max(0.0, 1 - float(np.median([len(each) for each in held_out.left_out])) / YOUNG)
    return max(1.0, late / left_out) ** shortness if left_out > 0 else 1.0


def level_for(openings: float, scores: Sequence[Floats], tuning: Tuning) -> float:
    """The level at which scores like these open so many alerts a reading.

    Levels are tried from the highest score down. What history shows is counted; what is rarer than `ENOUGH` openings
    in it comes from the tail of their peaks. Where no level opens so many alerts, the one that opens most.
    scores: (time,) a device, finite.
    """
    wanted = openings * sum(len(each) for each in scores)
    reaching = spill.rows([len(each) for each in scores], (), np.float32)
    for each, reach in zip(scores, reaching, strict=True):
        reach[:] = _reach(each, tuning)
    levels = _levels(reaching)
    counts: list[int] = []
    for level in levels:
        peaks = [_peaks(each, reach, level, tuning) for each, reach in zip(scores, reaching, strict=True)]
        counts.append(sum(map(len, peaks)))
        if counts[-1] >= max(wanted, ENOUGH):
            break
    most = int(np.argmax(counts))
    if wanted >= counts[most]:
        return float(levels[most])
    if wanted >= ENOUGH:
        return float(np.interp(wanted, counts[most - 1 : most + 1], levels[most - 1 : most + 1]))
    start = float(levels[most])
    above = np.concatenate([_peaks(each, reach, start, tuning) for each, reach in zip(scores, reaching, strict=True)])
    return Tail.fit(above.astype(np.float64) - start, start).level(wanted / counts[most])


def calm_scores(scores: Floats, level: float, tuning: Tuning) -> Floats:
    """The scores (time,) that raise no alarm at this level: neither beyond it, nor after one and beyond clear_share."""
    loud = scores > level * tuning.clear_share
    stretch = np.cumsum(np.diff(loud, prepend=False))  # of loud or of calm readings, numbered
    places = np.arange(len(scores))
    first = np.full(int(stretch[-1]) + 1 if len(stretch) else 0, len(scores))
    np.minimum.at(first, stretch[scores > level], places[scores > level])
    return np.asarray(scores[~loud | (places < first[stretch])], np.float32)


def quantile(scores: Sequence[Floats], share: float) -> float:
    """Of all scores, (time,) a device."""
    return float(np.quantile(spill.joined(scores, np.float32), share, overwrite_input=True))


def _levels(reaching: Sequence[Floats]) -> Floats:
    """Levels to try, falling: so many values lie beyond each that their number grows by half every `STEPS`."""
    finite = spill.joined((reach[np.isfinite(reach)] for reach in reaching), np.float32)
    shares = np.exp(-np.arange(0, np.log(len(finite)), np.log(1.5) / STEPS))[::-1]
    return np.asarray(np.unique(np.quantile(finite, 1 - shares, overwrite_input=True))[::-1], np.float32)


def _reach(scores: Floats, tuning: Tuning) -> Floats:
    """The highest level at which an alert's first anomalous reading may be this one: (time,).

    An alert opens when one score lies beyond the level, and those after it, open_after in all, beyond its clear_share.
    """
    more = tuning.open_after - 1
    if not more:
        return scores
    ended = np.r_[scores[1:], np.full(more, -np.inf, np.float32)]
    after = sliding_window_view(ended, more).min(axis=1)[: len(scores)]  # the lowest of the scores to come
    return np.asarray(np.minimum(scores, after / np.float32(tuning.clear_share)), np.float32)


def _peaks(scores: Floats, reach: Floats, level: float, tuning: Tuning) -> Floats:
    """How far each alert that opens at this level would still reach: (alerts,), all beyond it.

    One alert ends, and the next may begin, after close_after readings below the level's clear_share.
    """
    loud = np.flatnonzero(scores > level * tuning.clear_share)
    if not len(loud):
        return np.empty(0, np.float32)
    begins = np.flatnonzero(np.diff(loud, prepend=-np.inf) > tuning.close_after)
    peaks = np.maximum.reduceat(reach[loud], begins)
    return np.asarray(peaks[peaks > level], np.float32)
