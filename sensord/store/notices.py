"""Notices on their way to sinks: what waits, what was delivered, what was refused. Used by `notify` and `cli`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Engine, and_, func, literal, select

from sensord.detection.alerts import Severity
from sensord.store.database import insert_into, reading, row_as, writing
from sensord.store.incidents import RANK, IncidentRow, Notice
from sensord.store.schema import deliveries, incidents, notices, sinks


class Outcome(StrEnum):
    """What became of a notice at a sink."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    REFUSED = "refused"  # for good: to try again would change nothing


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sink is told. fleets: empty: all."""

    sink: str
    fleets: tuple[str, ...] = ()
    least_severity: Severity = Severity.WARNING
    resolved: bool = True

    def concerns(self, incident: IncidentRow) -> bool:
        """Whether an incident that goes on is any of its business."""
        grave = RANK[incident.severity] >= RANK[self.least_severity]
        return grave and (not self.fleets or incident.fleet in self.fleets)


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A notice. sequence: its number, the same however often it is sent. at: event time; recorded_at: wall time."""

    sequence: int
    incident_id: int
    fleet: str
    notice: Notice
    severity: Severity
    at: datetime
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A notice and a sink. delivered_at: wall time, None where it waits. detail: the answer, of a refusal."""

    sequence: int
    incident_id: int
    fleet: str
    notice: Notice
    severity: Severity
    recorded_at: datetime
    sink: str
    outcome: Outcome
    delivered_at: datetime | None
    detail: str


def enlist(engine: Engine, name: str) -> None:
    """Have a sink told from now on; one that is known already goes on where it was. Raises StoreUnavailable."""
    with writing(engine) as connection:
        newest = connection.scalar(select(func.max(notices.c.sequence))) or 0
        row = insert_into(connection, sinks).values(name=name, since=newest).on_conflict_do_nothing()
        connection.execute(row)


def waiting(engine: Engine, wanted: Wanted, opened_before: datetime, limit: int) -> list[NoticeRow]:
    """Notices that a sink has yet to be told, in order, up to the first that has to wait for more of its incident.

    opened_before: a notice that an incident has opened waits until it was recorded by then. Raises StoreUnavailable.
    """
    n = notices.c
    mine = select(sinks.c.since).where(sinks.c.name == wanted.sink).scalar_subquery()
    done = select(deliveries.c.sequence).where(deliveries.c.sink == wanted.sink, deliveries.c.sequence == n.sequence)
    chosen = (
        select(n.sequence, n.incident_id, incidents.c.fleet, n.notice, n.severity, n.at, n.recorded_at)
        .join(incidents, incidents.c.id == n.incident_id)
        .where(n.sequence > mine, ~done.exists(), *_conditions(wanted))
        .order_by(n.sequence)
        .limit(limit)
    )
    with reading(engine) as connection:
        rows = [row_as(NoticeRow, row) for row in connection.execute(chosen)]
    for number, row in enumerate(rows):
        if row.notice is Notice.OPENED and row.recorded_at > opened_before:
            return rows[:number]
    return rows


def delivered(engine: Engine, sink: str, sequence: int, outcome: Outcome, detail: str, at: datetime) -> None:
    """Write down what became of a notice. Raises StoreUnavailable."""
    row = {"sink": sink, "sequence": sequence, "outcome": outcome.value, "detail": detail, "at": at}
    with writing(engine) as connection:
        connection.execute(insert_into(connection, deliveries).values(row).on_conflict_do_nothing())


def list_deliveries(engine: Engine, wanted: Sequence[Wanted], limit: int) -> list[DeliveryRow]:
    """Notices of these sinks with what became of each, the latest first. Raises StoreUnavailable."""
    n, d, found = notices.c, deliveries.c, list[DeliveryRow]()
    with reading(engine) as connection:
        for one in wanted:
            mine = select(sinks.c.since).where(sinks.c.name == one.sink).scalar_subquery()
            of_sink = and_(d.sequence == n.sequence, d.sink == one.sink)
            rows = connection.execute(
                select(
                    n.sequence, n.incident_id, incidents.c.fleet, n.notice, n.severity, n.recorded_at,
                    literal(one.sink).label("sink"), func.coalesce(d.outcome, Outcome.WAITING.value).label("outcome"),
                    d.at.label("delivered_at"), func.coalesce(d.detail, "").label("detail"),
                )
                .join(incidents, incidents.c.id == n.incident_id)
                .outerjoin(deliveries, of_sink)
                .where(n.sequence > mine, *_conditions(one))
                .order_by(n.sequence.desc())
                .limit(limit)
            )  # fmt: skip
            found += [row_as(DeliveryRow, row) for row in rows]
    return sorted(found, key=lambda row: row.sequence, reverse=True)[:limit]


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    severities = [each.value for each in Severity if RANK[each] >= RANK[wanted.least_severity]]
    found: list[ColumnElement[bool]] = [notices.c.severity.in_(severities)]
    if wanted.fleets:
        found.append(incidents.c.fleet.in_(wanted.fleets))
    if not wanted.resolved:
        found.append(notices.c.notice != Notice.RESOLVED.value)
    return found
