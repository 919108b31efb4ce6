"""A stretch of a topic, read once from end to end without a group; for `record`, `replay` and the trainer."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from sensord.errors import OffsetsLost, Unreachable
from sensord.readings import Partition, RawRecord
from sensord.settings import KafkaSettings
from sensord.stream.cluster import DEFAULT_START_TIMEOUT_S, Cluster, connected

POLL_MS = 300
STALLED_S = 60.0

Report = Callable[[int, int], None]  # (done, of)


def read_range(
    settings: KafkaSettings,
    topic: str,
    since: int | None = None,
    until: int | None = None,
    report: Report = lambda done, of: None,
    *,
    since_offset: int | None = None,
    until_offset: int | None = None,
    follow: bool = False,
    timeout_s: float = DEFAULT_START_TIMEOUT_S,
) -> Iterator[tuple[Partition, Sequence[RawRecord]]]:
    """Batches of a topic's records, each partition's by rising offset, up to what the topic holds now.

    since, until: of the record's own time stamp, microseconds UTC; a partition begins at its first record of or after
    `since` and ends before its first of or after `until`. since_offset, until_offset: the same in every partition, cut
    to what it holds. follow: go on with what comes. report: told how many offsets are done, of how many.
    Raises Unreachable, OffsetsLost.
    """
    with open_consumer(settings, timeout_s) as consumer:
        with Cluster(settings, timeout_s) as cluster:
            count = cluster.wait_for([topic], 0)[topic].partitions
        partitions = [TopicPartition(topic, number) for number in range(count)]
        try:
            beginnings, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
            firsts = beginnings if since is None else _offsets_at(consumer, since, ends)
            lasts = ends if until is None else _offsets_at(consumer, until, ends)
        except KafkaError as error:
            raise Unreachable(
                f"Kafka at {settings.bootstrap_servers} did not tell {topic}'s offsets: {error}"
            ) from error
        spans: dict[TopicPartition, tuple[int, int | None]] = {}
        for tp in partitions:
            first = max(firsts[tp], since_offset or 0)
            last = lasts[tp] if until_offset is None else min(lasts[tp], until_offset)
            if follow or first < last:
                spans[tp] = min(first, ends[tp]), None if follow else last
        for tp, found in read_spans(consumer, spans, report):
            yield Partition(tp.topic, tp.partition), found


def latest(
    settings: KafkaSettings, topic: str, most: int, timeout_s: float = DEFAULT_START_TIMEOUT_S
) -> Sequence[RawRecord]:
    """The latest records of a topic, `most` at most, those of each partition together. Raises Unreachable."""
    with open_consumer(settings, timeout_s) as consumer:
        with Cluster(settings, timeout_s) as cluster:
            count = cluster.wait_for([topic], 0)[topic].partitions
        partitions = [TopicPartition(topic, number) for number in range(count)]
        firsts, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        share = -(-most // count)
        spans: dict[TopicPartition, tuple[int, int | None]] = {
            tp: (max(firsts[tp], ends[tp] - share), ends[tp]) for tp in partitions if ends[tp] > firsts[tp]
        }
        found = [record for _, records in read_spans(consumer, spans, lambda done, of: None) for record in records]
    return found[:most]


@contextmanager
def open_consumer(settings: KafkaSettings, timeout_s: float = DEFAULT_START_TIMEOUT_S) -> Iterator[KafkaConsumer]:
    """A consumer without a group. Raises Unreachable."""
    own = {
        "auto_offset_reset": "none",
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
        "max_poll_records": settings.max_poll_records,
        "metrics_enabled": False,
    }
    consumer = connected(settings, timeout_s, lambda config: KafkaConsumer(**config | own))
    try:
        yield consumer
    finally:
        consumer.close(autocommit=False)


def read_spans(
    consumer: KafkaConsumer, spans: Mapping[TopicPartition, tuple[int, int | None]], report: Report
) -> Iterator[tuple[TopicPartition, list[Any]]]:
    """The client's own records from each span's first offset to before its last; for ever where that is None.

    Raises Unreachable when nothing comes for a minute though there is more, OffsetsLost.
    """
    if not spans:
        return
    consumer.assign(list(spans))
    consumer.resume(*spans)  # what was read before is still paused
    for tp, (first, _) in spans.items():
        consumer.seek(tp, first)
    total = sum(last - first for first, last in spans.values() if last is not None)
    positions = {tp: first for tp, (first, _) in spans.items()}
    moved_at = time.monotonic()
    while open_spans := [tp for tp, (_, last) in spans.items() if last is None or positions[tp] < last]:
        for tp, found in _polled(consumer).items():
            last = spans[tp][1]
            kept = found if last is None or found[-1].offset < last else [r for r in found if r.offset < last]
            if kept:
                yield tp, kept
        before = dict(positions)
        positions |= {tp: consumer.position(tp, timeout_ms=0) or positions[tp] for tp in open_spans}
        consumer.pause(*[tp for tp in open_spans if (last := spans[tp][1]) is not None and positions[tp] >= last])
        ends = {tp: positions[tp] if last is None else last for tp, (_, last) in spans.items()}
        report(sum(min(positions[tp], ends[tp]) - first for tp, (first, _) in spans.items() if total), total)
        if positions != before or any(last is None for _, last in spans.values()):
            moved_at = time.monotonic()
        elif time.monotonic() - moved_at > STALLED_S:
            names = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in open_spans)
            raise Unreachable(f"Kafka sent nothing of {names} for {STALLED_S:.0f} s")


def _polled(consumer: KafkaConsumer) -> dict[TopicPartition, list[Any]]:
    try:
        found: dict[TopicPartition, list[Any]] = consumer.poll(timeout_ms=POLL_MS)
    except OffsetOutOfRangeError as error:
        raise OffsetsLost(f"retention overtook the reading: {error}") from error
    except KafkaError as error:
        raise Unreachable(f"Kafka: poll raised {type(error).__name__}: {error}") from error
    return found


def _offsets_at(consumer: KafkaConsumer, at: int, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Each partition's first offset of a record of or after a time, microseconds UTC; its end where there is none."""
    found = consumer.offsets_for_times(dict.fromkeys(ends, max(0, -(-at // 1_000))))
    return {tp: end if found.get(tp) is None else found[tp].offset for tp, end in ends.items()}
