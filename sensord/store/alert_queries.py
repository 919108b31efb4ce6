"""Questions about many alerts at once: counted, exported, followed. Read by `cli`."""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Engine, String, case, cast, column, func, select

from sensord.detection.alerts import Kind, Run, Severity, Status
from sensord.store.alerts import AlertEvent, AlertFilter, AlertRow, Feedback, narrowed
from sensord.store.database import reading, row_as
from sensord.store.schema import alert_events, alerts

AT_ONCE = 1_000  # rows that a stream holds
LATE = 1_000  # numbers of events that a transaction under way may still bring, behind the last one that was seen


class By(StrEnum):
    """What alerts are counted by."""

    FLEET = "fleet"
    DEVICE = "device"
    CHANNEL = "channel"
    KIND = "kind"
    BUNDLE = "bundle"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class AlertCount:
    """Alerts that have something in common. worst: the greatest peak, in thresholds."""

    name: str
    alerts: int
    open: int
    critical: int
    real: int
    false_alarms: int
    unanswered: int
    worst: float
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Happening:
    """An event of an alert, and whose alert it is."""

    event: AlertEvent
    fleet: str
    device_id: str
    kind: Kind
    because_of: str
    times_the_limit: float


def count_alerts(engine: Engine, filters: AlertFilter, by: By, limit: int | None = None) -> list[AlertCount]:
    """Most alerts first; days in their order. Raises StoreUnavailable."""
    a = alerts.c
    name = _key(by, engine.dialect.name).label("name")

    def among(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.count(case((condition, 1)))

    counts = (
        func.count().label("alerts"),
        among(a.status == Status.OPEN.value).label("open"),
        among(a.severity == Severity.CRITICAL.value).label("critical"),
        among(a.feedback == Feedback.REAL.value).label("real"),
        among(a.feedback == Feedback.FALSE_ALARM.value).label("false_alarms"),
        among(a.feedback.is_(None)).label("unanswered"),
        func.max(a.score_peak / a.threshold).label("worst"),
        func.max(a.opened_at, type_=a.opened_at.type).label("last_at"),
    )
    order = [name] if by is By.DAY else [column("alerts").desc(), name]
    chosen = narrowed(select(name, *counts), filters).group_by(name).order_by(*order).limit(limit)
    with reading(engine) as connection:
        return [row_as(AlertCount, row) for row in connection.execute(chosen)]


def worst_alerts(engine: Engine, filters: AlertFilter, limit: int) -> list[AlertRow]:
    """Those with the greatest peak, in thresholds. Raises StoreUnavailable."""
    a = alerts.c
    chosen = narrowed(select(alerts), filters).order_by((a.score_peak / a.threshold).desc(), a.id).limit(limit)
    with reading(engine) as connection:
        return [row_as(AlertRow, row) for row in connection.execute(chosen)]


def stream_alerts(engine: Engine, filters: AlertFilter) -> Iterator[AlertRow]:
    """All matching alerts, the first opened first, a thousand at a time. Raises StoreUnavailable."""
    chosen = narrowed(select(alerts), filters).order_by(alerts.c.opened_at, alerts.c.id)
    with reading(engine) as connection:
        for row in connection.execution_options(yield_per=AT_ONCE).execute(chosen):
            yield row_as(AlertRow, row)


def alerts_of_device(engine: Engine, fleet: str, device_id: str, limit: int) -> list[AlertRow]:
    """A device's alerts of the live run, suppressed ones too, the last opened first. Raises StoreUnavailable."""
    a = alerts.c
    mine = a.fleet == fleet, a.device_id == device_id, a.run == Run.LIVE.value
    chosen = select(alerts).where(*mine).order_by(a.opened_at.desc(), a.id).limit(limit)
    with reading(engine) as connection:
        return [row_as(AlertRow, row) for row in connection.execute(chosen)]


def neighbours(engine: Engine, alert: AlertRow) -> tuple[AlertRow | None, AlertRow | None]:
    """The same device's alerts of the same run before and after this one. Raises StoreUnavailable."""
    a = alerts.c
    same = a.fleet == alert.fleet, a.device_id == alert.device_id, a.run == alert.run, a.id != alert.id
    earlier = select(alerts).where(*same, a.opened_at <= alert.opened_at).order_by(a.opened_at.desc(), a.id).limit(1)
    later = select(alerts).where(*same, a.opened_at > alert.opened_at).order_by(a.opened_at, a.id).limit(1)
    with reading(engine) as connection:
        rows = [connection.execute(chosen).one_or_none() for chosen in (earlier, later)]
        before, after = (None if row is None else row_as(AlertRow, row) for row in rows)
        return before, after


def happenings(engine: Engine, filters: AlertFilter, after: int, seen: Set[int]) -> list[Happening]:
    """What happened to matching alerts, in the order it was numbered. Raises StoreUnavailable.

    after: events with a greater number, and those a little below that weren't there yet, as transactions that began
    earlier bring them; seen: numbers that were told already.
    """
    a, e = alerts.c, alert_events.c
    because = a.top_channels[0]["channel"].as_string().label("because_of")
    chosen = narrowed(
        select(alert_events, a.fleet, a.device_id, a.kind, because, (a.score_peak / a.threshold).label("times"))
        .join(alerts, a.id == e.alert_id)
        .where(e.sequence > after - LATE)
        .order_by(e.sequence),
        filters,
    )
    names = tuple(AlertEvent.__dataclass_fields__)
    with reading(engine) as connection:
        rows = [row for row in connection.execute(chosen) if row.sequence not in seen]
    return [
        Happening(
            AlertEvent(**{name: row._mapping[name] for name in names} | {"severity": Severity(row.severity)}),
            row.fleet,
            row.device_id,
            Kind(row.kind),
            row.because_of or "",
            row.times,
        )
        for row in rows
    ]


def last_sequence(engine: Engine) -> int:
    """The greatest number of an event so far. Raises StoreUnavailable."""
    with reading(engine) as connection:
        return connection.scalar(select(func.max(alert_events.c.sequence))) or 0


def _key(by: By, dialect: str) -> ColumnElement[str]:
    a = alerts.c
    at = func.timezone("UTC", a.opened_at) if dialect == "postgresql" else a.opened_at
    keys: dict[By, ColumnElement[str]] = {
        By.CHANNEL: a.top_channels[0]["channel"].as_string(),
        By.DAY: cast(func.date(at), String),
        By.FLEET: a.fleet,
        By.DEVICE: a.device_id,
        By.KIND: a.kind,
        By.BUNDLE: a.model_id,
    }
    return keys[by]
