"""The contract of Source, kept by the memory double and by Kafka alike."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from sensord.errors import OffsetsLost, SensordError, SourceFailed, Unreachable
from sensord.readings import Partition, Record
from sensord.settings import KafkaSettings
from sensord.stream.cluster import Cluster
from sensord.stream.kafka import KafkaSource
from sensord.stream.memory import MemoryLog, MemorySource
from sensord.stream.source import Bounds, Source
from tests.builders import plain

PATIENCE_S = 30.0
NOW_MS = time.time_ns() // 1_000_000  # brokers drop what is older than their retention


class Place(Protocol):
    """Somewhere with one topic of two partitions, and members of one group that read it."""

    topic: str

    def source(self) -> Source: ...

    def append(self, partition: Partition, *values: bytes) -> None: ...

    def recreate(self) -> None: ...

    def hinted(self, partition: Partition) -> int | None: ...


class MemoryPlace:
    def __init__(self) -> None:
        self.topic = "readings"
        self.log = MemoryLog()
        self.log.create(self.topic, partitions=2)

    def source(self) -> Source:
        return MemorySource(self.log, [self.topic])

    def append(self, partition: Partition, *values: bytes) -> None:
        for value in values:
            self.log.append(partition, value, key=b"pump-1", timestamp_ms=NOW_MS)

    def recreate(self) -> None:
        self.log.create(self.topic, partitions=2)

    def hinted(self, partition: Partition) -> int | None:
        return self.log.hints.get(("sensord", partition))


class KafkaPlace:
    def __init__(self, servers: str) -> None:
        self.topic = f"readings-{uuid4().hex[:8]}"
        self.settings = KafkaSettings(bootstrap_servers=servers, group_id=f"group-{self.topic}")
        self.cluster = Cluster(self.settings)
        self.cluster.create(self.topic, partitions=2)
        self.producer = KafkaProducer(bootstrap_servers=servers, acks="all")
        self.sources: list[Source] = []

    def source(self) -> Source:
        self.sources.append(KafkaSource(self.settings, [self.topic], session_timeout_s=6))
        return self.sources[-1]

    def append(self, partition: Partition, *values: bytes) -> None:
        for value in values:
            self.producer.send(
                partition.topic, value=value, key=b"pump-1", partition=partition.number, timestamp_ms=NOW_MS
            )
        self.producer.flush()

    def recreate(self) -> None:
        self.cluster.delete(self.topic)
        wait_until(lambda: self.cluster.topic(self.topic) is None)
        wait_until(lambda: self.cluster.create(self.topic, partitions=2))

    def hinted(self, partition: Partition) -> int | None:
        consumer = KafkaConsumer(
            bootstrap_servers=self.settings.bootstrap_servers, group_id=self.settings.group_id, enable_auto_commit=False
        )
        try:
            offset: int | None = consumer.committed(TopicPartition(partition.topic, partition.number))
        finally:
            consumer.close()
        return offset

    def close(self) -> None:
        for source in self.sources:
            source.close()
        self.producer.close()
        self.cluster.close()


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "memory":
        yield MemoryPlace()
        return
    kafka = KafkaPlace(request.getfixturevalue("kafka"))
    yield kafka
    kafka.close()


class Seen:
    """What polls of one source have brought so far."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.changes: list[tuple[str, Partition]] = []
        self.records: dict[Partition, list[Record]] = {}

    def poll(self) -> None:
        batch = self.source.poll(0.3)
        self.changes += [("departed", p) for p in batch.departed] + [("arrived", p) for p in batch.arrived]
        for partition, records in batch.records.items():
            self.records.setdefault(partition, []).extend(map(plain, records))

    @property
    def held(self) -> set[Partition]:
        held: set[Partition] = set()
        for change, partition in self.changes:
            (held.add if change == "arrived" else held.discard)(partition)
        return held

    def count(self) -> int:
        return sum(map(len, self.records.values()))


def wait_until(condition: Callable[[], bool], *polled: Seen) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        poll(*polled)


def poll(*polled: Seen) -> None:
    """Once each, all at the same time: a member of Kafka's that joins while another polls has to join again."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(Seen.poll, polled))


def partitions(place: Place) -> list[Partition]:
    return [Partition(place.topic, 0), Partition(place.topic, 1)]


def joined(place: Place) -> Seen:
    seen = Seen(place.source())
    wait_until(lambda: len(seen.held) == 2, seen)
    return seen


def test_assigned_partitions_arrive_once(place: Place) -> None:
    seen = joined(place)
    for _ in range(5):
        seen.poll()
    assert seen.changes == [("arrived", partition) for partition in partitions(place)]


def test_a_member_has_a_name_once_it_has_its_share_even_of_nothing(place: Place) -> None:
    first = Seen(place.source())
    wait_until(lambda: bool(first.source.member), first)
    first.poll()
    assert len(first.held) == 2
    others = [Seen(place.source()), Seen(place.source())]
    wait_until(lambda: all(seen.source.member for seen in others), first, *others)
    wait_until(lambda: sorted(len(seen.held) for seen in (first, *others)) == [0, 1, 1], first, *others)
    assert len({seen.source.member for seen in (first, *others)}) == 3


def test_nothing_is_delivered_before_start(place: Place) -> None:
    first, second = partitions(place)
    place.append(first, b"0")
    place.append(second, b"0")
    seen = joined(place)
    seen.source.start(second, 0)
    wait_until(lambda: second in seen.records, seen)
    for _ in range(5):
        seen.poll()
    assert first not in seen.records


def test_records_come_whole_in_order_from_the_offset_asked_for(place: Place) -> None:
    partition = partitions(place)[0]
    place.append(partition, *(str(n).encode() for n in range(20)))
    seen = joined(place)
    seen.source.start(partition, 5)
    wait_until(lambda: seen.count() >= 15, seen)
    assert seen.records == {partition: [Record(n, NOW_MS, b"pump-1", str(n).encode()) for n in range(5, 20)]}
    assert seen.source.position(partition) == 20


def test_start_again_replays(place: Place) -> None:
    partition = partitions(place)[0]
    place.append(partition, b"0", b"1", b"2")
    seen = joined(place)
    seen.source.start(partition, 0)
    wait_until(lambda: seen.count() == 3, seen)
    seen.source.start(partition, 1)
    wait_until(lambda: seen.count() == 5, seen)
    assert [record.offset for record in seen.records[partition]] == [0, 1, 2, 1, 2]


def test_one_partition_is_held_until_it_is_started_again(place: Place) -> None:
    first, second = partitions(place)
    seen = joined(place)
    for partition in (first, second):
        seen.source.start(partition, 0)
    seen.source.hold(first)
    place.append(first, b"0", b"1")
    place.append(second, b"0")
    wait_until(lambda: second in seen.records, seen)
    seen.source.resume()  # of everything else
    for _ in range(5):
        seen.poll()
    assert first not in seen.records
    assert len(seen.held) == 2
    seen.source.start(first, 1)
    wait_until(lambda: first in seen.records, seen)
    assert [record.offset for record in seen.records[first]] == [1]


def test_pause_stops_delivery_and_keeps_the_membership(place: Place) -> None:
    first, second = partitions(place)
    seen = joined(place)
    seen.source.start(first, 0)
    place.append(first, b"0")
    wait_until(lambda: seen.count() == 1, seen)
    seen.source.pause()
    seen.source.start(second, 0)  # a start while paused takes effect with resume
    place.append(first, b"1")
    place.append(second, b"0")
    for _ in range(5):
        seen.poll()
    assert seen.count() == 1
    seen.source.resume()
    wait_until(lambda: seen.count() == 3, seen)
    assert seen.held == {first, second}
    assert len(seen.changes) == 2


def test_a_second_member_takes_a_share_and_the_first_hears_departed(place: Place) -> None:
    first = joined(place)
    second = Seen(place.source())
    wait_until(lambda: len(first.held) == len(second.held) == 1, first, second)
    assert first.held | second.held == set(partitions(place))
    assert {partition for change, partition in first.changes if change == "departed"} >= second.held


def test_a_member_that_closes_leaves_its_share_to_the_others(place: Place) -> None:
    first, second = joined(place), Seen(place.source())
    wait_until(lambda: len(first.held) == len(second.held) == 1, first, second)
    first.source.close()
    wait_until(lambda: len(second.held) == 2, second)


def test_what_arrives_again_delivers_nothing_before_it_is_started_again(place: Place) -> None:
    for partition in partitions(place):
        place.append(partition, b"0", b"1")
    first = joined(place)
    for partition in partitions(place):
        first.source.start(partition, 0)
    wait_until(lambda: first.count() == 4, first)
    second = Seen(place.source())
    wait_until(lambda: len(first.held) == len(second.held) == 1, first, second)
    for partition in partitions(place):
        place.append(partition, b"2")
    for _ in range(5):
        poll(first, second)
    assert first.count() == 4
    assert second.count() == 0
    (kept,) = first.held
    first.source.start(kept, 2)
    wait_until(lambda: first.count() == 5, first, second)
    assert first.records[kept][-1] == Record(2, NOW_MS, b"pump-1", b"2")


def test_starting_a_partition_that_has_left_does_nothing(place: Place) -> None:
    first, second = joined(place), Seen(place.source())
    wait_until(lambda: len(first.held) == len(second.held) == 1, first, second)
    (gone,) = second.held
    place.append(gone, b"0")
    first.source.start(gone, 0)
    for _ in range(5):
        poll(first, second)
    assert first.count() == 0
    assert first.source.position(gone) is None


def test_bounds_are_first_and_next_offset(place: Place) -> None:
    partition = partitions(place)[0]
    source = place.source()
    assert source.bounds([partition])[partition] == Bounds(0, 0)
    place.append(partition, b"0", b"1", b"2")
    assert source.bounds([partition])[partition] == Bounds(0, 3)


def test_the_end_is_known_of_what_is_read(place: Place) -> None:
    first, second = partitions(place)
    place.append(first, b"0", b"1", b"2")
    seen = joined(place)
    seen.source.start(first, 2)
    wait_until(lambda: seen.count() == 1, seen)
    assert seen.source.end(first) == 3
    assert seen.source.end(second) is None
    assert seen.source.end(Partition(place.topic, 7)) is None


def test_a_start_beyond_the_log_ends_the_source(place: Place) -> None:
    partition = partitions(place)[0]
    place.append(partition, b"0")
    seen = joined(place)
    seen.source.start(partition, 1_000)
    with pytest.raises(OffsetsLost, match="1000"):
        wait_until(lambda: False, seen)
    with pytest.raises(SensordError):
        seen.source.poll(0.3)


def test_topic_id_is_stable_and_changes_when_the_topic_is_recreated(place: Place) -> None:
    source = place.source()
    before = source.topic_id(place.topic)
    assert source.topic_id(place.topic) == before
    if not before:
        pytest.skip("this broker gives topics no ids")
    place.recreate()
    assert source.topic_id(place.topic) != before


def test_a_missing_topic_is_named(place: Place) -> None:
    with pytest.raises(Unreachable, match="no-such-topic"):
        place.source().topic_id("no-such-topic")


def test_poll_after_close_is_refused(place: Place) -> None:
    source = place.source()
    source.close()
    source.close()
    with pytest.raises(SourceFailed):
        source.poll(0.3)


def test_a_hint_reaches_the_groups_monitors(place: Place) -> None:
    partition = partitions(place)[0]
    place.append(partition, b"0")
    seen = joined(place)
    seen.source.start(partition, 0)
    wait_until(lambda: seen.count() == 1, seen)
    assert place.hinted(partition) is None
    seen.source.hint({partition: 1})
    wait_until(lambda: place.hinted(partition) == 1)
