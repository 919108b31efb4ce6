"""Whether an alert is like one that a person called a false alarm. Pure; used by `store` when it writes alerts.

Alike are alerts of one kind that the same channels explain, in the same direction, and of which the second goes not
much further than the first. What outgrows the first is something else, however it began.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from sensord.detection.alerts import ChannelShare, Kind, Severity

SIMILAR = 0.8  # least cosine between two explanations
GROWN = 1.5  # how many times as far beyond its limit the second one's peak may lie


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
        """Whether the other is no more than this again. A silence never is: nobody would learn that it lasts."""
        return (
            other.kind is self.kind is not Kind.SILENT
            and (other.severity is not Severity.CRITICAL or self.severity is Severity.CRITICAL)
            and other.ratio <= GROWN * self.ratio  # False where either is no number
            and cosine(self.shares, other.shares) >= SIMILAR
        )


def cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Between two explanations: 1 where they say the same, 0 where they have nothing in common or one says nothing."""
    length = math.hypot(*one.values()) * math.hypot(*other.values())
    return sum(share * other.get(channel, 0.0) for channel, share in one.items()) / length if length else 0.0


def _signed(share: ChannelShare) -> float:
    known = share.observed is not None and share.expected is not None
    size = share.share if math.isfinite(share.share) else 0.0
    return -size if known and share.observed < share.expected else size  # type: ignore[operator]
