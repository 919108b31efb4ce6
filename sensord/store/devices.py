"""The devices a fleet has, as its readings showed them. Written by `progress`, read by `cli`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    Engine,
    Interval,
    Select,
    String,
    Text,
    case,
    cast,
    column,
    func,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from sensord.detection.alerts import Run, Status
from sensord.readings import Partition
from sensord.store.database import insert_into, matches, reading, row_as
from sensord.store.schema import alerts, devices, instant, microseconds


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """A device new to this partition or seen again: event times, microseconds UTC."""

    device_id: str
    first_seen_at: int
    last_seen_at: int


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device: where its readings come from, when they were seen (event time), how many alerts of
    the live run are open and not suppressed."""

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
            alerts.c.run == Run.LIVE.value,
            alerts.c.suppressed_window.is_(None),
            alerts.c.suppressed_like.is_(None),
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


def first_seen(engine: Engine, fleet: str) -> dict[str, int]:
    """When each device of a fleet was first seen, event time: microseconds. Raises StoreUnavailable."""
    d = devices.c
    with reading(engine) as connection:
        rows = connection.execute(select(d.device_id, d.first_seen).where(d.fleet == fleet))
        return {row.device_id: microseconds(row.first_seen) for row in rows}


def write(connection: Connection, fleet: str, partition: Partition, seen: Sequence[DeviceSeen]) -> None:
    """Insert or widen, inside the daemon's transaction; in one order, so that two daemons don't lock each other out."""
    if not seen:
        return
    insert = insert_into(connection, devices)
    place: dict[str, str | int] = {"fleet": fleet, "topic": partition.topic, "partition": partition.number}
    if connection.dialect.name == "postgresql":
        connection.execute(
            _widening(insert.from_select([*place, "device_id", "first_seen", "last_seen"], _told(place, seen)))
        )
    else:
        times = [{"first_seen": instant(one.first_seen_at), "last_seen": instant(one.last_seen_at)} for one in seen]
        rows = [place | {"device_id": one.device_id} | spell for one, spell in zip(seen, times, strict=True)]
        connection.execute(_widening(insert), rows)


def _told(place: Mapping[str, str | int], seen: Sequence[DeviceSeen]) -> Select[*tuple[object, ...]]:
    """All of them as one JSON text, for PostgreSQL to take apart: parameters row by row took longer than all state."""
    microseconds = [column(name, BigInteger) for name in ("first_seen_at", "last_seen_at")]
    told = (
        func.json_to_recordset(cast(literal(msgspec.json.encode(seen).decode(), Text), JSON))
        .table_valued(column("device_id", String), *microseconds)
        .render_derived(with_types=True)
    )
    first, last = func.min(told.c.first_seen_at), func.max(told.c.last_seen_at)  # who left and came back is there twice
    epoch, microsecond = func.to_timestamp(0), cast("1 microsecond", Interval)
    names = [literal(value).label(name) for name, value in place.items()]
    times = [epoch + first * microsecond, epoch + last * microsecond]
    return select(*names, told.c.device_id, *times).group_by(told.c.device_id).order_by(told.c.device_id)


def _widening(insert: postgresql.Insert | sqlite.Insert) -> postgresql.Insert | sqlite.Insert:
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=list(devices.primary_key),
        set_={
            "topic": new.topic,
            "partition": new.partition,
            "first_seen": case((new.first_seen < devices.c.first_seen, new.first_seen), else_=devices.c.first_seen),
            "last_seen": case((new.last_seen > devices.c.last_seen, new.last_seen), else_=devices.c.last_seen),
        },
    )
