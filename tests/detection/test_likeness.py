"""What is like a false alarm, and what isn't."""

import math

import pytest

from sensord.detection.alerts import ChannelShare, Kind, Severity
from sensord.detection.likeness import GROWN, GROWN_ELSEWHERE, Pattern


def pattern(
    ratio: float = 2.0,
    kind: Kind = Kind.ANOMALY,
    severity: Severity = Severity.WARNING,
    **shares: float,
) -> Pattern:
    """Explained by channels that are over what was expected, or under it where their share is negative."""
    channels = [ChannelShare(name, "", math.copysign(1, share), 0.0, abs(share)) for name, share in shares.items()]
    return Pattern.of(kind, severity, ratio * 3, 3.0, channels)


MARKED = pattern(flow=0.7, heat=0.3)


@pytest.mark.parametrize(
    "again",
    [
        MARKED,
        pattern(flow=0.6, heat=0.35, noise=0.05),
        pattern(ratio=2 * GROWN, flow=0.7, heat=0.3),
        pattern(ratio=0.1, flow=0.7, heat=0.3),
        pattern(heat=0.3, flow=0.7),
        pattern(ratio=2 * GROWN_ELSEWHERE, kind=Kind.OUT_OF_RANGE, flow=0.7, heat=0.3),
        pattern(kind=Kind.SPIKE, severity=Severity.CRITICAL, flow=0.7, heat=0.3),
    ],
    ids=["the same", "much alike", "somewhat further", "less far", "in another order", "another detector of levels",
         "critical by another limit"],
)  # fmt: skip
def test_what_looks_the_same_and_goes_no_further_is_alike(again: Pattern) -> None:
    assert MARKED.covers(again)


@pytest.mark.parametrize(
    "other",
    [
        pattern(flow=0.3, heat=0.7),
        pattern(flow=-0.7, heat=0.3),
        pattern(ratio=2 * GROWN + 0.1, flow=0.7, heat=0.3),
        pattern(kind=Kind.STUCK, flow=0.7, heat=0.3),
        pattern(ratio=2 * GROWN_ELSEWHERE + 0.1, kind=Kind.SPIKE, flow=0.7, heat=0.3),
        pattern(severity=Severity.CRITICAL, flow=0.7, heat=0.3),
        pattern(pressure=1.0),
        pattern(),
        pattern(ratio=math.nan, flow=0.7, heat=0.3),
    ],
    ids=["other channels", "other direction", "far further", "other kind", "far further by another limit",
         "critical", "unknown channel", "unexplained",
         "no number"],
)  # fmt: skip
def test_what_differs_in_anything_that_matters_is_not(other: Pattern) -> None:
    assert not MARKED.covers(other)


def test_a_critical_one_covers_a_critical_one_and_a_warning() -> None:
    critical = pattern(severity=Severity.CRITICAL, flow=1.0)
    assert critical.covers(critical)
    assert critical.covers(pattern(flow=1.0))


def test_a_silence_is_like_nothing_since_nobody_would_learn_that_it_lasts() -> None:
    silence = pattern(kind=Kind.SILENT, flow=1.0)
    assert not silence.covers(silence)


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan, math.inf])
def test_figures_that_are_no_numbers_are_like_nothing(threshold: float) -> None:
    share = ChannelShare("flow", "", 1.0, 0.0, 1.0)
    odd = Pattern.of(Kind.ANOMALY, Severity.WARNING, math.inf, threshold, [share])
    assert not odd.covers(MARKED)
    assert not MARKED.covers(odd)
    endless = Pattern.of(Kind.ANOMALY, Severity.WARNING, 6.0, 3.0, [ChannelShare("flow", "", None, 0.0, math.inf)])
    assert not MARKED.covers(endless)
