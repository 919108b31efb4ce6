"""Records into a topic: idempotent, acknowledged by all replicas, and marked so that a replay can be resumed.

Each record carries a header that says which replay it belongs to and which of its messages it is. What a topic holds
is thus told by the topic itself, after any crash: a resumed replay repeats nothing and leaves nothing out.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from kafka.partitioner.default import murmur2

from sensord.errors import RecordTooLarge, SensordError, Unreachable
from sensord.settings import KafkaSettings
from sensord.stream.cluster import DEFAULT_START_TIMEOUT_S, connected
from sensord.stream.ranges import open_consumer, read_spans
from sensord.stream.replay import Message

HEADER = "sensord-replay"
UNACKNOWLEDGED = 5_000  # records at most; the producer's own memory is not bounded
FIRST_LOOK = 1_000  # records at a partition's end that are searched for a mark


@dataclass(frozen=True, slots=True)
class Mark:
    """What a replayed record's header says.

    source: what was replayed. run: when the replay was begun, milliseconds. number: the message's place in the source,
    from 0. shift_ms: what was added to its times.
    """

    source: str
    run: int
    number: int
    shift_ms: int

    def header(self) -> bytes:
        return f"{self.source}.{self.run}.{self.number}.{self.shift_ms}".encode()

    @classmethod
    def of(cls, headers: list[tuple[str, bytes]]) -> Self | None:
        for name, value in headers:
            if name == HEADER:
                source, *numbers = value.decode().split(".")
                return cls(source, *map(int, numbers))
        return None


class Publisher:
    """Writes to one topic. Raises Unreachable when the broker does not acknowledge."""

    def __init__(self, producer: KafkaProducer, topic: str, partitions: int) -> None:
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._of_key: dict[bytes, int] = {}
        self._pending: list[Any] = []

    def partition(self, key: bytes | None, wanted: int | None, number: int) -> int:
        """Where a message goes: where it was, if there is such a partition, else by its key as Kafka's clients do."""
        if wanted is not None and wanted < self._partitions:
            return wanted
        if key is None:
            return number % self._partitions
        if key not in self._of_key:
            self._of_key[key] = (murmur2(key) & 0x7FFFFFFF) % self._partitions
        return self._of_key[key]

    def send(self, partition: int, message: Message, mark: Mark) -> None:
        """Hand one record over; blocks now and then, until those before it are acknowledged."""
        try:
            sent = self._producer.send(
                self._topic,
                key=message.key,
                value=message.value,
                partition=partition,
                timestamp_ms=message.timestamp_ms,
                headers=[(HEADER, mark.header())],
            )
        except KafkaError as error:
            raise SensordError(f"topic {self._topic}: message {mark.number} was not taken: {error}") from error
        self._pending.append(sent)
        if len(self._pending) >= UNACKNOWLEDGED:
            self.flush()

    def flush(self) -> None:
        """Wait until all is acknowledged."""
        try:
            self._producer.flush()
            for sent in self._pending:
                sent.get(timeout=0)
        except KafkaError as error:
            raise Unreachable(f"topic {self._topic}: the broker did not acknowledge: {error}") from error
        self._pending.clear()


@contextmanager
def open_publisher(
    settings: KafkaSettings, topic: str, partitions: int, timeout_s: float = DEFAULT_START_TIMEOUT_S
) -> Iterator[Publisher]:
    """A publisher of an existing topic; what is handed over is acknowledged when the block ends well."""
    own = {
        "acks": "all",
        "enable_idempotence": True,
        "allow_auto_create_topics": False,
        "compression_type": "lz4",
        "linger_ms": 20,
        "batch_size": 128 << 10,
        "metrics_enabled": False,
    }
    producer = connected(settings, timeout_s, lambda config: KafkaProducer(**config | own))
    try:
        publisher = Publisher(producer, topic, partitions)
        yield publisher
        publisher.flush()
    finally:
        producer.close(timeout=5)


class Writer:
    """Writes one record at a time to an existing topic; a context manager.

    Connects when there is something to write, and anew where that failed: whoever builds it needs no Kafka yet.
    """

    def __init__(self, settings: KafkaSettings, topic: str, timeout_s: float = DEFAULT_START_TIMEOUT_S) -> None:
        self._settings, self._topic, self._timeout_s = settings, topic, timeout_s
        self._producer: KafkaProducer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def write(self, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        """Returns when all replicas have it. Raises Unreachable where nobody acknowledges it within timeout_s or there
        is no such topic, RecordTooLarge, AccessRefused."""
        if self._producer is None:
            self._producer = connected(self._settings, self._timeout_s, self._connect)
        try:
            self._producer.send(self._topic, key=key, value=value, headers=list(headers)).get(self._timeout_s)
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            raise RecordTooLarge(f"topic {self._topic}: {len(value)} bytes are too many for it") from error
        except KafkaError as error:
            self._close()
            raise Unreachable(f"topic {self._topic}: the broker did not acknowledge: {error}") from error

    def _connect(self, config: dict[str, Any]) -> KafkaProducer:
        own = {"acks": "all", "enable_idempotence": True, "allow_auto_create_topics": False, "metrics_enabled": False}
        return KafkaProducer(**config | own | {"max_block_ms": round(self._timeout_s * 1e3)})

    def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=1)


def last_marks(settings: KafkaSettings, topic: str, partitions: int, source: str) -> dict[int, Mark]:
    """The last mark in each partition of the latest replay of this source; empty where there was none.

    Raises Unreachable.
    """
    with open_consumer(settings) as consumer:
        tps = [TopicPartition(topic, number) for number in range(partitions)]
        beginnings, ends = consumer.beginning_offsets(tps), consumer.end_offsets(tps)
        marks: dict[int, Mark] = {}
        for tp in tps:
            look, end = FIRST_LOOK, ends[tp]
            while tp.partition not in marks and end > beginnings[tp]:
                first = max(beginnings[tp], end - look)
                for _, records in read_spans(consumer, {tp: (first, end)}, lambda done, of: None):
                    for mark in (Mark.of(record.headers) for record in records):
                        if mark and mark.source == source:
                            marks[tp.partition] = mark
                look, end = look * 10, first
    latest = max((mark.run for mark in marks.values()), default=0)
    return {number: mark for number, mark in marks.items() if mark.run == latest}
