"""Two bundles' alerts on the same readings, compared: what `table` and `page` tell."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sensord.detection.alerts import Alert, ChannelShare, Kind, Severity
from sensord.detection.differences import Differences, compare, slack_us
from sensord.store.runs import Found
from sensord.store.schema import instant


class Change(StrEnum):
    """Which of two bundles raises an alert that the other doesn't."""

    OUTDATED = "outdated"  # the first
    NEW = "new"  # the second


@dataclass(frozen=True, slots=True)
class Side:
    """One bundle's alerts in a run. device_days: how long devices were watched; None where nobody knows."""

    bundle_id: str
    run: str
    alerts: tuple[Alert, ...]
    device_days: float | None

    @property
    def per_device_day(self) -> float | None:
        return len(self.alerts) / self.device_days if self.device_days else None


@dataclass(frozen=True, slots=True)
class Fact:
    """What two bundles say of themselves, where it isn't the same."""

    what: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """second: None where one bundle alone was scored; then all its alerts are shown. about: what was looked at."""

    fleet: str
    first: Side
    second: Side | None
    found: Differences
    about: str
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """An alert that only one of the bundles raises; of a single bundle, any: change is None."""

    change: Change | None
    id: UUID
    device_id: str
    kind: Kind
    severity: Severity
    opened_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None
    score_first: float
    score_peak: float
    threshold: float
    readings: int
    top_channels: tuple[ChannelShare, ...] | None
    model_id: str
    run: str
    topic: str
    partition: int
    first_offset: int
    last_offset: int
    close_reason: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """How many alerts of one sort; same ones count by what the first bundle calls them."""

    name: str
    first: int
    second: int
    same: int
    outdated: int
    new: int


TIMES = {"opened_at", "last_seen_at", "closed_at"}


def compared(
    fleet: str, first: Side, second: Side | None, period_s: float, about: str, facts: tuple[Fact, ...] = ()
) -> Comparison:
    """Hold the second side's alerts against the first's; what is one reading apart is so long apart: period_s."""
    others = () if second is None else second.alerts
    return Comparison(fleet, first, second, compare(first.alerts, others, slack_us(period_s)), about, facts)


def since_then(
    fleet: str, sides: Sequence[Side], found: Sequence[Found], period_s: float, about: str, facts: tuple[Fact, ...]
) -> Comparison:
    """Two sides without alerts, with those that each of them raised in a window.

    What was going on when the window began may be the same as what the other side raised in it; nobody can be blamed
    for raising it alone.
    """
    before = {alert.id for one in found for alert in one.before}
    every = [[*one.before, *one.opened] for one in found]
    met = compare(every[0], every[1], slack_us(period_s))
    same = tuple(pair for pair in met.same if not {pair[0].id, pair[1].id} <= before)
    outdated, new = (tuple(alert for alert in some if alert.id not in before) for some in (met.outdated, met.new))
    first = replace(sides[0], alerts=(*(one for one, _ in same), *outdated))
    second = replace(sides[1], alerts=(*(other for _, other in same), *new))
    return Comparison(fleet, first, second, Differences(same, outdated, new), about, facts)


def rows_of(comparison: Comparison) -> list[Row]:
    """What differs, by opening; of a single bundle all."""
    found = comparison.found
    if comparison.second is None:
        return [_row(None, alert) for alert in found.outdated]
    told = [_row(Change.OUTDATED, alert) for alert in found.outdated]
    told += [_row(Change.NEW, alert) for alert in found.new]
    return sorted(told, key=lambda row: (row.opened_at, row.device_id, row.id))


def counts_of(comparison: Comparison) -> list[Count]:
    """All alerts, then those of each severity and of each kind that there are."""
    return [
        _count(comparison, "all", lambda alert: True),
        *_counts(comparison, lambda alert: alert.severity.value),
        *_counts(comparison, lambda alert: alert.kind.value),
    ]


def _counts(comparison: Comparison, sort: Callable[[Alert], str]) -> Iterator[Count]:
    sides = [comparison.first, *([] if comparison.second is None else [comparison.second])]
    names = Counter(sort(alert) for side in sides for alert in side.alerts)
    for name in sorted(names):
        yield _count(comparison, name, lambda alert, name=name: sort(alert) == name)  # type: ignore[misc]


def _count(comparison: Comparison, name: str, counts: Callable[[Alert], bool]) -> Count:
    def many(alerts: Iterable[Alert]) -> int:
        return sum(map(counts, alerts))

    found = comparison.found
    second = 0 if comparison.second is None else many(comparison.second.alerts)
    same = many(one for one, _ in found.same)
    return Count(name, many(comparison.first.alerts), second, same, many(found.outdated), many(found.new))


def _row(change: Change | None, alert: Alert) -> Row:
    told = {field.name: getattr(alert, field.name) for field in fields(Row) if field.name != "change"}
    times = {name: None if told[name] is None else instant(told[name]) for name in TIMES}
    return Row(change=change, **told | times)
