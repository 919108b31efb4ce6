"""The devices a fleet has, as its readings showed them. Written by `progress`, read by `cli`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, case, func, select

from sensord.detection.alerts import Status
from sensord.readings import Partition
from sensord.store.database import insert_into, matches, reading, row_as
from sensord.store.schema import alerts, devices, instant


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """A device new to this partition or seen again: event times, microseconds UTC."""

    device_id: str
    first_seen_at: int
    last_seen_at: int


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device: where its readings come from, when they were seen (event time), how many alerts are open."""

    fleet: str
    device_id: str
    topic: str
    partition: int
    first_seen: datetime
    last_seen: datetime
    open_alerts: int


def list_devices(
    engine: Engine, fleet: str | None = None, device: str | None = None, limit: int | None = None
) -> list[DeviceRow]:
    """Devices by fleet and name. device: a glob of * and ?. Raises StoreUnavailable."""
    open_alerts = (
        select(func.count())
        .where(
            alerts.c.fleet == devices.c.fleet,
            alerts.c.device_id == devices.c.device_id,
            alerts.c.status == Status.OPEN.value,
        )
        .scalar_subquery()
    )
    chosen = select(devices, open_alerts.label("open_alerts")).order_by(devices.c.fleet, devices.c.device_id)
    if fleet is not None:
        chosen = chosen.where(devices.c.fleet == fleet)
    if device is not None:
        chosen = chosen.where(matches(devices.c.device_id, device))
    with reading(engine) as connection:
        return [row_as(DeviceRow, row) for row in connection.execute(chosen.limit(limit))]


def write(connection: Connection, seen: Sequence[tuple[str, Partition, DeviceSeen]]) -> None:
    """Insert or widen, inside the daemon's transaction; in one order, so that two daemons don't lock each other out."""
    if not seen:
        return
    insert = insert_into(connection, devices)
    new = insert.excluded
    statement = insert.on_conflict_do_update(
        index_elements=list(devices.primary_key),
        set_={
            "topic": new.topic,
            "partition": new.partition,
            "first_seen": case((new.first_seen < devices.c.first_seen, new.first_seen), else_=devices.c.first_seen),
            "last_seen": case((new.last_seen > devices.c.last_seen, new.last_seen), else_=devices.c.last_seen),
        },
    )
    ordered = sorted(seen, key=lambda one: (one[0], one[2].device_id))
    connection.execute(statement, [_row(fleet, partition, device) for fleet, partition, device in ordered])


def _row(fleet: str, partition: Partition, device: DeviceSeen) -> dict[str, object]:
    return {
        "fleet": fleet,
        "device_id": device.device_id,
        "topic": partition.topic,
        "partition": partition.number,
        "first_seen": instant(device.first_seen_at),
        "last_seen": instant(device.last_seen_at),
    }
