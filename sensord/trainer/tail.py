"""The tail of a distribution continued beyond what was seen: peaks over threshold. Used by `threshold`.

Excesses over a high start follow a generalised Pareto distribution, whatever the scores themselves follow (Pickands
1975; Coles 2001, section 4): P(excess > y) = (1 + shape y / scale)^(-1 / shape), exp(-y / scale) where shape is 0.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Wide = NDArray[np.float64]
SHAPE_LIMIT = 0.5  # beyond it excesses have no variance, and no tail that is any guide
PRIOR_EXCESSES = 10  # the weight, in excesses, of the belief that the tail is exponential (cf. Vehtari et al. 2024)
FEW = 5  # excesses from which no shape is read
ZERO = 1e-6  # a shape this near to 0 is 0
CANDIDATES = 200


@dataclass(frozen=True, slots=True)
class Tail:
    """start, scale: in units of what was fitted; scale 0: nothing lies beyond the start."""

    start: float
    scale: float
    shape: float

    @classmethod
    def fit(cls, excesses: Wide, start: float) -> Self:
        """excesses: (n,) by how much independent peaks lie above start; those that don't are left out.

        The likelihood is maximised along its profile (Grimshaw 1993), from probability-weighted moments on (Hosking and
        Wallis 1987). The shape is drawn towards 0 as if `PRIOR_EXCESSES` exponential excesses had been seen too, and
        kept within `SHAPE_LIMIT`, so that a handful of excesses or a freak among them can't carry the level away.
        """
        above = np.asarray(excesses, np.float64)
        above = above[above > 0]
        if not len(above):
            return cls(start, 0.0, 0.0)
        mean = float(above.mean())
        if len(above) < FEW or np.ptp(above) <= ZERO * mean:
            return cls(start, mean, 0.0)
        shape = _shape(above / mean) * len(above) / (len(above) + PRIOR_EXCESSES)
        shape = float(np.clip(shape, -SHAPE_LIMIT, SHAPE_LIMIT))
        return cls(start, mean * _scale(above / mean, shape), shape)

    def level(self, share: float) -> float:
        """What a share of the peaks above the start exceed; the start itself for a share of 1 or more."""
        if share >= 1:
            return self.start
        distance = -np.log(share)  # in mean excesses of an exponential tail
        if abs(self.shape) > ZERO:
            distance = np.expm1(self.shape * distance) / self.shape
        return float(self.start + self.scale * distance)


def moments(excesses: Wide) -> tuple[float, float]:
    """Shape and scale by probability-weighted moments: (n,) excesses, n > 1 and not all equal."""
    ordered = np.sort(excesses)
    n = len(ordered)
    first = ordered.mean()
    second = float((ordered * (n - np.arange(1, n + 1)) / (n - 1)).mean())  # a_1 = E[x (1 - F(x))]
    return float(2 - first / (first - 2 * second)), float(2 * first * second / (first - 2 * second))


def _shape(excesses: Wide) -> float:
    """The likeliest shape: excesses (n,) with mean 1.

    With theta = shape / scale the likeliest shape is mean log(1 + theta y), and one unknown is left.
    """
    floor = -1 / excesses.max()
    shape, scale = moments(excesses)
    guess = shape / scale if shape / scale > floor else floor / 2
    reach = max(abs(guess), abs(floor), 1.0)
    thetas = np.concatenate(
        (floor * (1 - np.geomspace(1e-4, 1, CANDIDATES)), reach * np.geomspace(1e-4, 10, CANDIDATES))
    )
    for _ in range(4):  # each time around the best of those before
        thetas = np.sort(thetas[np.abs(thetas) > 1e-12])
        best = int(np.argmax(_profile(excesses, thetas)))
        low, high = thetas[max(best - 1, 0)], thetas[min(best + 1, len(thetas) - 1)]
        found = thetas[best]
        thetas = np.linspace(low, high, 33)
    return float(np.log1p(found * excesses).mean())


def _profile(excesses: Wide, thetas: Wide) -> Wide:
    """Log likelihood a excess at each theta, out of bounds where the shape is: (thetas,)."""
    shapes = np.log1p(thetas[:, None] * excesses).mean(axis=1)
    within = np.abs(shapes) <= SHAPE_LIMIT
    return np.where(within, -np.log(np.abs(shapes / thetas)) - shapes - 1, -np.inf)


def _scale(excesses: Wide, shape: float) -> float:
    """The likeliest scale for a shape: excesses (n,) with mean 1.

    It solves (1 + shape) mean(y / (scale + shape y)) = 1, whose left side falls as the scale grows.
    """
    low, high = max(0.0, -shape * float(excesses.max())), (1 + shape) * 1.0 + abs(shape) * float(excesses.max()) + 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if (1 + shape) * float((excesses / (middle + shape * excesses)).mean()) > 1:
            low = middle
        else:
            high = middle
    return high
