import pytest

from sensord.errors import OffsetsLost
from sensord.readings import Partition
from sensord.stream.memory import MemoryLog, MemorySource
from sensord.stream.source import Bounds

PARTITION = Partition("readings", 0)


def log_with(records: int, partitions: int = 1) -> MemoryLog:
    log = MemoryLog()
    log.create("readings", partitions)
    for number in range(records):
        log.append(PARTITION, str(number).encode())
    return log


def offsets(source: MemorySource) -> list[int]:
    return [record.offset for record in source.poll(0).records.get(PARTITION, ())]


def started(log: MemoryLog, offset: int, max_records: int = 5_000) -> MemorySource:
    source = MemorySource(log, ["readings"], max_records=max_records)
    source.poll(0)
    source.start(PARTITION, offset)
    return source


def test_a_poll_brings_at_most_so_many_records() -> None:
    source = started(log_with(5), 0, max_records=2)
    assert [offsets(source) for _ in range(4)] == [[0, 1], [2, 3], [4], []]


def test_the_position_passes_offsets_without_records() -> None:
    log = log_with(1)
    log.skip(PARTITION, 3)
    source = started(log, 0)
    assert offsets(source) == [0]
    assert source.position(PARTITION) == 4


def test_expired_and_truncated_logs_end_the_source() -> None:
    log = log_with(5)
    log.expire(PARTITION, 3)
    assert log.bounds(PARTITION) == Bounds(3, 5)
    with pytest.raises(OffsetsLost):
        offsets(started(log, 2))
    log = log_with(5)
    log.truncate(PARTITION, 4)
    with pytest.raises(OffsetsLost):
        offsets(started(log, 5))


def test_an_expelled_member_hears_of_it_at_its_next_poll_and_joins_again() -> None:
    log = log_with(1)
    source = started(log, 0)
    log.expel(source)
    other = MemorySource(log, ["readings"])
    assert other.poll(0).arrived == [PARTITION]
    batch = source.poll(0)
    assert (batch.departed, batch.arrived, batch.records) == ([PARTITION], [], {})
    other.close()
    assert source.poll(0).arrived == [PARTITION]


def test_new_partitions_arrive_and_the_old_ones_depart_and_come_again() -> None:
    log = log_with(1)
    source = started(log, 0)
    log.grow("readings", 2)
    batch = source.poll(0)
    assert batch.departed == [PARTITION]
    assert batch.arrived == [PARTITION, Partition("readings", 1)]
    assert batch.records == {}


def test_a_second_group_reads_the_same_log_for_itself() -> None:
    log = log_with(2)
    first, second = MemorySource(log, ["readings"]), MemorySource(log, ["readings"], group="other")
    assert first.poll(0).arrived == second.poll(0).arrived == [PARTITION]
