"""Where records come from: one contract for Kafka, memory and files. Driven by `daemon` from one thread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sensord.readings import Partition, RawRecord


@dataclass(frozen=True, slots=True)
class Batch:
    """What one poll brought.

    departed and arrived: assignment changes, in that order. records: per partition, by rising offset, of started
    partitions only.
    """

    departed: Sequence[Partition] = ()
    arrived: Sequence[Partition] = ()
    records: Mapping[Partition, Sequence[RawRecord]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bounds:
    """A partition's log: first offset that exists, and the next one to be written."""

    beginning: int
    end: int


class Source(Protocol):
    """A member of a consumer group, or something that behaves like one."""

    @property
    def member(self) -> str:
        """This member's name within its group, "" before the group has given it its share of the partitions."""
        ...

    def poll(self, timeout_s: float) -> Batch:
        """Wait up to timeout_s for records or assignment changes.

        Raises OffsetsLost when the log no longer holds a position, SourceFailed for all else; never poll again then.
        """
        ...

    def start(self, partition: Partition, offset: int) -> None:
        """Deliver an arrived partition from this offset on. Arrived partitions deliver nothing before it.

        Does nothing for a partition that has left in the meantime: the next poll says so.
        """
        ...

    def hold(self, partition: Partition) -> None:
        """Deliver nothing more of one partition until it is started again; it stays assigned."""
        ...

    def bounds(self, partitions: Sequence[Partition]) -> Mapping[Partition, Bounds]:
        """The bounds of each partition's log now. Raises Unreachable."""
        ...

    def topic_id(self, topic: str) -> str:
        """The topic's id, "" where the broker has none. Raises Unreachable."""
        ...

    def position(self, partition: Partition) -> int | None:
        """Next offset that would be fetched; passes transaction markers and compacted records."""
        ...

    def end(self, partition: Partition) -> int | None:
        """Offset after the last record, as of the latest records that came; None where none has come yet."""
        ...

    def pause(self) -> None:
        """Deliver nothing more; polling goes on so that the membership lives."""
        ...

    def resume(self) -> None:
        """Undo pause."""
        ...

    def hint(self, offsets: Mapping[Partition, int]) -> None:
        """Tell the broker where we are, for lag monitors; asynchronous, never read back."""
        ...

    def close(self) -> None:
        """Leave the group and close; idempotent."""
        ...
