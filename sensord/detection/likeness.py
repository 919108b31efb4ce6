"""Whether an alert is like one that a person called a false alarm, or has the cause of another. Pure; used by `store`.

Alike are alerts of one kind that the same channels explain, in the same direction, and of which the second goes not
much further than the first. What outgrows the first is something else, however it began. Of detectors that look at
levels it is chance which comes first and names an alert, so their kinds are one here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from sensord.detection.alerts import ChannelShare, Kind, Severity

SIMILAR = 0.9  # least cosine between two explanations
GROWN = 1.5  # how many times as far beyond its limit the second one's peak may lie
GROWN_ELSEWHERE = 2.0  # likewise, where another detector's limit is meant
OF_LEVELS = frozenset({Kind.ANOMALY, Kind.SPIKE, Kind.OUT_OF_RANGE, Kind.OFF_PROFILE})


@dataclass(frozen=True, slots=True)
class Pattern:
    """What an alert looks like. ratio: its peak in thresholds. shares: by channel, negative where less was observed
    than expected."""

    kind: Kind
    severity: Severity
    ratio: float
    shares: Mapping[str, float]

    @classmethod
    def of(
        cls, kind: Kind, severity: Severity, score_peak: float, threshold: float, channels: Sequence[ChannelShare]
    ) -> Self:
        ratio = score_peak / threshold if threshold > 0 else math.nan
        return cls(kind, severity, ratio, {each.channel: _signed(each) for each in channels})

    def covers(self, other: "Pattern") -> bool:
        """Whether the other is no more than this again. A silence never is: nobody would learn that it lasts.

        What is critical is more than a warning by the same detector; another one's severity can't be compared.
        """
        if other.kind is self.kind:
            comparable = self.kind is not Kind.SILENT and self.severity in (other.severity, Severity.CRITICAL)
            grown = GROWN
        else:
            comparable, grown = {self.kind, other.kind} <= OF_LEVELS, GROWN_ELSEWHERE
        no_further = other.ratio <= grown * self.ratio  # False where either is no number
        return comparable and no_further and cosine(self.shares, other.shares) >= SIMILAR

    def shares_cause(self, other: "Pattern") -> bool:
        """Whether two alerts of one fleet, on different devices, say the same: of one kind, by the same channels in the
        same direction. Silences have no channels, and are alike."""
        alike = other.kind is self.kind or {self.kind, other.kind} <= OF_LEVELS
        return alike and (self.kind is Kind.SILENT or cosine(self.shares, other.shares) >= SIMILAR)


def cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Between two explanations: 1 where they say the same, 0 where they have nothing in common or one says nothing."""
    length = math.hypot(*one.values()) * math.hypot(*other.values())
    return sum(share * other.get(channel, 0.0) for channel, share in one.items()) / length if length else 0.0


def _signed(share: ChannelShare) -> float:
    known = share.observed is not None and share.expected is not None
    size = share.share if math.isfinite(share.share) else 0.0
    return -size if known and share.observed < share.expected else size  # type: ignore[operator]
