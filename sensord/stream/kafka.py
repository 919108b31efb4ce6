"""Records from Kafka, as a member of a consumer group. Built by `cli`, driven by `daemon` from one thread.

kafka-python runs its IO, and with it the rebalance listener, on a thread of its own. The listener only pauses, seeks
and notes; what the notes mean is worked out in `poll`, on the caller's thread.
"""

import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import KafkaConnectionError, KafkaError, LogTruncationError, OffsetOutOfRangeError

from sensord.errors import OffsetsLost, SensordError, SourceFailed, Unreachable
from sensord.readings import Partition, RawRecord
from sensord.settings import KafkaSettings
from sensord.stream.cluster import DEFAULT_START_TIMEOUT_S, Cluster, connected
from sensord.stream.source import Batch, Bounds

SESSION_TIMEOUT_S = 45.0
POLL_LIMIT_S = 60.0
CLOSE_TIMEOUT_MS = 3_000
HELPING = 2 << 20  # bytes of values
FIRST_HELPING, SAMPLE = 64, 32  # records
SEARCH = "ensure_coordinator_ready"  # the client's method
DEPARTED = (
    ValueError,
    KeyError,
)  # raised for a partition that has left since the caller was told; the next poll says so


class KafkaSource:
    """A member of settings.group_id that reads topics. Implements Source.

    session_timeout_s: how long the group waits for a member that went silent; the request time-out is a fifth of it
    and the heartbeat's interval a little more than that, since a broker that hangs without closing its connection
    costs 100 % CPU where heartbeats are more frequent than requests time out. poll_limit_s: how long the caller may not
    poll; as long a rebalance waits for it, and it for the broker's answer to a join, so that one of them that was lost
    holds up the whole group. dead: members of the group that are known to be; it doesn't wait for them.

    Raises Unreachable when no broker answers, or a topic is missing, for start_timeout_s; AccessRefused.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[str],
        start_timeout_s: float = DEFAULT_START_TIMEOUT_S,
        session_timeout_s: float = SESSION_TIMEOUT_S,
        poll_limit_s: float = POLL_LIMIT_S,
        dead: Sequence[str] = (),
    ) -> None:
        self._servers = settings.bootstrap_servers
        self._cluster = Cluster(settings, start_timeout_s)
        try:
            self._cluster.wait_for(topics, start_timeout_s)
            self._cluster.dismiss(settings.group_id, dead)
            self._consumer = connected(
                settings,
                start_timeout_s,
                lambda config: KafkaConsumer(**config | _group_config(settings, session_timeout_s, poll_limit_s)),
            )
        except SensordError:
            self._cluster.close()
            raise
        self._helping = Helping(settings.max_poll_records)
        self._notes = _Notes(self._consumer)
        self._consumer.subscribe(topics=list(topics), listener=self._notes)
        self._told: set[Partition] = set()  # what the caller knows to be assigned
        self._started: set[Partition] = set()
        self._paused = False
        self._failed = False
        self._closed = False

    @property
    def member(self) -> str:
        # the group names whoever asks to join, and shares the partitions out later
        return str(self._consumer.group_metadata().member_id) if self._notes.settled else ""

    def poll(self, timeout_s: float) -> Batch:
        if self._failed or self._closed:
            raise SourceFailed("poll after failure or close")
        try:
            polled = self._consumer.poll(timeout_ms=int(timeout_s * 1_000), max_records=self._helping.records)
        except KafkaConnectionError as error:
            if not _only_searched(error):
                raise self._failure(error) from error
            polled = {}
            time.sleep(timeout_s)
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            self._failed = True
            raise OffsetsLost(f"the log no longer holds {self._wanted(error)}; see --accept-gap") from error
        except Exception as error:
            raise self._failure(error) from error
        self._helping.had(polled.values())
        departed, arrived = self._changes()
        records = {_partition(tp): found for tp, found in polled.items()}
        return Batch(departed, arrived, {p: found for p, found in records.items() if p in self._started})

    def _failure(self, error: Exception) -> SourceFailed:
        """Whatever it was, the client loops for ever when polled again, or reads on outside its group."""
        self._failed = True
        return SourceFailed(f"Kafka at {self._servers}: poll raised {type(error).__name__}: {error}")

    def _wanted(self, error: KafkaError) -> str:
        """Where we were about to read, and what there is instead, as far as the client and the broker tell."""
        places = error.args[0] if error.args else None
        if not isinstance(places, dict) or not places:
            return f"the position: {error}"
        wanted = {_partition(tp): offset for tp, offset in places.items()}
        try:
            holds = {
                partition: f", only {b.beginning} to {b.end}" for partition, b in self.bounds(list(wanted)).items()
            }
        except Unreachable:
            holds = {}
        return ", ".join(f"offset {offset} of {p}{holds.get(p, '')}" for p, offset in wanted.items())

    def start(self, partition: Partition, offset: int) -> None:
        tp = _topic_partition(partition)
        with suppress(*DEPARTED):
            self._consumer.seek(tp, offset)
            if not self._paused:
                self._consumer.resume(tp)
            self._started.add(partition)

    def hold(self, partition: Partition) -> None:
        self._started.discard(partition)
        with suppress(*DEPARTED):
            self._consumer.pause(_topic_partition(partition))

    def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, Bounds]:
        asked = [_topic_partition(partition) for partition in partitions]
        try:
            beginnings, ends = self._consumer.beginning_offsets(asked), self._consumer.end_offsets(asked)
        except KafkaError as error:
            names = ", ".join(map(str, partitions))
            raise Unreachable(f"Kafka at {self._servers} did not tell the offsets of {names}: {error}") from error
        return {_partition(tp): Bounds(beginnings[tp], ends[tp]) for tp in asked}

    def topic_id(self, topic: str) -> str:
        found = self._cluster.topic(topic)
        if found is None:
            raise Unreachable(f"Kafka at {self._servers} has no topic {topic}")
        return found.id

    def position(self, partition: Partition) -> int | None:
        if partition not in self._started:
            return None
        try:
            position: int | None = self._consumer.position(_topic_partition(partition), timeout_ms=0)
        except (KafkaError, *DEPARTED):
            return None  # it has left, or poll is about to say what is wrong
        return position

    def end(self, partition: Partition) -> int | None:
        try:
            end: int | None = self._consumer.highwater(_topic_partition(partition))
        except (KafkaError, *DEPARTED):
            return None
        return end

    def pause(self) -> None:
        self._paused = True
        self._apply(self._consumer.pause)

    def resume(self) -> None:
        self._paused = False
        self._apply(self._consumer.resume)

    def hint(self, offsets: Mapping[Partition, int]) -> None:
        held = {
            _topic_partition(p): OffsetAndMetadata(offset, "", -1)
            for p, offset in offsets.items()
            if p in self._started
        }
        if held:
            self._consumer.commit_async(held)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with suppress(KafkaError):  # a member that can't say goodbye is expired by the group
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)
        self._cluster.close()

    def _changes(self) -> tuple[list[Partition], list[Partition]]:
        """Departed and arrived since the caller was last told; a partition that came back is in both."""
        revoked, assigned = self._notes.take()
        departed = self._told & revoked
        self._started -= departed
        arrived = assigned - (self._told - departed)
        self._told = set(assigned)
        return sorted(departed), sorted(arrived)

    def _apply(self, action: Callable[[TopicPartition], None]) -> None:
        for partition in self._started:
            with suppress(*DEPARTED):
                action(_topic_partition(partition))


def _only_searched(error: KafkaConnectionError) -> bool:
    """Raised where a poll begins, in the search for the group's coordinator: it searches again when polled again.

    Nothing is fetched before that, so nothing is lost. The client waits there for most things, but not for any broker.
    """
    return any(frame.f_code.co_name == SEARCH for frame, _ in traceback.walk_tb(error.__traceback__))


class _Notes(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python publishes no types
    """What the group did, noted on the IO thread. Nothing here may block or raise."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self._lock = threading.Lock()
        self._revoked: set[Partition] = set()
        self._assigned: set[Partition] = set()
        self.settled = False  # the group has shared out its partitions since, even if none of them came here

    def take(self) -> tuple[set[Partition], set[Partition]]:
        """What was revoked since the last call, and what is assigned now."""
        with self._lock:
            revoked, self._revoked = self._revoked, set()
            return revoked, set(self._assigned)

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        partitions = {_partition(tp) for tp in revoked}
        with self._lock:
            self._revoked |= partitions
            self._assigned -= partitions

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Until `start` says where to begin, an assigned partition is paused; 0 only keeps the client from asking."""
        for tp in assigned:
            self._consumer.pause(tp)
            self._consumer.seek(tp, 0)
        with self._lock:
            self.settled = True
            self._revoked |= self._assigned
            self._assigned = {_partition(tp) for tp in assigned}

    def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        self.on_partitions_revoked(lost)


class Helping:
    """How many records a poll brings: so many that they are about HELPING bytes together, by what the last ones were.

    What one poll brings is in memory decoded, at many times its bytes, and nothing of it is scored before all of it is
    decoded; so records that hold many readings each come in fewer.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.records = min(FIRST_HELPING, most)

    def had(self, polled: Iterable[Sequence[RawRecord]]) -> None:
        """What a poll has brought; a sample of it tells."""
        sizes = [len(record.value or b"") for records in polled for record in records[:: len(records) // SAMPLE + 1]]
        if sizes:
            self.records = min(max(HELPING * len(sizes) // (sum(sizes) or 1), 1), self._most)


def _group_config(settings: KafkaSettings, session_timeout_s: float, poll_limit_s: float) -> dict[str, Any]:
    session_ms = int(session_timeout_s * 1_000)
    return {
        "group_id": settings.group_id,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
        "partition_assignment_strategy": [StickyPartitionAssignor],
        "request_timeout_ms": session_ms // 5,
        "heartbeat_interval_ms": session_ms * 2 // 9,
        "session_timeout_ms": session_ms,
        "max_poll_interval_ms": max(int(poll_limit_s * 1_000), session_ms),
        "max_poll_records": settings.max_poll_records,
        "max_partition_fetch_bytes": 4 << 20,
        "fetch_max_bytes": 32 << 20,
        "fetch_min_bytes": 64 << 10,
        "fetch_max_wait_ms": 100,
        "check_crcs": True,
        "metrics_enabled": False,
    }


def _topic_partition(partition: Partition) -> TopicPartition:
    return TopicPartition(partition.topic, partition.number)


def _partition(tp: TopicPartition) -> Partition:
    return Partition(tp.topic, tp.partition)
