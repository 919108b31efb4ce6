"""Alerts held against the truth, event by event. Pure; used by the demo, and by whoever evaluates by events.

A fault is found if at least one alert of its device overlaps it. An alert may begin up to a grace after the fault's
end: the score is smoothed, so it lags behind what the sensors show. An alert that goes with no fault is false; several
that go with one fault are all right, and count that fault once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

GRACE_READINGS = 30  # twice the smoothing's usual span of 15 readings, after which 86 % of a step has come through


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one device's time, both ends included: microseconds UTC."""

    device_id: str
    start_at: int
    end_at: int


@dataclass(frozen=True, slots=True)
class Matching:
    """Which alerts go with which fault, as numbers into what was matched.

    alerts_of: for each fault its alerts, by opening. false: alerts that go with none, by opening.
    """

    alerts_of: tuple[tuple[int, ...], ...]
    false: tuple[int, ...]

    @property
    def found(self) -> int:
        """How many faults have an alert."""
        return sum(bool(alerts) for alerts in self.alerts_of)


def match(faults: Sequence[Span], alerts: Sequence[Span], grace_us: int) -> Matching:
    """Hold alerts against faults. An alert that overlaps several faults goes with each of them."""
    by_opening = sorted(range(len(alerts)), key=lambda number: alerts[number].start_at)
    alerts_of = tuple(
        tuple(number for number in by_opening if _go_together(fault, alerts[number], grace_us)) for fault in faults
    )
    matched = {number for numbers in alerts_of for number in numbers}
    return Matching(alerts_of, tuple(number for number in by_opening if number not in matched))


def _go_together(fault: Span, alert: Span, grace_us: int) -> bool:
    begins_in_time = alert.start_at <= fault.end_at + grace_us
    return alert.device_id == fault.device_id and begins_in_time and alert.end_at >= fault.start_at


@dataclass(frozen=True, slots=True)
class EventRates:
    """Figures that count events: alerts that are right, faults that are found."""

    faults: int
    found: int
    alerts: int
    false: int

    @property
    def precision(self) -> float:
        """The share of alerts that go with a fault; NaN without alerts."""
        return (self.alerts - self.false) / self.alerts if self.alerts else float("nan")

    @property
    def recall(self) -> float:
        """The share of faults with an alert; NaN without faults."""
        return self.found / self.faults if self.faults else float("nan")

    @property
    def f1(self) -> float:
        """The harmonic mean of both; 0 where faults are there and none is found."""
        if not self.faults or not self.found:
            return 0.0 if self.faults else float("nan")
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def delays(faults: Sequence[Span], alerts: Sequence[Span], matching: Matching) -> list[int]:
    """Microseconds from each found fault's beginning to its first alert's; 0 where that was open already."""
    return [
        max(0, alerts[numbers[0]].start_at - fault.start_at)
        for fault, numbers in zip(faults, matching.alerts_of, strict=True)
        if numbers
    ]
