"""What a stretch of time held, beside its alerts: delays, bad data, gaps, devices that kept quiet. Read by `cli`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Engine, Table, func, select

from sensord.detection.alerts import Run
from sensord.store.database import reading, row_as
from sensord.store.schema import alerts, dead_letters, devices, gaps


@dataclass(frozen=True, slots=True)
class Period:
    """From, inclusive, to, exclusive."""

    since: datetime
    until: datetime

    @property
    def days(self) -> float:
        return (self.until - self.since) / timedelta(days=1)


@dataclass(frozen=True, slots=True)
class GapRow:
    """A stretch of a log that was given up. from_offset: None where nothing was read before."""

    fleet: str
    topic: str
    partition: int
    from_offset: int | None
    to_offset: int
    reason: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Population:
    """Devices of a fleet. known: before the period's end; active: of which something was heard in it; device_days: of
    the active ones, since the later of the period's beginning and when each was first seen."""

    known: int
    active: int
    device_days: float


def detection_delays(engine: Engine, fleet: str, period: Period, limit: int) -> list[float]:
    """Seconds from the reading that opened an alert to its row, of a fleet's live run, the latest `limit` alerts.

    That is by the daemon's clock and the devices': where it was catching up, it counts. Raises StoreUnavailable.
    """
    a = alerts.c
    chosen = (
        select(a.opened_at, a.detected_at)
        .where(a.fleet == fleet, a.run == Run.LIVE.value, a.opened_at >= period.since, a.opened_at < period.until)
        .order_by(a.opened_at.desc())
        .limit(limit)
    )
    with reading(engine) as connection:
        return [(row.detected_at - row.opened_at).total_seconds() for row in connection.execute(chosen)]


def population(engine: Engine, fleet: str, period: Period) -> Population:
    """How many devices a fleet had. Raises StoreUnavailable."""
    d = devices.c
    chosen = select(d.first_seen, d.last_seen).where(d.fleet == fleet, d.first_seen < period.until)
    known = active = 0
    spent = timedelta()
    with reading(engine) as connection:
        for first_seen, last_seen in connection.execute(chosen):
            known += 1
            if last_seen >= period.since:
                active += 1
                spent += min(last_seen, period.until) - max(first_seen, period.since)
    return Population(known, active, spent / timedelta(days=1))


def letters_by_reason(engine: Engine, fleet: str, period: Period) -> Mapping[str, int]:
    """Dead letters that were recorded, by wall time, most first. Raises StoreUnavailable."""
    d = dead_letters.c
    count = func.count().label("letters")
    chosen = select(d.reason, count).where(*_recorded(dead_letters, fleet, period)).group_by(d.reason)
    with reading(engine) as connection:
        return {row.reason: row.letters for row in connection.execute(chosen.order_by(count.desc(), d.reason))}


def gaps_of(engine: Engine, fleet: str, period: Period) -> Sequence[GapRow]:
    """Gaps that were accepted, by wall time. Raises StoreUnavailable."""
    columns = [gaps.c[name] for name in GapRow.__dataclass_fields__]
    with reading(engine) as connection:
        rows = connection.execute(select(*columns).where(*_recorded(gaps, fleet, period)).order_by(gaps.c.id))
        return [row_as(GapRow, row) for row in rows]


def _recorded(table: Table, fleet: str, period: Period) -> tuple[ColumnElement[bool], ...]:
    c = table.c
    return c.fleet == fleet, c.recorded_at >= period.since, c.recorded_at < period.until
