"""How things stand: fleets by bundle, devices and alerts, partitions by reader and lag.

Asked by `sensord status` and by the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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
class Standing:
    """All of it. group: None where Kafka didn't tell; kafka: why it didn't, "" where it did."""

    at: datetime
    group: GroupState | None
    kafka: str
    fleets: Sequence[FleetStatus]
    partitions: Sequence[PartitionStatus]


def standing(settings: Settings, engine: Engine, timeout_s: float) -> Standing:
    """Ask the database, and Kafka for so long; where that doesn't answer, `kafka` says why. Raises StoreUnavailable."""
    now = datetime.now(UTC)
    known = {(one.fleet, Partition(one.topic, one.partition)): one for one in Progress(engine).partitions()}
    group, ends, kafka = _of_kafka(settings, timeout_s)
    fleet_of = {topic: name for name, fleet in settings.fleets.items() for topic in fleet.topics}
    everything = sorted({*known, *((fleet_of[partition.topic], partition) for partition in ends)})
    return Standing(
        now,
        group,
        kafka,
        [_fleet(engine, name, fleet, now) for name, fleet in settings.fleets.items()],
        [_partition(fleet, p, known.get((fleet, p)), ends.get(p)) for fleet, p in everything],
    )


def _of_kafka(settings: Settings, timeout_s: float) -> tuple[GroupState | None, Mapping[Partition, int], str]:
    """The group, the end of every partition's log, and what was in the way."""
    names = [topic for fleet in settings.fleets.values() for topic in fleet.topics]
    try:
        with Inquiry(settings.kafka, timeout_s) as inquiry:
            group = inquiry.group(settings.kafka.group_id)
            topics = inquiry.topics(names).values()
            partitions = [Partition(one.name, number) for one in topics for number in range(one.partitions)]
            return group, {partition: held.end for partition, held in inquiry.bounds(partitions).items()}, ""
    except SensordError as error:
        return None, {}, str(error)


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
    done = known.next_offset
    return PartitionStatus(
        fleet,
        at.topic,
        at.number,
        "/".join(known.owner.split("/")[:2]),  # without its name in the group
        known.committed_at,
        done,
        None if end is None else max(end - (done or 0), 0),
        None if done is None else done - (known.state_offset or 0),
        known.model_id,
    )
