"""Each fleet in a few figures: its devices, and how many alerts they raise. Read by `cli` for status."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, func, select

from sensord.detection.alerts import Run, Status
from sensord.store.database import reading
from sensord.store.schema import UtcDateTime, alerts, devices


@dataclass(frozen=True, slots=True)
class FleetCounts:
    """Event times. devices: that were ever seen; active: since the time that was asked for. open_alerts, opened: of the
    live run and not suppressed; opened: since that time."""

    devices: int = 0
    active: int = 0
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    open_alerts: int = 0
    opened: int = 0


def fleet_counts(engine: Engine, fleet: str, since: datetime) -> FleetCounts:
    """A fleet's figures. Raises StoreUnavailable."""
    a, d = alerts.c, devices.c
    told = (a.fleet == fleet) & (a.run == Run.LIVE.value) & a.suppressed_window.is_(None) & a.suppressed_like.is_(None)
    with reading(engine) as connection:
        seen = connection.execute(
            select(
                func.count(),
                func.count().filter(d.last_seen >= since),
                func.min(d.first_seen, type_=UtcDateTime()),
                func.max(d.last_seen, type_=UtcDateTime()),
            ).where(d.fleet == fleet)
        ).one()
        is_open, is_recent = a.status == Status.OPEN.value, a.opened_at >= since
        raised = connection.execute(
            select(func.count().filter(is_open), func.count().filter(is_recent)).where(told & (is_open | is_recent))
        ).one()
    return FleetCounts(seen[0], seen[1], seen[2], seen[3], raised[0], raised[1])
