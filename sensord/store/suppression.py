"""Which alerts people are not told of, and by what: windows, and likeness to a false alarm. Used by `alerts` and `cli`.

Both are marks on rows of the live run. They follow from the row, the windows and what people have said, so taking a
window or a word back leaves what would be there without it. Detection knows nothing of them. While a row is marked no
event of the daemon's is written for it; once it is not, those that it lacks are. `hold` keeps daemons and people apart,
so that nothing is marked by what is being taken back.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from sensord.detection.alerts import Alert, ChannelShare, Kind, Run, Severity, Status
from sensord.detection.likeness import Pattern
from sensord.errors import NotFound
from sensord.store.database import row_as, writing
from sensord.store.schema import IS_FALSE_ALARM, IS_SUPPRESSED, alert_events, alerts, instant, windows
from sensord.store.windows import Span, Window, WindowKind, within

T = TypeVar("T")

LIVE = Run.LIVE.value
AT_ONCE = 500  # devices or alerts that one statement asks about


@dataclass(frozen=True, slots=True)
class Mark:
    """By what an alert is suppressed: the window that it lies in, the false alarm that it is like."""

    window: int | None = None
    like: UUID | None = None

    def __bool__(self) -> bool:
        return self.window is not None or self.like is not None


UNMARKED = Mark()


@dataclass(frozen=True, slots=True)
class Subject:
    """An alert as marks look at it. detected_at: None where it is new. quiet: may be like a false alarm, which nothing
    is that a person has called real."""

    id: UUID
    fleet: str
    device_id: str
    pattern: Pattern
    span: Span
    detected_at: datetime | None = None
    mark: Mark = UNMARKED
    quiet: bool = True

    @classmethod
    def of(cls, alert: Alert) -> Self:
        """A new one."""
        pattern = Pattern.of(alert.kind, alert.severity, alert.score_peak, alert.threshold, alert.top_channels or ())
        return cls(alert.id, alert.fleet, alert.device_id, pattern, _span_of(alert))

    @classmethod
    def read(cls, row: Row[*tuple[object, ...]]) -> Self | None:
        """A stored one, out of `_COLUMNS`; None where its row says nothing that can be compared."""
        try:
            stored = row_as(_Stored, row)
            channels = msgspec.json.decode(stored.explanation, type=tuple[ChannelShare, ...])
        except msgspec.MsgspecError:
            return None
        span = Span.of(stored.kind, stored.threshold, stored.opened_at, stored.last_seen_at, stored.closed_at)
        pattern = Pattern.of(stored.kind, stored.severity, stored.score_peak, stored.threshold, channels)
        mark = Mark(stored.suppressed_window, stored.suppressed_like)
        quiet = stored.feedback != "real"
        return cls(stored.id, stored.fleet, stored.device_id, pattern, span, stored.detected_at, mark, quiet)

    def now(self, alert: Alert) -> Self:
        """As it stands by now; its explanation stays where the alert brings none."""
        later = Subject.of(alert)
        pattern = later.pattern if alert.top_channels else replace(later.pattern, shares=self.pattern.shares)
        return replace(self, pattern=pattern, span=later.span)


class _Stored(msgspec.Struct):
    """The columns that a subject is made of."""

    id: UUID
    fleet: str
    device_id: str
    kind: Kind
    severity: Severity
    score_peak: float
    threshold: float
    opened_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None
    detected_at: datetime
    feedback: str | None
    feedback_at: datetime | None
    suppressed_window: int | None
    suppressed_like: UUID | None
    explanation: str


_COLUMNS = (
    *(alerts.c[name] for name in _Stored.__struct_fields__ if name != "explanation"),
    cast(alerts.c.top_channels, Text).label("explanation"),  # as text: what is no JSON must not end a commit
)

_OPEN_ONES = select(*_COLUMNS).where(IS_SUPPRESSED, alerts.c.fleet.in_(bindparam("fleets", expanding=True)))
_CALLED_FALSE = (
    select(*_COLUMNS)
    .where(IS_FALSE_ALARM, alerts.c.run == LIVE, alerts.c.fleet == bindparam("fleet"))
    .where(alerts.c.device_id.in_(bindparam("devices", expanding=True)))
    .order_by(alerts.c.feedback_at, alerts.c.id)
)


def hold(connection: Connection, fleets: Collection[str], alone: bool = False) -> None:
    """Keep daemons that write alerts of these fleets, any number at once, apart from people who change marks of theirs,
    one alone, to the end of the transaction. SQLite has one writer at a time as it is.

    It comes before any alert is touched, so who waits here keeps nobody waiting.
    """
    if connection.dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
        for fleet in sorted(fleets):
            connection.execute(select(lock(func.hashtextextended(f"sensord alerts of {fleet}", 0))))


def shown(now: datetime) -> ColumnElement[bool]:
    """Alerts that people should see unasked: none that is suppressed. What a window holds and is still open when the
    window is over counts again: a silence may have no end that a daemon would lift it at."""
    over = select(windows.c.id).where(windows.c.id == alerts.c.suppressed_window, windows.c.to_at <= now).exists()
    outlasts = and_(alerts.c.status == Status.OPEN.value, over)
    return and_(alerts.c.suppressed_like.is_(None), or_(alerts.c.suppressed_window.is_(None), outlasts))


# --- the daemon, inside its transaction ------------------------------------------------------------------------------


def of_new(connection: Connection, new: Iterable[Alert]) -> dict[UUID, Mark]:
    """By what new alerts are suppressed; only those that are."""
    return _marks(connection, [Subject.of(alert) for alert in new if alert.run == LIVE])


def of_known(connection: Connection, known: Sequence[Alert]) -> tuple[set[UUID], dict[UUID, Mark]]:
    """Those that are open and suppressed, and marks that change: what has outgrown its window or pattern loses its."""
    if not known:
        return set(), {}
    later = {alert.id: alert for alert in known}
    found = connection.execute(_OPEN_ONES, {"fleets": sorted({alert.fleet for alert in known})})
    rows = [row for row in found if row.id in later]
    subjects = [subject.now(later[subject.id]) for subject in map(Subject.read, rows) if subject is not None]
    marks = dict.fromkeys((row.id for row in rows), UNMARKED) | _marks(connection, subjects)
    same = {each.id for each in subjects if each.mark == marks[each.id]}
    return set(marks), {alert_id: mark for alert_id, mark in marks.items() if alert_id not in same}


def settle(connection: Connection, marks: Mapping[UUID, Mark], now: datetime) -> None:
    """Mark stored alerts anew. Those without a mark get the daemon's events that they lack: late is better than never.

    They are told as they stand: one that became critical meanwhile opens as critical.
    """
    if not marks:
        return
    rows = [
        {"known_id": alert_id, "suppressed_window": mark.window, "suppressed_like": mark.like, "updated_at": now}
        for alert_id, mark in sorted(marks.items())
    ]
    connection.execute(update(alerts).where(alerts.c.id == bindparam("known_id")), rows)
    for some in _portions([alert_id for alert_id, mark in sorted(marks.items()) if not mark]):
        if owed := list(_owed(connection, some, now)):
            connection.execute(insert(alert_events), owed)


# --- people ----------------------------------------------------------------------------------------------------------


def add_window(
    engine: Engine,
    fleet: str,
    device: str | None,
    from_at: datetime,
    to_at: datetime,
    kind: WindowKind,
    comment: str | None,
    by: str,
    at: int,
) -> tuple[Window, int]:
    """Add a window, also of the past; returns it, and how many alerts it suppresses already.

    at: wall time, microseconds. Raises StoreUnavailable.
    """
    row = {"fleet": fleet, "device": device, "from_at": from_at, "to_at": to_at, "kind": kind.value}
    row |= {"comment": comment, "created_by": by, "created_at": instant(at)}
    with writing(engine) as connection:
        hold(connection, [fleet], alone=True)
        window_id = connection.execute(insert(windows).returning(windows.c.id), row).scalar_one()
        window = Window(window_id, fleet, device, from_at, to_at, kind, comment, by, instant(at))
        inside = [
            each
            for each in _subjects(connection, alerts.c.suppressed_window.is_(None), *_may_lie_in(window))
            if window.holds(each.device_id, each.span)
        ]
        settle(connection, {each.id: replace(each.mark, window=window.id) for each in inside}, instant(at))
    return window, len(inside)


def remove_window(engine: Engine, window_id: int, at: int) -> int:
    """Remove a window; what it suppressed is what it would be without it. Returns how many alerts are shown again.

    at: wall time, microseconds. Raises NotFound, StoreUnavailable.
    """
    with writing(engine) as connection:
        fleet = connection.scalar(select(windows.c.fleet).where(windows.c.id == window_id))
        if fleet is None:
            raise NotFound(f"no window has the id {window_id}; `sensord windows list` shows them")
        hold(connection, [fleet], alone=True)
        connection.execute(delete(windows).where(windows.c.id == window_id))
        return reconsider(connection, instant(at), alerts.c.fleet == fleet, alerts.c.suppressed_window == window_id)


def reconsider(connection: Connection, now: datetime, *which: ColumnElement[bool]) -> int:
    """Judge stored alerts of the live run again; returns how many are suppressed no longer."""
    subjects = _subjects(connection, *which)
    marks = _marks(connection, subjects)
    changed = {each.id: marks.get(each.id, UNMARKED) for each in subjects if marks.get(each.id, UNMARKED) != each.mark}
    settle(connection, changed, now)
    return sum(not mark for mark in changed.values())


# --- parts -----------------------------------------------------------------------------------------------------------


def _marks(connection: Connection, subjects: Sequence[Subject]) -> dict[UUID, Mark]:
    """By what each of them is suppressed as things stand; only those that are."""
    if not subjects:
        return {}
    told = [each.span.told_at for each in subjects]
    opened = within(connection, {each.fleet for each in subjects}, min(told), max(told))
    called = _false_alarms(connection, subjects)
    marks = {}
    for each in subjects:
        holding = (one.id for one in opened if one.fleet == each.fleet and one.holds(each.device_id, each.span))
        if mark := Mark(next(holding, None), _like(each, called[each.fleet, each.device_id])):
            marks[each.id] = mark
    return marks


def _like(subject: Subject, called: Sequence[tuple[Subject, datetime]]) -> UUID | None:
    """The false alarm that it is like; the one that marks it already, else the first that was called so before it."""
    if not subject.quiet:
        return None
    like = [
        one.id
        for one, said_at in called
        if one.id != subject.id
        and (subject.detected_at is None or said_at <= subject.detected_at or one.id == subject.mark.like)
        and one.pattern.covers(subject.pattern)
    ]
    return subject.mark.like if subject.mark.like in like else next(iter(like), None)


def _false_alarms(
    connection: Connection, subjects: Sequence[Subject]
) -> Mapping[tuple[str, str], list[tuple[Subject, datetime]]]:
    """By fleet and device: what was called a false alarm, and when, the first called first."""
    called = defaultdict[tuple[str, str], list[tuple[Subject, datetime]]](list)
    devices = defaultdict[str, set[str]](set)
    for each in subjects:
        devices[each.fleet].add(each.device_id)
    for fleet, names in devices.items():
        for some in _portions(sorted(names)):
            for row in connection.execute(_CALLED_FALSE, {"fleet": fleet, "devices": some}):
                if (one := Subject.read(row)) is not None and row.feedback_at is not None:
                    called[one.fleet, one.device_id].append((one, row.feedback_at))
    return called


def _subjects(connection: Connection, *which: ColumnElement[bool]) -> list[Subject]:
    rows = connection.execute(select(*_COLUMNS).where(alerts.c.run == LIVE, *which).order_by(alerts.c.id))
    return [subject for subject in map(Subject.read, rows) if subject is not None]


def _may_lie_in(window: Window) -> tuple[ColumnElement[bool], ...]:
    """What a window can hold, as far as SQL can tell: a silence is told long after its beginning."""
    silent = and_(
        alerts.c.kind == Kind.SILENT.value, or_(alerts.c.closed_at.is_(None), alerts.c.closed_at >= window.from_at)
    )
    begins = or_(alerts.c.opened_at >= window.from_at, silent)
    return alerts.c.fleet == window.fleet, alerts.c.opened_at < window.to_at, begins


def _owed(connection: Connection, ids: Sequence[UUID], now: datetime) -> Iterator[dict[str, object]]:
    """Events of the daemon's that alerts lack."""
    e, a = alert_events.c, alerts.c
    told = defaultdict[UUID, dict[str, str]](dict)
    for alert_id, event, severity in connection.execute(
        select(e.alert_id, e.event, e.severity).where(e.alert_id.in_(ids), e.by.is_(None))
    ):
        told[alert_id][event] = severity
    standing = select(a.id, a.severity, a.opened_at, a.last_seen_at, a.closed_at).where(a.id.in_(ids)).order_by(a.id)
    for alert_id, severity, opened_at, last_seen_at, closed_at in connection.execute(standing):
        before = told[alert_id]
        lacking = [("opened", opened_at)] if "opened" not in before else []
        if not lacking and severity == Severity.CRITICAL.value and severity not in before.values():
            lacking = [("escalated", last_seen_at)]
        if closed_at is not None and "closed" not in before:
            lacking.append(("closed", closed_at))
        for event, happened_at in lacking:
            line = {"alert_id": alert_id, "event": event, "at": happened_at, "recorded_at": now}
            yield line | {"severity": severity, "by": None, "comment": None}


def _span_of(alert: Alert) -> Span:
    closed_at = None if alert.closed_at is None else instant(alert.closed_at)
    return Span.of(alert.kind, alert.threshold, instant(alert.opened_at), instant(alert.last_seen_at), closed_at)


def _portions(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[first : first + AT_ONCE] for first in range(0, len(values), AT_ONCE))
