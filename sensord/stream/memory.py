"""A broker in memory, and a source that reads it: the double of Kafka for tests, simulation and the contract suite.

Deterministic: nothing happens but in calls, nothing waits.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from uuid import NAMESPACE_OID, uuid5

from sensord.errors import OffsetsLost, SourceFailed, Unreachable
from sensord.readings import Partition, Record
from sensord.stream.source import Batch, Bounds


@dataclass(slots=True)
class _Part:
    """One partition's log; an offset that no record has stands for a transaction marker or a compacted record."""

    records: list[Record] = field(default_factory=list)
    beginning: int = 0
    end: int = 0


class MemoryLog:
    """Topics with partitions, and the groups that read them."""

    def __init__(self) -> None:
        self.hints: dict[tuple[str, Partition], int] = {}  # what each group last hinted
        self._topics: dict[str, list[_Part]] = {}
        self._lives: dict[str, int] = {}
        self._groups: dict[str, list[MemorySource]] = {}
        self._members = 0

    def create(self, topic: str, partitions: int = 1) -> None:
        """Create a topic, or a new one in the place of one of the same name: empty, with a new id."""
        self._topics[topic] = [_Part() for _ in range(partitions)]
        self._lives[topic] = self._lives.get(topic, 0) + 1
        self._rebalance_all()

    def grow(self, topic: str, partitions: int) -> None:
        """Give a topic more partitions."""
        self._topics[topic] += [_Part() for _ in range(partitions - len(self._topics[topic]))]
        self._rebalance_all()

    def append(self, partition: Partition, value: bytes | None, key: bytes | None = None, timestamp_ms: int = 0) -> int:
        """Write one record; returns its offset."""
        part = self._part(partition)
        part.records.append(Record(part.end, timestamp_ms, key, value))
        part.end += 1
        return part.end - 1

    def skip(self, partition: Partition, offsets: int = 1) -> None:
        """Use offsets up without a record, as transaction markers do."""
        self._part(partition).end += offsets

    def expire(self, partition: Partition, before: int) -> None:
        """Lose the log's head, as retention does: the first offset is now `before`."""
        part = self._part(partition)
        part.records = [record for record in part.records if record.offset >= before]
        part.beginning = before
        part.end = max(part.end, before)

    def truncate(self, partition: Partition, end: int) -> None:
        """Lose the log's tail, as an unclean leader election does: the next offset is now `end`."""
        part = self._part(partition)
        part.records = [record for record in part.records if record.offset < end]
        part.end = end

    def partitions(self, topic: str) -> list[Partition]:
        """A topic's partitions. Raises Unreachable where there is no such topic."""
        if topic not in self._topics:
            raise Unreachable(f"topic {topic!r} does not exist")
        return [Partition(topic, number) for number in range(len(self._topics[topic]))]

    def bounds(self, partition: Partition) -> Bounds:
        part = self._part(partition)
        return Bounds(part.beginning, part.end)

    def topic_id(self, topic: str) -> str:
        return str(uuid5(NAMESPACE_OID, f"{topic} {self._lives.get(topic, 0)}"))

    def read(self, partition: Partition, offset: int, limit: int) -> tuple[list[Record], int]:
        """Up to limit records from this offset on, and the offset to go on from. Raises OffsetsLost."""
        part = self._part(partition)
        if not part.beginning <= offset <= part.end:
            raise OffsetsLost(f"{partition} has offsets {part.beginning} to {part.end}, and {offset} was asked for")
        first = bisect_left(part.records, offset, key=attrgetter("offset"))
        rest = part.records[first + limit : first + limit + 1]
        return part.records[first : first + limit], rest[0].offset if rest else part.end

    def name_member(self) -> str:
        """A name that no other member has or had."""
        self._members += 1
        return f"member-{self._members}"

    def join(self, source: "MemorySource") -> None:
        self._groups.setdefault(source.group, []).append(source)
        self._rebalance(self._groups[source.group])

    def leave(self, source: "MemorySource") -> None:
        members = self._groups.get(source.group, [])
        if source in members:
            members.remove(source)
            self._rebalance(members)

    def expel(self, source: "MemorySource") -> None:
        """Take a member for dead, as after a session time-out: it learns of it, and joins again, when it next polls."""
        self.leave(source)
        source.expelled()

    def _part(self, partition: Partition) -> _Part:
        self.partitions(partition.topic)
        return self._topics[partition.topic][partition.number]

    def _rebalance_all(self) -> None:
        for members in self._groups.values():
            self._rebalance(members)

    def _rebalance(self, members: "list[MemorySource]") -> None:
        """Share the partitions out: eager and sticky, as Kafka's StickyPartitionAssignor."""
        shares: dict[MemorySource, list[Partition]] = {member: [] for member in members}
        topics = sorted({topic for member in members for topic in member.topics if topic in self._topics})
        for topic in topics:
            takers = [member for member in members if topic in member.topics]
            partitions = self.partitions(topic)
            quota = -(-len(partitions) // len(takers))
            homeless = []
            for partition in partitions:
                owner = next((m for m in takers if partition in m.assigned and len(shares[m]) < quota), None)
                if owner is None:
                    homeless.append(partition)
                else:
                    shares[owner].append(partition)
            for partition in homeless:
                shares[min(takers, key=lambda member: len(shares[member]))].append(partition)
        for member, share in shares.items():
            member.take(share)


class MemorySource:
    """A member of a group on a MemoryLog. Implements Source; poll never waits.

    max_records: how many records one poll brings at most, of all partitions together.
    """

    def __init__(self, log: MemoryLog, topics: Sequence[str], group: str = "sensord", max_records: int = 5_000) -> None:
        for topic in topics:
            log.partitions(topic)
        self.topics = tuple(topics)
        self.group = group
        self.assigned: frozenset[Partition] = frozenset()
        self._log = log
        self._member = log.name_member()
        self._max_records = max_records
        self._told: set[Partition] = set()  # what the caller knows to be assigned
        self._revoked: set[Partition] = set()  # of those, what departed since
        self._positions: dict[Partition, int] = {}  # of started partitions
        self._paused = False
        self._expelled = False
        self._closed = False
        log.join(self)

    @property
    def member(self) -> str:
        return self._member

    def poll(self, timeout_s: float) -> Batch:
        if self._closed:
            raise SourceFailed("poll after close")
        if self._expelled:
            self._expelled = False
            self._log.join(self)
        departed = sorted(self._revoked)
        self._told -= self._revoked
        arrived = sorted(self.assigned - self._told)
        self._told |= self.assigned
        self._revoked.clear()
        return Batch(departed, arrived, {} if self._paused else self._read())

    def start(self, partition: Partition, offset: int) -> None:
        if partition in self.assigned and partition not in self._revoked:
            self._positions[partition] = offset

    def hold(self, partition: Partition) -> None:
        self._positions.pop(partition, None)

    def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, Bounds]:
        return {partition: self._log.bounds(partition) for partition in partitions}

    def topic_id(self, topic: str) -> str:
        self._log.partitions(topic)
        return self._log.topic_id(topic)

    def position(self, partition: Partition) -> int | None:
        return self._positions.get(partition)

    def end(self, partition: Partition) -> int | None:
        return self._log.bounds(partition).end if partition in self._positions else None

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def hint(self, offsets: Mapping[Partition, int]) -> None:
        for partition, offset in offsets.items():
            self._log.hints[self.group, partition] = offset

    def close(self) -> None:
        self._closed = True
        self._log.leave(self)

    def take(self, partitions: Sequence[Partition]) -> None:
        """The log's word: this is your share now. All that was held departs first, as in an eager rebalance."""
        self._revoked |= self._told
        self._positions.clear()
        self.assigned = frozenset(partitions)

    def expelled(self) -> None:
        """The log's word: you are no member any more."""
        self.take(())
        self._expelled = True

    def _read(self) -> dict[Partition, list[Record]]:
        records: dict[Partition, list[Record]] = {}
        room = self._max_records
        for partition in sorted(self._positions):
            found, self._positions[partition] = self._log.read(partition, self._positions[partition], room)
            if found:
                records[partition] = found
                room -= len(found)
        return records
