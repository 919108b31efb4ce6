"""Incidents: alerts of a fleet that have one cause, told together. Made by `notify` out of `alert_events`.

Each event is taken once, in the transaction that writes what follows from it: whatever is killed when, every notice is
there once. Events are marked one by one, since their numbers don't follow the order in which daemons commit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Engine, Select, func, insert, or_, select, update

from sensord.detection.alerts import EVENTS, ChannelShare, Kind, Run, Severity, Status
from sensord.detection.likeness import Pattern
from sensord.errors import NotFound
from sensord.store.alerts import AlertRow
from sensord.store.database import reading, row_as, writing
from sensord.store.schema import IS_UNTAKEN, alert_events, alerts, incident_alerts, incidents, notices

AT_ONCE = 500  # events that one transaction takes
RANK = {Severity.WARNING: 0, Severity.CRITICAL: 1}


class Notice(StrEnum):
    """What is told of an incident."""

    OPENED = "opened"
    ESCALATED = "escalated"  # its severity is greater than what was told
    RESOLVED = "resolved"  # none of its alerts is open any more


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident. severity: the greatest that was told. devices: that alerted."""

    id: int
    fleet: str
    status: Status
    severity: Severity
    opened_at: datetime
    closed_at: datetime | None
    alerts: int
    devices: int


@dataclass(frozen=True, slots=True)
class _Event:
    """What happened to an alert, and how the alert looks by now."""

    sequence: int
    event: str
    at: datetime
    recorded_at: datetime
    alert_id: UUID
    fleet: str
    run: str
    status: Status
    severity: Severity
    kind: Kind
    score_peak: float
    threshold: float
    top_channels: tuple[ChannelShare, ...]

    @property
    def pattern(self) -> Pattern:
        return Pattern.of(self.kind, self.severity, self.score_peak, self.threshold, self.top_channels)


@dataclass(slots=True)
class _Incident:
    """One that is open. pattern: of its first alert. severity: that was told. going_on: its alerts that are open."""

    id: int
    fleet: str
    pattern: Pattern
    severity: Severity
    going_on: set[UUID] = field(default_factory=set)


def take_events(engine: Engine, now: datetime, forget: timedelta) -> int:
    """Take what has happened to alerts into incidents, and write the notices; returns how many events were taken.

    What is older than `forget` is told only where its alert is still open. Only one process at a time may do this.
    Raises StoreUnavailable.
    """
    a, e = alerts.c, alert_events.c
    of_event = (e.sequence, e.event, e.at, e.recorded_at, e.alert_id)
    of_alert = (a.fleet, a.run, a.status, a.severity, a.kind, a.score_peak, a.threshold, a.top_channels)
    untaken = select(*of_event, *of_alert).join(alerts, a.id == e.alert_id).where(IS_UNTAKEN)
    with reading(engine) as connection:  # most often there is nothing, and nobody has to wait for us
        if not connection.execute(select(e.sequence).where(IS_UNTAKEN).limit(1)).all() and not _over(connection):
            return 0
    with writing(engine) as connection:
        rows = connection.execute(untaken.order_by(e.sequence).limit(AT_ONCE))
        events = [row_as(_Event, row) for row in rows]
        going_on: dict[str, list[_Incident]] = {}
        for event in events:
            if event.event in EVENTS and event.run == Run.LIVE:
                if event.fleet not in going_on:
                    going_on[event.fleet] = _open_incidents(connection, event.fleet)
                forgotten = event.recorded_at < now - forget and event.status is Status.CLOSED
                _take(connection, going_on[event.fleet], event, now, forgotten)
        if events:
            numbers = [event.sequence for event in events]
            connection.execute(update(alert_events).where(e.sequence.in_(numbers)).values(taken_at=now))
        for incident, at in _over(connection):
            _end(connection, incident, at or now, now)
        return len(events)


def _take(connection: Connection, going_on: list[_Incident], event: _Event, now: datetime, forgotten: bool) -> None:
    incident = next((one for one in going_on if event.alert_id in one.going_on), None)
    if incident is None:
        if event.event == "closed" or forgotten:
            return  # of an alert that was never told, or not any more
        incident = next((one for one in going_on if one.pattern.shares_cause(event.pattern)), None)
        if incident is None:
            going_on.append(_begin(connection, event, now))
            return
        _join(connection, incident, event.alert_id)
    if event.event == "closed":
        incident.going_on.discard(event.alert_id)
        if not incident.going_on:
            going_on.remove(incident)
            _end(connection, incident, event.at, now)
    elif RANK[event.severity] > RANK[incident.severity]:
        incident.severity = event.severity
        connection.execute(update(incidents).where(incidents.c.id == incident.id).values(severity=event.severity.value))
        _tell(connection, incident, Notice.ESCALATED, event.at, now)


def _begin(connection: Connection, event: _Event, now: datetime) -> _Incident:
    row = {
        "fleet": event.fleet,
        "status": Status.OPEN.value,
        "severity": event.severity.value,
        "opened_at": event.at,
    }
    made = connection.execute(insert(incidents).values(row).returning(incidents.c.id)).scalar_one()
    incident = _Incident(made, event.fleet, event.pattern, event.severity)
    _join(connection, incident, event.alert_id)
    _tell(connection, incident, Notice.OPENED, event.at, now)
    return incident


def _join(connection: Connection, incident: _Incident, alert_id: UUID) -> None:
    incident.going_on.add(alert_id)
    connection.execute(insert(incident_alerts), {"alert_id": alert_id, "incident_id": incident.id})


def _end(connection: Connection, incident: _Incident, at: datetime, now: datetime) -> None:
    ended = {"status": Status.CLOSED.value, "closed_at": at}
    connection.execute(update(incidents).where(incidents.c.id == incident.id).values(ended))
    _tell(connection, incident, Notice.RESOLVED, at, now)


def _tell(connection: Connection, incident: _Incident, notice: Notice, at: datetime, now: datetime) -> None:
    told = {"incident_id": incident.id, "notice": notice.value, "severity": incident.severity.value}
    connection.execute(insert(notices), told | {"at": at, "recorded_at": now})


def _open_incidents(connection: Connection, fleet: str) -> list[_Incident]:
    """Those of a fleet that are open, with the alerts that are."""
    i, m, a = incidents.c, incident_alerts.c, alerts.c
    rows = connection.execute(
        select(i.id, i.severity.label("told"), a.id.label("alert_id"), _goes_on().label("goes_on"), *_LOOKS)
        .join(incident_alerts, m.incident_id == i.id)
        .join(alerts, a.id == m.alert_id)
        .where(i.fleet == fleet, i.status == Status.OPEN.value)
        .order_by(i.id, a.detected_at, a.id)
    )
    found: dict[int, _Incident] = {}
    for row in rows:
        looks = row_as(_Looks, row)
        pattern = Pattern.of(looks.kind, looks.severity, looks.score_peak, looks.threshold, looks.top_channels)
        one = found.setdefault(row.id, _Incident(row.id, fleet, pattern, Severity(row.told)))
        if row.goes_on:
            one.going_on.add(row.alert_id)
    return list(found.values())


def _goes_on() -> ColumnElement[bool]:
    """An alert that is open, or whose end is yet to be taken."""
    a, e = alerts.c, alert_events.c
    ending = select(e.sequence).where(e.alert_id == a.id, e.event == "closed", e.taken_at.is_(None)).exists()
    return or_(a.status == Status.OPEN.value, ending)


def _over(connection: Connection) -> list[tuple[_Incident, datetime | None]]:
    """Open incidents of which no alert goes on, and when the last one ended: whose end nobody was told, since a window
    came to hold it."""
    i, m, a = incidents.c, incident_alerts.c, alerts.c
    members = select(a.id).join(incident_alerts, m.alert_id == a.id).where(m.incident_id == i.id)
    ended_at = (
        select(func.max(a.closed_at, type_=a.closed_at.type))
        .join(incident_alerts, m.alert_id == a.id)
        .where(m.incident_id == i.id)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(i.id, i.fleet, i.severity, ended_at.label("ended_at")).where(
            i.status == Status.OPEN.value, ~members.where(_goes_on()).exists()
        )
    )
    nothing = Pattern(Kind.ANOMALY, Severity.WARNING, 0.0, {})
    return [(_Incident(row.id, row.fleet, nothing, Severity(row.severity)), row.ended_at) for row in rows]


_LOOKS = (alerts.c.kind, alerts.c.severity, alerts.c.score_peak, alerts.c.threshold, alerts.c.top_channels)


@dataclass(frozen=True, slots=True)
class _Looks:
    """What a pattern is made of."""

    kind: Kind
    severity: Severity
    score_peak: float
    threshold: float
    top_channels: tuple[ChannelShare, ...]


# --- read ------------------------------------------------------------------------------------------------------------


def list_incidents(
    engine: Engine, fleet: str | None = None, open_only: bool = False, limit: int | None = None
) -> list[IncidentRow]:
    """Incidents, the last opened first. Raises StoreUnavailable."""
    chosen = _counted().order_by(incidents.c.opened_at.desc(), incidents.c.id.desc()).limit(limit)
    if fleet is not None:
        chosen = chosen.where(incidents.c.fleet == fleet)
    if open_only:
        chosen = chosen.where(incidents.c.status == Status.OPEN.value)
    with reading(engine) as connection:
        return [row_as(IncidentRow, row) for row in connection.execute(chosen)]


def incident(engine: Engine, incident_id: int) -> tuple[IncidentRow, Sequence[AlertRow]]:
    """An incident and its alerts, the first opened first. Raises NotFound, StoreUnavailable."""
    mine = incident_alerts.c.incident_id == incident_id
    chosen = select(alerts).join(incident_alerts, incident_alerts.c.alert_id == alerts.c.id).where(mine)
    with reading(engine) as connection:
        row = connection.execute(_counted().where(incidents.c.id == incident_id)).one_or_none()
        if row is None:
            raise NotFound(f"no incident has the number {incident_id}")
        members = connection.execute(chosen.order_by(alerts.c.opened_at, alerts.c.id))
        return row_as(IncidentRow, row), [row_as(AlertRow, one) for one in members]


def _counted() -> Select[*tuple[object, ...]]:
    i, m = incidents.c, incident_alerts.c
    return (
        select(
            i.id,
            i.fleet,
            i.status,
            i.severity,
            i.opened_at,
            i.closed_at,
            func.count(m.alert_id).label("alerts"),
            func.count(alerts.c.device_id.distinct()).label("devices"),
        )
        .outerjoin(incident_alerts, m.incident_id == i.id)
        .outerjoin(alerts, alerts.c.id == m.alert_id)
        .group_by(i.id, i.fleet, i.status, i.severity, i.opened_at, i.closed_at)
    )
