"""`sensord status`: who reads what, how far behind, with which bundle, and whether alerts keep to the budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click

from sensord.cli.context import CONNECT_TIMEOUT_S, engine_of, settings_of
from sensord.cli.output import Column, Format, figure, format_option, time_text, write_object, write_table
from sensord.daemon.owner import Owner
from sensord.errors import SensordError
from sensord.readings import Partition
from sensord.settings import FleetSettings, Settings
from sensord.store import Engine
from sensord.store.fleets import fleet_counts
from sensord.store.progress import PartitionProgress, Progress
from sensord.store.registry import Registry, Stage
from sensord.stream.inquiry import GroupState, Inquiry

SPAN = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """A fleet now. devices: ever seen. rate: alerts a device and day over the last seven days of event time; None where
    no device was seen in these. budget: what the settings allow."""

    fleet: str
    bundle_id: str | None
    promoted_at: datetime | None
    shadow_id: str | None
    devices: int
    last_seen: datetime | None
    open_alerts: int
    rate: float | None
    budget: float


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """A partition now. owner: host and process that claimed it last, and may be gone. lag: records that wait; None
    where Kafka didn't tell. replay: records that a restart would replay."""

    fleet: str
    topic: str
    partition: int
    owner: str | None
    committed_at: datetime | None
    next_offset: int | None
    lag: int | None
    replay: int | None
    bundle_id: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """All of it. group: None where Kafka didn't tell."""

    at: datetime
    group: GroupState | None
    fleets: Sequence[FleetStatus]
    partitions: Sequence[PartitionStatus]


FLEETS = (
    Column[FleetStatus]("fleet", lambda row: row.fleet),
    Column[FleetStatus](
        "bundle", lambda row: row.bundle_id or "none", style=lambda row: "" if row.bundle_id else "red"
    ),
    Column[FleetStatus]("promoted (UTC)", lambda row: time_text(row.promoted_at)),
    Column[FleetStatus]("shadow", lambda row: row.shadow_id or ""),
    Column[FleetStatus]("devices", lambda row: str(row.devices), right=True),
    Column[FleetStatus]("last seen (UTC)", lambda row: time_text(row.last_seen)),
    Column[FleetStatus]("open alerts", lambda row: str(row.open_alerts), right=True),
    Column[FleetStatus](
        "a device and day",
        lambda row: figure(row.rate),
        right=True,
        style=lambda row: "yellow" if (row.rate or 0) > row.budget else "",
    ),
    Column[FleetStatus]("budget", lambda row: figure(row.budget), right=True),
)
PARTITIONS = (
    Column[PartitionStatus]("topic", lambda row: row.topic),
    Column[PartitionStatus]("partition", lambda row: str(row.partition), right=True),
    Column[PartitionStatus]("read by", lambda row: row.owner or "nobody yet"),
    Column[PartitionStatus]("committed (UTC)", lambda row: time_text(row.committed_at)),
    Column[PartitionStatus]("next offset", lambda row: _number(row.next_offset), right=True),
    Column[PartitionStatus]("waiting", lambda row: _number(row.lag), right=True),
    Column[PartitionStatus]("to replay", lambda row: _number(row.replay), right=True),
    Column[PartitionStatus]("bundle", lambda row: row.bundle_id or ""),
)


@click.command("status")
@click.option(
    "--timeout-s", type=click.FloatRange(min=0.1), default=CONNECT_TIMEOUT_S, show_default=True, help="Of each try."
)
@format_option(Format.TABLE, Format.JSON)
@click.pass_context
def status(ctx: click.Context, timeout_s: float, form: Format) -> None:
    """Show each fleet's bundle, devices and alerts, and each partition's reader and lag.

    It asks the database and Kafka, not the daemons, and may run anywhere. Where Kafka doesn't answer, the lag is left
    out, and the exit code is still 0.
    """
    settings = settings_of(ctx)
    with engine_of(settings.store, timeout_s) as engine:
        found = _status(settings, engine, timeout_s)
    if form is Format.JSON:
        write_object(found)
        return
    write_table(found.fleets, FLEETS)
    click.echo()
    write_table(found.partitions, PARTITIONS)
    if found.group is not None:
        members = found.group.members
        told = f"{found.group.state.lower()}, members: {members}" if members else "no member"
        click.echo(f"\ngroup {settings.kafka.group_id}: {told}")


def _status(settings: Settings, engine: Engine, timeout_s: float) -> Status:
    now = datetime.now(UTC)
    known = {(one.fleet, Partition(one.topic, one.partition)): one for one in Progress(engine).partitions()}
    group, ends = _of_kafka(settings, timeout_s)
    fleet_of = {topic: name for name, fleet in settings.fleets.items() for topic in fleet.topics}
    everything = sorted({*known, *((fleet_of[partition.topic], partition) for partition in ends)})
    return Status(
        now,
        group,
        [_fleet(engine, name, fleet, now) for name, fleet in settings.fleets.items()],
        [_partition(fleet, p, known.get((fleet, p)), ends.get(p)) for fleet, p in everything],
    )


def _of_kafka(settings: Settings, timeout_s: float) -> tuple[GroupState | None, Mapping[Partition, int]]:
    """The group, and the end of every partition's log; nothing where Kafka doesn't answer."""
    names = [topic for fleet in settings.fleets.values() for topic in fleet.topics]
    try:
        with Inquiry(settings.kafka, timeout_s) as inquiry:
            group = inquiry.group(settings.kafka.group_id)
            topics = inquiry.topics(names).values()
            partitions = [Partition(one.name, number) for one in topics for number in range(one.partitions)]
            return group, {partition: held.end for partition, held in inquiry.bounds(partitions).items()}
    except SensordError as error:
        click.echo(f"sensord: {error}", err=True)
        return None, {}


def _fleet(engine: Engine, name: str, fleet: FleetSettings, now: datetime) -> FleetStatus:
    staged = {row.stage: row for row in Registry(engine).list(name)}
    current, shadow = staged.get(Stage.CURRENT), staged.get(Stage.SHADOW)
    counts = fleet_counts(engine, name, now - SPAN)
    return FleetStatus(
        name,
        None if current is None else current.bundle_id,
        None if current is None else current.promoted_at,
        None if shadow is None else shadow.bundle_id,
        counts.devices,
        counts.last_seen,
        counts.open_alerts,
        _rate(counts.opened, counts.active, counts.first_seen, now),
        fleet.alarm_budget,
    )


def _rate(opened: int, active: int, first_seen: datetime | None, now: datetime) -> float | None:
    """Alerts a device and day, over as much of the last seven days as there were devices."""
    if not active or first_seen is None:
        return None
    days = min(SPAN, now - first_seen) / timedelta(days=1)
    return opened / (active * days) if days > 0 else None


def _partition(fleet: str, at: Partition, known: PartitionProgress | None, end: int | None) -> PartitionStatus:
    if known is None:
        return PartitionStatus(fleet, at.topic, at.number, None, None, None, end, None, None)
    owner, done = Owner.parse(known.owner), known.next_offset
    return PartitionStatus(
        fleet,
        at.topic,
        at.number,
        f"{owner.host}/{owner.pid}" if owner else known.owner,
        known.committed_at,
        done,
        None if end is None else max(end - (done or 0), 0),
        None if done is None else done - (known.state_offset or 0),
        known.model_id,
    )


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
