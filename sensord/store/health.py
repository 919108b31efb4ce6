"""How devices and bundles fare, as the views tell it. Read by `web`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, Integer, String, case, column, func, select, table

from sensord.store.database import matches, reading, row_as
from sensord.store.schema import UtcDateTime

_health = table(
    "device_health",
    *(column(name, String) for name in ("fleet", "device_id", "health")),
    *(column(name, Integer) for name in ("open_alerts", "alerts_30d")),
    *(column(name, UtcDateTime()) for name in ("last_seen", "last_alert_at")),
)
_precision = table(
    "model_precision",
    *(column(name, String) for name in ("fleet", "model_id")),
    *(column(name, Integer) for name in ("alerts", "real_ones", "false_alarms", "unanswered")),
)
WORST_FIRST = ("critical", "warning", "ok")


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """A device: `critical`, `warning` or `ok` by its open alerts; alerts_30d: over the days before it was last seen."""

    fleet: str
    device_id: str
    health: str
    open_alerts: int
    alerts_30d: int
    last_seen: datetime
    last_alert_at: datetime | None


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """What people said of a bundle's alerts."""

    model_id: str
    alerts: int
    real_ones: int
    false_alarms: int
    unanswered: int


def devices_by_health(engine: Engine, fleet: str, device: str | None, limit: int) -> Sequence[DeviceHealth]:
    """A fleet's devices, those in trouble first. device: a glob of * and ?. Raises StoreUnavailable."""
    h = _health.c
    rank = case({health: place for place, health in enumerate(WORST_FIRST)}, value=h.health, else_=len(WORST_FIRST))
    chosen = select(_health).where(h.fleet == fleet).order_by(rank, h.alerts_30d.desc(), h.device_id).limit(limit)
    if device is not None:
        chosen = chosen.where(matches(h.device_id, device))
    with reading(engine) as connection:
        return [row_as(DeviceHealth, row) for row in connection.execute(chosen)]


def health_counts(engine: Engine) -> dict[str, dict[str, int]]:
    """How many devices of each fleet are how. Raises StoreUnavailable."""
    h, found = _health.c, dict[str, dict[str, int]]()
    with reading(engine) as connection:
        for fleet, health, count in connection.execute(
            select(h.fleet, h.health, func.count()).group_by(h.fleet, h.health)
        ):
            found.setdefault(fleet, dict.fromkeys(WORST_FIRST, 0))[health] = count
    return found


def bundle_records(engine: Engine, fleet: str) -> dict[str, BundleRecord]:
    """What people said of a fleet's bundles. Raises StoreUnavailable."""
    p = _precision.c
    columns = (p.model_id, p.alerts, p.real_ones, p.false_alarms, p.unanswered)
    with reading(engine) as connection:
        rows = connection.execute(select(*columns).where(p.fleet == fleet))
        return {row.model_id: row_as(BundleRecord, row) for row in rows}
