"""When a channel that drifts will reach a limit: from how far its level has gone, and how far it is ahead of its mean.

Used by `fleet` where a drift is open. A level y that grows by a constant share a reading, as wear does, runs ahead of
its exponential mean s over S readings by a share q = (y - s)/y = kS/(1 + kS) of its own, which gives the rate k; so no
more of its past is needed than is kept of each device anyway. One that rises by the same amount every reading takes
longer: that is the late end. The early end and the span of both come from turbofans run to failure, engines 1 to 50 of
C-MAPSS FD001; `tests/detection/test_forecast.py` checks what they cover on the other fifty.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

EARLY, LATE = 0.5, 2.2  # of the time to go: nine in ten arrive between
FARTHEST = 1.0  # spans ahead; beyond, what is known of the past says nothing
DISTINCT = 0.25  # times what is usual in health that a level must be ahead of its mean


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a channel should stay between, in its unit; None: there is no such end."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a channel will reach a limit: most likely, and between when and when in nine of ten cases. Microseconds UTC
    of event time; all the same where it is there already."""

    channel: str
    limit: float
    at: int
    earliest: int
    latest: int


class ToGo(NamedTuple):
    """Readings until a limit is reached."""

    likely: float
    earliest: float
    latest: float


def to_go(rise: float, ahead: float, left: float, usual: float, span: float) -> ToGo | None:
    """How many readings it takes until a level has gone on by `left`; None where it goes elsewhere, or nobody can say.

    rise: how far it is from where it began; ahead: how far from its mean over `span` readings; usual: how far a level
    goes in health. All in one unit, towards the limit positive.
    """
    if left <= 0:
        return ToGo(0.0, 0.0, 0.0)
    if ahead < DISTINCT * usual or not 0 < ahead < rise:
        return None
    growth = ahead / (rise - ahead) / span
    likely = math.log1p(left / rise) / growth
    if likely > FARTHEST * span:
        return None
    steadily = left / (rise * _share_a_reading(ahead / rise, span))
    return ToGo(likely, EARLY * likely, max(LATE * likely, steadily))


def _share_a_reading(q: float, span: float) -> float:
    """How much of its rise a level gained in the last reading, had it risen steadily since it began: 1/m, where a rise
    of m readings is ahead of its mean by the share q = (1 - exp(-m/span)) span/m."""
    low, high = 1e-6, 1e6  # m in spans; the share falls with it
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if -math.expm1(-middle) / middle > q else (low, middle)
    return 1 / (low * span)


@dataclass(frozen=True, slots=True)
class Level:
    """A channel's level, in its unit: what it shows now, how far that is from where it was in health, how far from its
    mean over `span` readings, and how far it used to go in health."""

    channel: str
    now: float
    gone: float
    ahead: float
    usual: float


def forecast(
    levels: Sequence[Level], bounds: Mapping[str, Bounds], span: float, at: int, period: float
) -> Forecast | None:
    """The limit that will be reached first, of those that are configured. at: event time, microseconds; period: between
    two readings, microseconds."""
    found = []
    for level in levels:
        limits = bounds.get(level.channel, Bounds())
        for limit, sign in ((limits.high, 1.0), (limits.low, -1.0)):
            if limit is None:
                continue
            left = sign * (limit - level.now)
            if left <= 0 or sign * level.gone > 0:
                readings = to_go(sign * level.gone, sign * level.ahead, left, level.usual, span)
                if readings is not None:
                    found.append(Forecast(level.channel, limit, *(at + round(n * period) for n in readings)))
    return min(found, key=lambda each: each.at, default=None)
