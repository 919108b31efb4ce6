"""Records a topic to a file, and replays files to a topic; what the commands of those names do."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sensord.clock import Clock, SystemClock
from sensord.errors import SensordError, Unreachable
from sensord.settings import KafkaSettings
from sensord.stream.cluster import DEFAULT_START_TIMEOUT_S, Cluster
from sensord.stream.files import FileOptions
from sensord.stream.publisher import Mark, last_marks, open_publisher
from sensord.stream.ranges import Report, read_range
from sensord.stream.recordings import create_recording
from sensord.stream.replay import Pace, Survey, identity, messages, shifted, survey

KEEP_ALL = -1
REPORT_EVERY = 500  # messages
DAY_MS = 86_400_000
WALL_CLOCK = SystemClock()


class Restamp(StrEnum):
    """Which reading is of now after re-stamping."""

    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How to replay.

    speed: times the recorded speed; None as fast as it goes. restamp: shift all times. resume: go on with the latest
    replay of the same files, with its shift. partitions: create the topic with so many if it doesn't exist, keeping
    records of any age. by_key: partition by key even where the recorded partition exists.
    """

    speed: float | None = None
    restamp: Restamp | None = None
    resume: bool = False
    partitions: int | None = None
    by_key: bool = False
    files: FileOptions | None = None
    timeout_s: float = DEFAULT_START_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was done: messages published now, and skipped because the topic has them from the replay resumed."""

    published: int
    skipped: int


def record(
    settings: KafkaSettings,
    topic: str,
    path: Path,
    since: int | None = None,
    until: int | None = None,
    report: Report = lambda done, of: None,
    *,
    since_offset: int | None = None,
    until_offset: int | None = None,
    follow: bool = False,
    timeout_s: float = DEFAULT_START_TIMEOUT_S,
) -> int:
    """Write a topic's range to a file, in the order that the broker sends it; returns how many records.

    The arguments are `read_range`'s. Interrupted from the keyboard it keeps what it has and returns. Raises
    Unreachable, OffsetsLost, OSError.
    """
    found = read_range(
        settings,
        topic,
        since,
        until,
        report,
        since_offset=since_offset,
        until_offset=until_offset,
        follow=follow,
        timeout_s=timeout_s,
    )
    written = 0
    with suppress(KeyboardInterrupt), create_recording(path) as recording:
        for partition, records in found:
            for one in records:
                recording.write(partition, one)
                written = recording.count
    return written


def replay(
    settings: KafkaSettings,
    topic: str,
    paths: Sequence[Path],
    options: ReplayOptions = ReplayOptions(),
    report: Report = lambda done, of: None,
    clock: Clock = WALL_CLOCK,
    sleep: Callable[[float], None] = time.sleep,
) -> Replayed:
    """Publish what files hold. Each message that the topic has from the replay resumed is skipped.

    Raises Unreachable, RecordingUnreadable, SensordError where the topic would drop the messages for their age.
    """
    known = survey(messages(paths, options.files))
    source = identity(paths)
    now_ms = clock.now() // 1_000
    shift_ms = _shift_ms(known, options.restamp, now_ms)
    partitions = _prepared(settings, topic, known.oldest_ms + shift_ms, options, now_ms)
    there = last_marks(settings, topic, partitions, source) if options.resume else {}
    for mark in there.values():
        now_ms, shift_ms = mark.run, mark.shift_ms
    pace = None if options.speed is None else Pace(options.speed, clock, sleep)
    published = 0
    with open_publisher(settings, topic, partitions, options.timeout_s) as publisher:
        for number, found in enumerate(messages(paths, options.files)):
            partition = publisher.partition(found.key, None if options.by_key else found.partition, number)
            if partition in there and number <= there[partition].number:
                continue
            if pace is not None:
                pace.wait_for(found.timestamp_ms)
            message = shifted(found, shift_ms, clock.now() // 1_000) if shift_ms else found
            publisher.send(partition, message, Mark(source, now_ms, number, shift_ms))
            published += 1
            if number % REPORT_EVERY == 0:
                report(number, known.count)
    report(known.count, known.count)
    return Replayed(published, known.count - published)


def _shift_ms(known: Survey, restamp: Restamp | None, now_ms: int) -> int:
    match restamp:
        case None:
            return 0
        case Restamp.FIRST:
            return now_ms - known.first_ms
        case Restamp.LAST:
            return now_ms - known.last_ms


def _prepared(settings: KafkaSettings, topic: str, oldest_ms: int, options: ReplayOptions, now_ms: int) -> int:
    """The topic, created where that was asked for: its number of partitions. Raises Unreachable, SensordError."""
    with Cluster(settings, options.timeout_s) as cluster:
        if options.partitions is not None:
            cluster.create(topic, options.partitions, KEEP_ALL)
        found = cluster.topic(topic)
        if found is None:
            raise Unreachable(
                f"Kafka at {settings.bootstrap_servers} has no topic {topic}; --partitions creates one that keeps all"
            )
        kept_ms = cluster.retention_ms(topic)
    if kept_ms is not None and oldest_ms < now_ms - kept_ms:
        raise SensordError(
            f"topic {topic} drops records older than {kept_ms / DAY_MS:.1f} days, and these go back "
            f"{(now_ms - oldest_ms) / DAY_MS:.1f}: re-stamp them, or set the topic's retention.ms to -1, or let "
            "--partitions create a topic that keeps them"
        )
    return found.partitions
