"""Figures that count readings. Pure; used by `judging`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sensord.detection.scorer import Flags
from sensord.readings import Integers

Wide = NDArray[np.float64]
BUFFER = 100  # readings: the widest buffer of VUS-PR, half of it on either side of a fault


@dataclass(frozen=True, slots=True)
class Rates:
    """Row-wise figures, pooled over recordings: F1; false alarms FP / (FP + TN); missed alarms FN / (FN + TP)."""

    f1: float
    far: float
    mar: float

    @classmethod
    def of(cls, alarmed: Flags, faulty: Flags) -> Self:
        """NaN where there is nothing to divide by."""
        hits, misses = float((alarmed & faulty).sum()), float((~alarmed & faulty).sum())
        false, quiet = float((alarmed & ~faulty).sum()), float((~alarmed & ~faulty).sum())
        return cls(
            ratio(2 * hits, 2 * hits + false + misses), ratio(false, false + quiet), ratio(misses, misses + hits)
        )


def ratio(part: float, whole: float) -> float:
    """NaN where the whole is nothing."""
    return part / whole if whole else float("nan")


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision against recall, one point a distinct score, from the highest score down: (points,) each."""

    recall: Wide
    precision: Wide

    @property
    def area(self) -> float:
        """Average precision: each step of recall times the precision at its end."""
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))


def precision_recall(score: Wide, faulty: Flags) -> Curve:
    """The plain curve: score (n,) finite, higher is stranger; faulty (n,), some of it true."""
    ranked = _Ranked.of(score)
    hits = np.cumsum(faulty[ranked.order])[ranked.last]
    return Curve(hits / faulty.sum(), hits / (ranked.last + 1))


def vus_pr(score: Wide, faulty: Flags, widest: int = BUFFER) -> float:
    """Volume under the surface of precision, recall and buffer (Paparrizos et al. 2022, VLDB 15(11)).

    For every buffer l of 0 to `widest` readings a label decays around each fault as sqrt(1 - d / l) at d readings from
    it, d <= l / 2. Precision weighs alarms by that label; recall too, against the mean of the plain and the decaying
    label's sums, times the share of faults (with their buffers) that any alarm touches. The volume is the mean over l
    of the areas, each the average precision over all distinct scores. Even a perfect score stays below 1, as it leaves
    the buffers out; compare volumes of the same labels only.

    score: (n,) finite, higher is stranger. faulty: (n,). NaN where all or nothing is faulty. Takes O(widest n) time.
    """
    if not faulty.any() or faulty.all():
        return float("nan")
    ranked, faults = _Ranked.of(score), runs(faulty)
    away = _distance(faulty)
    return float(np.mean([_buffered(ranked, faults, away, buffer).area for buffer in range(widest + 1)]))


def runs(flags: Flags) -> Integers:
    """First and last row of every run of true: (runs, 2)."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(np.int8)))
    return np.stack((edges[0::2], edges[1::2] - 1), axis=1)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Rows by falling score. order (n,): rows; place (n,): each row's; last (points,): last place of equal scores."""

    order: Integers
    place: Integers
    last: Integers

    @classmethod
    def of(cls, score: Wide) -> Self:
        order = np.argsort(-score, kind="stable")
        last = np.flatnonzero(np.diff(score[order], append=-np.inf))
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return cls(order, place, last)


def _distance(faulty: Flags) -> Integers:
    """How many readings the nearest faulty one is away: (n,)."""
    rows = len(faulty)
    row = np.arange(rows)
    before = np.maximum.accumulate(np.where(faulty, row, -rows))
    after = np.minimum.accumulate(np.where(faulty, row, 2 * rows)[::-1])[::-1]
    return np.minimum(row - before, after - row)


def _buffered(ranked: _Ranked, faults: Integers, away: Integers, buffer: int) -> Curve:
    """The curve for one buffer, in readings."""
    half = buffer // 2
    label = np.where(away <= half, np.sqrt(np.maximum(1 - away / max(buffer, 1), 0)), 0.0)
    hits = np.cumsum(label[ranked.order])[ranked.last]
    positives = ((away == 0).sum() + label.sum()) / 2
    first = np.maximum(faults[:, 0] - half, 0)
    touched = np.sort([ranked.place[a : b + half + 1].min() for a, b in zip(first, faults[:, 1], strict=True)])
    existence = np.searchsorted(touched, ranked.last, side="right") / len(faults)
    return Curve(np.minimum(hits / positives, 1.0) * existence, hits / (ranked.last + 1))


def mean_known(values: Sequence[float]) -> float:
    """The mean of what isn't NaN; NaN of nothing."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
