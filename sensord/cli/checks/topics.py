"""Kafka: does it answer, are the topics there and fit to be read exactly, and does the log still hold what is next."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from sensord.cli.checks.findings import Finding, failure, unreachable, warning, well
from sensord.errors import EXIT_UNREACHABLE, SensordError
from sensord.readings import Partition
from sensord.settings import FleetSettings, KafkaSettings, Settings
from sensord.store.progress import PartitionProgress
from sensord.stream.inquiry import GroupState, Inquiry, TopicState

AREA = "Kafka"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
READS = {"READ", "DESCRIBE"}


def look(settings: Settings, progress: Sequence[PartitionProgress], timeout_s: float) -> Iterator[Finding]:
    """The cluster, the group, and each topic of the settings. progress: as far as the database told."""
    kafka = settings.kafka
    try:
        with Inquiry(kafka, timeout_s) as inquiry:
            yield well(AREA, kafka.bootstrap_servers, "answers")
            topics = inquiry.topics([topic for fleet in settings.fleets.values() for topic in fleet.topics])
            yield _group(inquiry.group(kafka.group_id), kafka)
            for name, fleet in settings.fleets.items():
                for topic in fleet.topics:
                    mine = [one for one in progress if (one.fleet, one.topic) == (name, topic)]
                    yield from _topic(inquiry, topics[topic], kafka, fleet, mine)
    except SensordError as error:
        yield unreachable(AREA, kafka.bootstrap_servers, error, "start it, or mend kafka.bootstrap_servers")


def _group(group: GroupState, kafka: KafkaSettings) -> Finding:
    subject = f"group {kafka.group_id}"
    if not group.allowed or (group.rights is not None and not group.rights >= READS):
        return failure(
            AREA, subject, f"{_user(kafka)} may not read as a member of it", _acl(kafka, "group", kafka.group_id)
        )
    if group.members:
        return well(AREA, subject, f"{group.state.lower()}, members: {group.members}")
    return well(AREA, subject, "no member now")


def _topic(
    inquiry: Inquiry,
    topic: TopicState,
    kafka: KafkaSettings,
    fleet: FleetSettings,
    progress: Sequence[PartitionProgress],
) -> Iterator[Finding]:
    subject = f"topic {topic.name}"
    if not topic.allowed or (topic.exists and topic.rights is not None and not topic.rights >= READS):
        yield failure(AREA, subject, f"{_user(kafka)} may not read it", _acl(kafka, "topic", topic.name))
        return
    if not topic.exists:
        remedy = f"kafka-topics.sh --create --topic {topic.name} --partitions 4"
        yield failure(AREA, subject, "isn't there, or not for this user", remedy, EXIT_UNREACHABLE)
        return
    if topic.leaderless:
        numbers = ", ".join(map(str, topic.leaderless))
        yield failure(AREA, subject, f"nobody serves partitions {numbers}", "start their brokers", EXIT_UNREACHABLE)
        return
    yield well(AREA, subject, f"partitions: {topic.partitions}, copies: {topic.replicas}")
    if topic.in_sync < topic.replicas:
        yield warning(
            AREA, subject, f"only {topic.in_sync} of {topic.replicas} copies are up to date", "see its brokers"
        )
    yield from _settings(subject, topic.name, inquiry.topic_settings(topic.name))
    partitions = [Partition(topic.name, number) for number in range(topic.partitions)]
    yield _newest(subject, inquiry.newest(partitions), fleet.max_future_s)
    yield from _offsets(inquiry, subject, topic, partitions, progress)


def _settings(subject: str, name: str, told: Mapping[str, str]) -> Iterator[Finding]:
    """What would take readings away before they are read."""
    alter = f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config"
    if "compact" in told.get("cleanup.policy", ""):
        found = "is compacted: of each key Kafka deletes all but the latest readings"
        yield failure(AREA, subject, found, f"{alter} cleanup.policy=delete")
    retention_ms = int(told.get("retention.ms", -1))
    if 0 <= retention_ms < DAY_MS:
        found = f"keeps readings for {retention_ms / HOUR_MS:.1f} hours: what isn't read by then is lost"
        yield warning(AREA, subject, found, f"{alter} retention.ms={7 * DAY_MS}")


def _newest(subject: str, newest: Mapping[Partition, int], max_future_s: float) -> Finding:
    if not newest:
        return well(AREA, subject, "empty, or of unknown age")
    age_s = datetime.now(UTC).timestamp() - max(newest.values()) / 1_000
    if age_s < -max_future_s:
        found = f"its latest record's time stamp is {-age_s:.0f} s ahead of this machine's clock"
        return warning(AREA, subject, found, "have producers and this machine keep time by NTP")
    return well(AREA, subject, f"its latest record is {max(age_s, 0):.0f} s old")


def _offsets(
    inquiry: Inquiry,
    subject: str,
    topic: TopicState,
    partitions: Sequence[Partition],
    progress: Sequence[PartitionProgress],
) -> Iterator[Finding]:
    """Whether the log holds what the database says is next."""
    remedy = "to go on without what is lost: sensord run --accept-gap"
    if (
        ids := sorted({one.topic_id for one in progress if one.next_offset is not None} - {"", topic.id})
        if topic.id
        else []
    ):
        found = f"was deleted and made anew: it has the id {topic.id}, and {', '.join(ids)} was read"
        yield failure(AREA, subject, found, remedy)
        return
    bounds, waiting = inquiry.bounds(partitions), 0
    for one in progress:
        held = bounds.get(Partition(one.topic, one.partition))
        if one.next_offset is None or held is None:
            continue
        waiting += max(held.end - one.next_offset, 0)
        if not held.beginning <= one.next_offset <= held.end:
            found = f"partition {one.partition}: {one.next_offset} is next, the log has {held.beginning} to {held.end}"
            yield failure(AREA, subject, found, remedy)
    if progress:
        yield well(AREA, subject, f"records that wait: {waiting}")


def _user(kafka: KafkaSettings) -> str:
    return f"user {kafka.sasl_username}" if kafka.sasl_username else "this user"


def _acl(kafka: KafkaSettings, kind: str, name: str) -> str:
    who = kafka.sasl_username or "NAME"
    return f"kafka-acls.sh --add --allow-principal User:{who} --operation Read --operation Describe --{kind} {name}"
