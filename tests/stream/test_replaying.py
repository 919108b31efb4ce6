"""Recording a topic and replaying files to one, over a real broker."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from sensord.clock import SystemClock
from sensord.errors import SensordError, Unreachable
from sensord.readings import Partition, RawRecord, Record
from sensord.settings import KafkaSettings
from sensord.stream.cluster import Cluster
from sensord.stream.ranges import read_range
from sensord.stream.recordings import create_recording, read_recording
from sensord.stream.replaying import Replayed, ReplayOptions, Restamp, record, replay
from tests.builders import plain

pytestmark = pytest.mark.kafka

NOW_MS = SystemClock().now() // 1_000
DAY_MS = 86_400_000


@pytest.fixture
def settings(kafka: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=kafka)


@pytest.fixture
def fresh() -> str:
    return f"replay-{uuid4().hex[:8]}"


def recording(path: Path, count: int = 40, partitions: int = 2, at_ms: int = NOW_MS) -> list[tuple[Partition, Record]]:
    """Records of keys that aren't where their hash would put them, a poison among them."""
    made = []
    for n in range(count):
        value = b"\xff" if n == 7 else json.dumps({"timestamp": at_ms + n, "values": {"flow": n}}).encode()
        made.append(
            (Partition("origin", n % partitions), Record(n // partitions, at_ms + n, b"pump-%d" % (n % 4), value))
        )
    with create_recording(path) as out:
        for partition, one in made:
            out.write(partition, one)
    return made


def read(settings: KafkaSettings, topic: str) -> dict[int, list[Record]]:
    return by_number(read_range(settings, topic))


def by_number(batches: Iterable[tuple[Partition, Sequence[RawRecord]]]) -> dict[int, list[Record]]:
    found: dict[int, list[Record]] = {}
    for partition, records in batches:
        found.setdefault(partition.number, []).extend(map(plain, records))
    return found


def contents(found: dict[int, list[Record]]) -> dict[int, list[tuple[int, bytes | None, bytes | None]]]:
    return {number: [(one.timestamp, one.key, one.value) for one in records] for number, records in found.items()}


class KilledError(Exception):
    pass


def interrupt_after(times: int) -> Callable[[float], None]:
    """A sleep that ends the replay, as a kill does."""
    left = iter(range(times))

    def sleep(seconds: float) -> None:
        if next(left, None) is None:
            raise KilledError

    return sleep


def test_a_topic_recorded_and_replayed_is_the_same(settings: KafkaSettings, fresh: str, tmp_path: Path) -> None:
    made = recording(tmp_path / "in.jsonl")
    assert replay(settings, fresh, [tmp_path / "in.jsonl"], ReplayOptions(partitions=2)) == Replayed(40, 0)
    progress: list[tuple[int, int]] = []
    count = record(settings, fresh, tmp_path / "out.jsonl.zst", report=lambda done, of: progress.append((done, of)))
    assert count == 40
    assert progress[-1] == (40, 40)
    back = sorted(read_recording(tmp_path / "out.jsonl.zst"), key=lambda one: one[1].timestamp)
    assert [(partition.number, one) for partition, one in back] == [(partition.number, one) for partition, one in made]


def test_a_recording_too_wide_for_the_topic_keeps_each_keys_order(
    settings: KafkaSettings, fresh: str, tmp_path: Path
) -> None:
    recording(tmp_path / "in.jsonl", partitions=4)
    replay(settings, fresh, [tmp_path / "in.jsonl"], ReplayOptions(partitions=3))
    for records in read(settings, fresh).values():
        for key in {one.key for one in records}:
            stamps = [one.timestamp for one in records if one.key == key]
            assert len(stamps) == 10
            assert stamps == sorted(stamps)


def test_a_resumed_replay_repeats_and_omits_nothing(settings: KafkaSettings, fresh: str, tmp_path: Path) -> None:
    paths = [tmp_path / "in.jsonl"]
    recording(paths[0])
    whole, broken = f"{fresh}-whole", f"{fresh}-broken"
    replay(settings, whole, paths, ReplayOptions(partitions=2))
    with pytest.raises(KilledError):
        replay(settings, broken, paths, ReplayOptions(speed=1e-3, partitions=2), sleep=interrupt_after(17))
    once = replay(settings, broken, paths, ReplayOptions(resume=True))
    assert once.published + once.skipped == 40
    assert once.skipped == sum(map(len, read(settings, broken).values())) - once.published
    assert contents(read(settings, broken)) == contents(read(settings, whole))
    assert replay(settings, broken, paths, ReplayOptions(resume=True)) == Replayed(0, 40)
    assert replay(settings, broken, paths) == Replayed(40, 0)  # without --resume it begins anew


def test_a_resumed_replay_keeps_its_shift(settings: KafkaSettings, fresh: str, tmp_path: Path) -> None:
    paths = [tmp_path / "in.jsonl"]
    recording(paths[0], at_ms=NOW_MS - 10 * DAY_MS)
    options = ReplayOptions(speed=1e-3, restamp=Restamp.LAST, partitions=1, by_key=True)
    with pytest.raises(KilledError):
        replay(settings, fresh, paths, options, sleep=interrupt_after(10))
    done = replay(settings, fresh, paths, ReplayOptions(restamp=Restamp.LAST, resume=True))
    assert done.published + done.skipped == 40
    (records,) = read(settings, fresh).values()
    stamps = [json.loads(one.value or b"")["timestamp"] for one in records if one.value != b"\xff"]
    assert [stamp - stamps[0] for stamp in stamps] == [n for n in range(40) if n != 7]
    assert NOW_MS - 60_000 < stamps[-1] <= SystemClock().now() // 1_000


def test_a_range_is_cut_by_time_and_by_offset(settings: KafkaSettings, fresh: str, tmp_path: Path) -> None:
    recording(tmp_path / "in.jsonl")
    replay(settings, fresh, [tmp_path / "in.jsonl"], ReplayOptions(partitions=2))
    by_time = by_number(read_range(settings, fresh, (NOW_MS + 5) * 1_000, (NOW_MS + 9) * 1_000))
    stamps = [one.timestamp - NOW_MS for records in by_time.values() for one in records]
    assert sorted(stamps) == [5, 6, 7, 8]
    by_offset = by_number(read_range(settings, fresh, since_offset=18, until_offset=100))
    assert {number: [one.offset for one in records] for number, records in by_offset.items()} == {
        0: [18, 19],
        1: [18, 19],
    }
    assert by_number(read_range(settings, fresh, since=(NOW_MS + DAY_MS) * 1_000)) == {}


def test_messages_older_than_the_topic_keeps_are_refused(settings: KafkaSettings, fresh: str, tmp_path: Path) -> None:
    recording(tmp_path / "in.jsonl", at_ms=NOW_MS - 10 * DAY_MS)
    with Cluster(settings) as cluster:
        cluster.create(fresh, 1, retention_ms=7 * DAY_MS)
    with pytest.raises(SensordError, match=r"older than 7\.0 days, and these go back 10\.0"):
        replay(settings, fresh, [tmp_path / "in.jsonl"])
    assert replay(settings, fresh, [tmp_path / "in.jsonl"], ReplayOptions(restamp=Restamp.LAST)).published == 40


def test_a_topic_that_does_not_exist_is_named(settings: KafkaSettings, fresh: str, tmp_path: Path) -> None:
    recording(tmp_path / "in.jsonl")
    with pytest.raises(Unreachable, match=fresh):
        replay(settings, fresh, [tmp_path / "in.jsonl"])
    with pytest.raises(Unreachable, match=fresh):
        record(settings, fresh, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
