"""What the client must be told, or never told, because of what it does otherwise; each guard has its hazard."""

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest
from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.coordinator.consumer import ConsumerCoordinator
from kafka.errors import KafkaConnectionError, OffsetOutOfRangeError
from kafka.net.transport import KafkaTCPTransport

from sensord.errors import OffsetsLost, SourceFailed
from sensord.readings import Partition, Record
from sensord.settings import KafkaSettings
from sensord.stream.client import _received
from sensord.stream.cluster import client_config
from sensord.stream.kafka import FIRST_HELPING, HELPING, Helping, KafkaSource, _group_config, _Notes

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def config(session_s: float = 45.0, poll_limit_s: float = 60.0) -> dict[str, Any]:
    return client_config(KafkaSettings()) | _group_config(KafkaSettings(), session_s, poll_limit_s)


@pytest.mark.parametrize("session_s", [6.0, 45.0, 300.0])
def test_a_hung_broker_costs_no_cpu(session_s: float) -> None:
    """Where heartbeats come oftener than requests time out they pile up, at 100 % CPU and 12 MB a second."""
    told = config(session_s)
    assert told["request_timeout_ms"] <= told["heartbeat_interval_ms"] < told["session_timeout_ms"] / 3


@pytest.mark.parametrize(("session_s", "poll_limit_s", "told"), [(45.0, 60.0, 60_000), (45.0, 20.0, 45_000)])
def test_a_member_that_hangs_in_a_rebalance_holds_the_group_up_no_longer_than_its_watchdog_lets_it(
    session_s: float, poll_limit_s: float, told: int
) -> None:
    """Its heartbeats go on, and the client's default is five minutes; less than the session it may not be."""
    assert config(session_s, poll_limit_s)["max_poll_interval_ms"] == told


def test_nothing_is_skipped_or_repeated_behind_our_back() -> None:
    told = config()
    assert told["auto_offset_reset"] == "none"
    assert told["enable_auto_commit"] is False
    assert told["isolation_level"] == "read_committed"
    assert told["check_crcs"] is True


def test_the_client_decodes_nothing() -> None:
    """A deserializer that raises makes poll loop for ever."""
    assert not [name for name in config() if "deserializer" in name]


def test_there_are_no_static_members() -> None:
    """A fenced one keeps consuming."""
    assert "group_instance_id" not in config()


def test_the_assignor_is_the_eager_sticky_one() -> None:
    """The cooperative one keeps what it has lost."""
    assert config()["partition_assignment_strategy"] == [StickyPartitionAssignor]


@pytest.mark.parametrize(
    ("extra", "module"), [("crc32c", "crc32c"), ("lz4", "lz4"), ("zstd", "zstandard"), ("snappy", "snappy")]
)
def test_checksums_and_compression_are_installed_with_sensord(extra: str, module: str) -> None:
    """Without the C crc32c package batches parse four times slower; without a codec they don't parse at all."""
    required = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    [kafka] = [requirement for requirement in required if requirement.startswith("kafka-python[")]
    assert extra in kafka[kafka.index("[") + 1 : kafka.index("]")].split(",")
    assert importlib.util.find_spec(module)


# --- poll ------------------------------------------------------------------------------------------------------------


class Consumer:
    """A client that fails once; polled again it would loop for ever."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure
        self.polls = 0

    def poll(self, timeout_ms: int, max_records: int) -> dict[Any, Any]:
        self.polls += 1
        raise self.failure

    def beginning_offsets(self, asked: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(asked, 100)

    def end_offsets(self, asked: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(asked, 200)


class Nobody:
    """The client's network, with no broker to be reached."""

    def run(self, *what: Any, **options: Any) -> None:
        raise KafkaConnectionError("111 ECONNREFUSED")


def source(consumer: Consumer) -> KafkaSource:
    made = object.__new__(KafkaSource)
    made._servers, made._consumer = "broker:9092", consumer
    made._failed = made._closed = False
    made._helping = Helping(5_000)
    return made


@pytest.mark.parametrize("failure", [RuntimeError("CRC"), MemoryError(), KeyError("partition")], ids=repr)
def test_any_exception_of_poll_ends_the_source_and_it_is_never_polled_again(failure: Exception) -> None:
    consumer = Consumer(failure)
    failing = source(consumer)
    for _ in range(3):
        with pytest.raises(SourceFailed):
            failing.poll(0.1)
    assert consumer.polls == 1


def test_a_poll_brings_about_as_many_bytes_whatever_its_records_hold() -> None:
    """Five thousand arrays of fifty readings would be in memory at once, decoded, before the first is scored."""
    helping = Helping(5_000)
    assert helping.records == FIRST_HELPING
    for size, records in ((230, 5_000), (11_500, 182), (64 << 10, 32), (HELPING * 2, 1), (0, 5_000)):
        helping.had([[Record(0, 0, None, bytes(size))] * 100, []])
        assert helping.records == records
    helping.had([])
    assert helping.records == 5_000  # nothing came, nothing is known
    helping.had([[Record(0, 0, b"key", None)]])
    assert helping.records == 5_000


def test_a_poll_asks_for_no_more_than_that() -> None:
    class Brimming(Consumer):
        def poll(self, timeout_ms: int, max_records: int) -> dict[Any, list[Record]]:
            asked.append(max_records)
            return {TopicPartition("pumps", 0): [Record(0, 0, None, bytes(64 << 10))] * max_records}

    asked: list[int] = []
    consumer = Brimming(RuntimeError())
    brimming = source(consumer)
    brimming._notes, brimming._told, brimming._started = _Notes(consumer), set(), set()
    for _ in range(3):
        brimming.poll(0.01)
    assert asked == [FIRST_HELPING, 32, 32]


def test_a_search_that_finds_no_broker_is_begun_again() -> None:
    """The client lets the refused connection out; to poll again is all it needs, since it had not fetched yet."""
    coordinator = ConsumerCoordinator.__new__(ConsumerCoordinator)
    coordinator._net = coordinator._manager = Nobody()

    class Searching(Consumer):
        def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
            self.polls += 1
            if self.polls < 3:
                coordinator.ensure_coordinator_ready(timeout_ms=10)
            return {}

    consumer = Searching(RuntimeError())
    searching = source(consumer)
    searching._notes, searching._told, searching._started = _Notes(consumer), set(), set()
    assert [searching.poll(0.01).records for _ in range(4)] == [{}] * 4


def test_a_lost_connection_anywhere_else_ends_the_source() -> None:
    """A heartbeat that died with it would never be sent again."""
    with pytest.raises(SourceFailed, match="refused"):
        source(Consumer(KafkaConnectionError("refused"))).poll(0.01)


def test_an_offset_that_is_gone_needs_a_person() -> None:
    gone = OffsetOutOfRangeError({TopicPartition("pumps", 3): 1_524})
    with pytest.raises(OffsetsLost, match=r"offset 1524 of pumps\[3\], only 100 to 200; see --accept-gap"):
        source(Consumer(gone)).poll(0.1)
    with pytest.raises(OffsetsLost, match="--accept-gap"):
        source(Consumer(OffsetOutOfRangeError("gone"))).poll(0.1)


# --- the rebalance listener, which runs on the client's own thread ---------------------------------------------------


class Recorder:
    """A consumer that writes down what the listener asks of it; anything that blocks isn't there."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []

    def pause(self, tp: Any) -> None:
        self.asked.append(("pause", tp.topic, tp.partition))

    def seek(self, tp: Any, offset: int) -> None:
        self.asked.append(("seek", tp.topic, tp.partition))


def test_the_listener_only_pauses_seeks_and_notes() -> None:
    consumer = Recorder()
    notes = _Notes(consumer)
    here = TopicPartition("readings", 0)
    notes.on_partitions_assigned({here})
    assert consumer.asked == [("pause", "readings", 0), ("seek", "readings", 0)]
    notes.on_partitions_lost({here})
    assert notes.take() == ({Partition("readings", 0)}, set())
    assert type(notes).on_partitions_lost is not ConsumerRebalanceListener.on_partitions_lost


def test_a_connection_that_was_closed_while_it_was_waited_for_is_no_error_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """kafka-python reads from it all the same, and logs a traceback: who drains would look for what is wrong."""
    closed = object.__new__(KafkaTCPTransport)
    closed._sock, closed._closed = None, True
    data, error = _received(closed)
    assert (data, type(error)) == (b"", KafkaConnectionError)
    assert caplog.records == []
    assert type(closed)._sock_recv(closed)[0] == b"", "what it does by itself"
    assert "Error receiving network data" in caplog.text
