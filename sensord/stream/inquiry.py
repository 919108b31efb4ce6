"""What a cluster says of topics, of what they hold and of a group. Asked once, by `cli` for doctor and status."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    KafkaError,
)

from sensord.errors import Unreachable
from sensord.readings import Partition
from sensord.settings import KafkaSettings
from sensord.stream.cluster import RETRY_S, connected
from sensord.stream.source import Bounds

T = TypeVar("T")

NOT_ALLOWED = {29, 30}  # Kafka's codes: topic, group authorization failed
NO_TIME = -1


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the cluster shows it to this user.

    exists: as far as this user may see. allowed: it may be described. rights: what else it may do, by Kafka's names;
    None where the broker doesn't tell. replicas, in_sync: the least of all partitions. leaderless: partitions that
    nobody serves. id: "" where the broker has none.
    """

    name: str
    exists: bool
    allowed: bool
    id: str = ""
    partitions: int = 0
    replicas: int = 0
    in_sync: int = 0
    leaderless: tuple[int, ...] = ()
    rights: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class GroupState:
    """A consumer group. allowed: this user may describe it. rights: as of a topic; none are told of one without a
    member."""

    allowed: bool
    state: str = ""
    members: int = 0
    rights: frozenset[str] | None = None


class Inquiry:
    """A connection for questions; a context manager. Every method raises Unreachable.

    Raises Unreachable where no broker answers within timeout_s, and AccessRefused.
    """

    def __init__(self, settings: KafkaSettings, timeout_s: float) -> None:
        self._servers, self._timeout_s = settings.bootstrap_servers, timeout_s
        self._admin = connected(settings, timeout_s, lambda config: KafkaAdminClient(**config))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admin.close()

    def topics(self, names: Sequence[str]) -> dict[str, TopicState]:
        """Each of these topics."""
        told = self._asked(lambda: self._admin.describe_topics(list(names)))
        return {topic["name"]: _topic(topic) for topic in told}

    def topic_settings(self, name: str) -> Mapping[str, str]:
        """A topic's settings by Kafka's names; empty where the broker doesn't tell them to this user."""
        try:
            told = self._admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)], config_filter="all")
        except KafkaError:
            return {}
        found = told.get("topic", {}).get(name, {})
        return {key: entry["value"] for key, entry in found.items() if entry["value"] is not None}

    def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, Bounds]:
        """The first offset that each still holds, and the next that it will give."""
        firsts, ends = (self._offsets(partitions, spec) for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST))
        return {p: Bounds(firsts[p][0], ends[p][0]) for p in partitions if p in firsts and p in ends}

    def newest(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The latest time stamp in each partition, milliseconds; without those that hold none, or a broker that can't
        tell."""
        try:
            found = self._offsets(partitions, OffsetSpec.MAX_TIMESTAMP)
        except Unreachable:
            return {}  # older than Kafka 3.0, or another make
        return {partition: at for partition, (_, at) in found.items() if at != NO_TIME}

    def group(self, group_id: str) -> GroupState:
        """A consumer group, which may have no member."""
        try:
            told = self._asked(lambda: self._admin.describe_groups([group_id]))[group_id]
        except GroupAuthorizationFailedError:
            return GroupState(allowed=False)
        allowed = "GroupAuthorizationFailed" not in (told["error"] or "")
        return GroupState(allowed, told["group_state"], len(told["members"]), _rights(told))

    def _offsets(self, partitions: Sequence[Partition], spec: OffsetSpec) -> dict[Partition, tuple[int, int]]:
        asked = {TopicPartition(p.topic, p.number): spec for p in partitions}
        told = self._asked(lambda: self._admin.list_partition_offsets(asked)) if asked else {}
        return {Partition(tp.topic, tp.partition): (at.offset, at.timestamp) for tp, at in told.items()}

    def _asked(self, question: Callable[[], T]) -> T:
        """The answer; a cluster that has just started has no coordinator yet."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return question()
            except GroupAuthorizationFailedError:
                raise
            except KafkaError as error:
                starting = isinstance(error, CoordinatorNotAvailableError | CoordinatorLoadInProgressError)
                if not starting or time.monotonic() >= deadline:
                    raise Unreachable(f"Kafka at {self._servers} did not answer: {error}") from error
                time.sleep(RETRY_S)


def _topic(told: Mapping[str, object]) -> TopicState:
    name, code, partitions = str(told["name"]), told["error_code"], told["partitions"]
    assert isinstance(partitions, list)  # noqa: S101  # the client's types are its documentation
    known = code == 0 and bool(partitions)
    return TopicState(
        name,
        exists=known,
        allowed=code not in NOT_ALLOWED,
        id=str(told["topic_id"] or ""),
        partitions=len(partitions),
        replicas=min((len(one["replica_nodes"]) for one in partitions), default=0),
        in_sync=min((len(one["isr_nodes"]) for one in partitions), default=0),
        leaderless=tuple(sorted(one["partition_index"] for one in partitions if one["leader_id"] < 0)),
        rights=_rights(told),
    )


def _rights(told: Mapping[str, object]) -> frozenset[str] | None:
    rights = told["authorized_operations"]
    return frozenset(rights) if isinstance(rights, list) else None
