"""The alerts table: written by a commit, read and answered by people. Used by `progress` and `cli`.

The daemon writes an episode's own columns; acknowledged_* and feedback_* belong to people and it never touches them.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection, Engine, Select, and_, bindparam, false, func, insert, not_, or_, select, update

from sensord.detection.alerts import Alert, AlertChange, ChannelShare, Evidence, Kind, Reason, Run, Severity, Status
from sensord.detection.forecast import Forecast
from sensord.errors import NotFound
from sensord.readings import Partition
from sensord.store import suppression
from sensord.store.database import insert_into, matches, reading, row_as, writing
from sensord.store.schema import ALERT_VERSION, alert_events, alerts, instant


class Feedback(StrEnum):
    """What a person says about an alert."""

    REAL = "real"
    FALSE_ALARM = "false_alarm"


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One row of `alerts`; times are aware UTC."""

    id: UUID
    fleet: str
    device_id: str
    kind: Kind
    status: Status
    severity: Severity
    opened_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None
    detected_at: datetime
    updated_at: datetime
    score_first: float
    score_peak: float
    score_last: float
    threshold: float
    readings: int
    top_channels: tuple[ChannelShare, ...]
    evidence: Evidence
    model_id: str
    run: str
    topic: str
    partition: int
    first_offset: int
    last_offset: int
    close_reason: str | None
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    feedback: Feedback | None
    feedback_by: str | None
    feedback_at: datetime | None
    feedback_comment: str | None
    accepted_by: str | None
    accepted_at: datetime | None
    suppressed_window: int | None
    suppressed_like: UUID | None
    schema_version: int
    forecast: Forecast | None = None


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """One line of an alert's history. by: who; None is the daemon."""

    sequence: int
    alert_id: UUID
    event: str
    at: datetime
    recorded_at: datetime
    severity: Severity
    by: str | None
    comment: str | None


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts. since, until: opened at or after, and before. device: a glob of * and ?. shown_at: those alone that
    people should see unasked at this time. None lets everything through."""

    fleet: str | None = None
    device: str | None = None
    since: datetime | None = None
    open_only: bool = False
    severity: Severity | None = None
    kind: Kind | None = None
    run: str | None = None
    shown_at: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """When an alert was; event time. real: a person has called it so, else nobody has answered it."""

    device_id: str
    opened_at: datetime
    ended_at: datetime
    real: bool


# --- people ----------------------------------------------------------------------------------------------------------


def list_alerts(engine: Engine, filters: AlertFilter, limit: int | None = None) -> list[AlertRow]:
    """Matching alerts, the last opened first. Raises StoreUnavailable."""
    chosen = narrowed(select(alerts), filters).order_by(alerts.c.opened_at.desc(), alerts.c.id).limit(limit)
    with reading(engine) as connection:
        return [row_as(AlertRow, row) for row in connection.execute(chosen)]


def show(engine: Engine, name: str) -> AlertRow:
    """The one alert whose id is or begins with `name`. Raises NotFound, StoreUnavailable."""
    with reading(engine) as connection:
        return _named(connection, name)


def history(engine: Engine, alert_id: UUID) -> list[AlertEvent]:
    """What happened to an alert, in the order it was recorded."""
    lines = select(alert_events).where(alert_events.c.alert_id == alert_id).order_by(alert_events.c.sequence)
    with reading(engine) as connection:
        return [row_as(AlertEvent, row) for row in connection.execute(lines)]


def acknowledge(engine: Engine, name: str, by: str, at: int, comment: str | None = None) -> AlertRow:
    """Say that somebody looks at it. at: wall time, microseconds. Raises NotFound, StoreUnavailable."""
    values = {"acknowledged_by": by, "acknowledged_at": instant(at)}
    with writing(engine) as connection:
        return _answer(connection, _named(connection, name), _Said("acknowledged", by, at, comment), values)


def feedback(
    engine: Engine, name: str, verdict: Feedback | None, by: str, at: int, comment: str | None = None
) -> AlertRow:
    """Say whether it was real, or with None take back what was said; the last word counts.

    A false alarm suppresses those like it that come from now on; taken back, it leaves what would be there without it.
    at: wall time, microseconds. Raises NotFound, StoreUnavailable.
    """
    by_now = (None, None, None, None) if verdict is None else (verdict.value, by, instant(at), comment)
    names = ("feedback", "feedback_by", "feedback_at", "feedback_comment")
    said = _Said("feedback" if verdict else "feedback_undone", by, at, comment)
    with writing(engine) as connection:
        alert = _named(connection, name)
        suppression.hold(connection, [alert.fleet], alone=True)
        before = _named(connection, str(alert.id)).feedback
        _answer(connection, alert, said, dict(zip(names, by_now, strict=True)))
        if before is not verdict and Feedback.FALSE_ALARM in (before, verdict):
            suppression.reconsider(connection, instant(at), alerts.c.suppressed_like == alert.id)
        if before is not verdict and Feedback.REAL in (before, verdict):
            suppression.reconsider(connection, instant(at), alerts.c.id == alert.id)
        return _named(connection, str(alert.id))


def accept(engine: Engine, name: str, by: str, at: int, comment: str | None = None) -> AlertRow:
    """Call normal what an open alert shows; the daemon takes it up at its next snapshot, and closes the alert.

    at: wall time, microseconds. Raises NotFound, also where the alert is closed already, and StoreUnavailable.
    """
    values = {"accepted_by": by, "accepted_at": instant(at)}
    with writing(engine) as connection:
        alert = _named(connection, name)
        if alert.status is not Status.OPEN:
            raise NotFound(
                f"alert {alert.id} is closed already ({alert.close_reason}); only an open one can be accepted"
            )
        return _answer(connection, alert, _Said("accepted", by, at, comment), values)


def accepted(engine: Engine, fleet: str) -> set[UUID]:
    """Open alerts of a fleet's live run that people have called normal. Raises StoreUnavailable."""
    waiting = select(alerts.c.id).where(
        alerts.c.status == Status.OPEN.value,
        alerts.c.accepted_at.is_not(None),
        alerts.c.fleet == fleet,
        alerts.c.run == Run.LIVE.value,
    )
    with reading(engine) as connection:
        return set(connection.scalars(waiting))


def episodes(engine: Engine, fleet: str) -> list[Episode]:
    """When the devices of a fleet alerted in its live run, but for what people have called false or accepted, and what
    is like it. Silences have no readings; a drift is what has to be learnt anew, unless it was called real. Raises
    StoreUnavailable.

    It reads no more columns than a trainer may see.
    """
    a = alerts.c
    real = a.feedback == Feedback.REAL.value
    answered = or_(a.feedback.is_not(None), a.accepted_at.is_not(None), a.suppressed_like.is_not(None))
    unanswered = and_(not_(answered), a.kind != Kind.DRIFT.value)
    of_fleet = a.fleet == fleet, a.run == suppression.LIVE, a.kind != Kind.SILENT.value
    ended_at = func.coalesce(a.closed_at, a.last_seen_at, type_=a.closed_at.type)
    chosen = select(a.device_id, a.opened_at, ended_at.label("ended_at"), func.coalesce(real, false()).label("real"))
    with reading(engine) as connection:
        rows = connection.execute(chosen.where(*of_fleet, or_(real, unanswered)).order_by(a.opened_at))
        return [Episode(row.device_id, row.opened_at, row.ended_at, bool(row.real)) for row in rows]


def drifting(engine: Engine, fleet: str, since: int) -> set[str]:
    """Devices of which a drift was told in a fleet's live run, event time, but for those that people have answered
    otherwise than as real. since: microseconds. Raises StoreUnavailable.
    """
    a = alerts.c
    drifts = a.fleet == fleet, a.run == Run.LIVE.value, a.kind == Kind.DRIFT.value, a.opened_at >= instant(since)
    stands = func.coalesce(a.feedback, Feedback.REAL.value) == Feedback.REAL.value
    with reading(engine) as connection:
        return set(connection.scalars(select(a.device_id).where(*drifts, stands, a.accepted_at.is_(None))))


def narrowed(chosen: Select[*tuple[object, ...]], filters: AlertFilter) -> Select[*tuple[object, ...]]:
    """A question about `alerts`, of those alone that the filters let through."""
    equal = {"fleet": filters.fleet, "severity": filters.severity, "kind": filters.kind, "run": filters.run}
    chosen = chosen.where(*(alerts.c[name] == str(value) for name, value in equal.items() if value is not None))
    if filters.open_only:
        chosen = chosen.where(alerts.c.status == Status.OPEN.value)
    if filters.since is not None:
        chosen = chosen.where(alerts.c.opened_at >= filters.since)
    if filters.until is not None:
        chosen = chosen.where(alerts.c.opened_at < filters.until)
    if filters.device is not None:
        chosen = chosen.where(matches(alerts.c.device_id, filters.device))
    if filters.shown_at is not None:
        chosen = chosen.where(suppression.shown(filters.shown_at))
    return chosen


def _named(connection: Connection, name: str) -> AlertRow:
    digits = name.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{1,32}", digits):
        raise NotFound(f"{name!r} is no alert's id nor the beginning of one")
    first, last = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    rows = connection.execute(
        select(alerts).where(alerts.c.id.between(first, last)).order_by(alerts.c.id).limit(2)
    ).all()
    if not rows:
        raise NotFound(f"no alert's id begins with {name!r}")
    if len(rows) > 1:
        raise NotFound(f"several alerts' ids begin with {name!r}, among them {rows[0].id} and {rows[1].id}")
    return row_as(AlertRow, rows[0])


@dataclass(frozen=True, slots=True)
class _Said:
    """What a person says, as a line of the alert's history. at: wall time, microseconds."""

    event: str
    by: str
    at: int
    comment: str | None


def _answer(connection: Connection, alert: AlertRow, said: _Said, values: Mapping[str, object]) -> AlertRow:
    at = instant(said.at)
    connection.execute(update(alerts).where(alerts.c.id == alert.id).values(updated_at=at, **values))
    line = {"alert_id": alert.id, "event": said.event, "at": at, "recorded_at": at}
    connection.execute(
        insert(alert_events), line | {"severity": alert.severity.value, "by": said.by, "comment": said.comment}
    )
    return _named(connection, str(alert.id))


# --- the daemon, inside its transaction ------------------------------------------------------------------------------


def write(connection: Connection, changes: Sequence[AlertChange], now: datetime) -> int:
    """Insert new alerts, update known ones, record what happened; return how many new ones were there already.

    What happens to one that is suppressed isn't recorded; what is so no longer gets all of it at once.
    """
    if not changes:
        return 0
    suppression.hold(connection, {change.alert.fleet for change in changes})
    new = [change.alert for change in changes if change.is_new]
    known = [change.alert for change in changes if not change.is_new]
    marks = suppression.of_new(connection, new)
    added = _insert(connection, [new_row(alert, now, marks.get(alert.id, suppression.UNMARKED)) for alert in new])
    hidden, changed = suppression.of_known(connection, known)
    _update(connection, known, now)
    suppression.settle(connection, changed, now)
    happened = [
        _event_row(change.alert, event, now)
        for change in changes
        if change.alert.id not in hidden and (not change.is_new or change.alert.id in added - marks.keys())
        for event in change.events
        if change.alert.run == Run.LIVE  # the rest is nobody's business yet: these lines are what is notified
    ]
    if happened:
        connection.execute(insert(alert_events), happened)
    return len(new) - len(added)


def close_open(
    connection: Connection, fleet: str, partition: Partition, runs: Collection[Run], reason: Reason, now: datetime
) -> None:
    """Close what is open on a partition whose state is given up: nothing would ever close it."""
    suppression.hold(connection, [fleet])
    closed = connection.execute(
        update(alerts)
        .where(
            alerts.c.fleet == fleet,
            alerts.c.topic == partition.topic,
            alerts.c.partition == partition.number,
            alerts.c.status == Status.OPEN.value,
            alerts.c.run.in_([run.value for run in runs]),
        )
        .values(status=Status.CLOSED.value, closed_at=alerts.c.last_seen_at, close_reason=reason.value, updated_at=now)
        .returning(
            alerts.c.id,
            alerts.c.closed_at,
            alerts.c.severity,
            alerts.c.run,
            alerts.c.suppressed_window,
            alerts.c.suppressed_like,
        )
    ).all()
    happened = [
        {"alert_id": alert_id, "event": "closed", "at": at, "recorded_at": now, "severity": severity}
        for alert_id, at, severity, run, window, like in closed
        if run == Run.LIVE and not suppression.Mark(window, like)
    ]
    if happened:
        connection.execute(insert(alert_events), happened)


def _insert(connection: Connection, rows: list[dict[str, object]]) -> set[UUID]:
    if not rows:
        return set()
    statement = insert_into(connection, alerts).on_conflict_do_nothing().returning(alerts.c.id)
    return set(connection.scalars(statement, rows))


def _update(connection: Connection, known: Sequence[Alert], now: datetime) -> None:
    """One batch for each set of columns that alerts bring."""
    batches: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for alert in known:
        row = figures(alert, now) | {"known_id": alert.id}
        batches.setdefault(tuple(row), []).append(row)
    for rows in batches.values():
        connection.execute(update(alerts).where(alerts.c.id == bindparam("known_id")), rows)


def new_row(alert: Alert, now: datetime, mark: suppression.Mark = suppression.UNMARKED) -> dict[str, object]:
    """A whole row of `alerts`, but for what people say. now: wall time. mark: by what it is suppressed."""
    return figures(alert, now) | {
        "id": alert.id,
        "fleet": alert.fleet,
        "device_id": alert.device_id,
        "opened_at": instant(alert.opened_at),
        "detected_at": now,
        "score_first": alert.score_first,
        "run": alert.run,
        "topic": alert.topic,
        "partition": alert.partition,
        "first_offset": alert.first_offset,
        "suppressed_window": mark.window,
        "suppressed_like": mark.like,
        "schema_version": ALERT_VERSION,
    }


def figures(alert: Alert, now: datetime) -> dict[str, object]:
    """The columns that move while an episode goes on; without explanation and evidence where the alert brings none."""
    grounds = {"top_channels": alert.top_channels, "evidence": alert.evidence}
    return {
        "kind": alert.kind.value,
        "status": alert.status.value,
        "severity": alert.severity.value,
        "last_seen_at": instant(alert.last_seen_at),
        "closed_at": None if alert.closed_at is None else instant(alert.closed_at),
        "updated_at": now,
        "score_peak": alert.score_peak,
        "score_last": alert.score_last,
        "threshold": alert.threshold,
        "readings": alert.readings,
        "model_id": alert.model_id,
        "last_offset": alert.last_offset,
        "close_reason": None if alert.close_reason is None else alert.close_reason.value,
        "forecast": alert.forecast,
        **{name: value for name, value in grounds.items() if value is not None},
    }


def _event_row(alert: Alert, event: str, now: datetime) -> dict[str, object]:
    happened_at = {"opened": alert.opened_at, "closed": alert.closed_at}.get(event) or alert.last_seen_at
    return {
        "alert_id": alert.id,
        "event": event,
        "at": instant(happened_at),
        "recorded_at": now,
        "severity": alert.severity.value,
    }
