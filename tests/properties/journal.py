"""What the database has taken in, as a list: written at every successful transaction, read again by the oracle.

The list itself has to keep two promises, and says so at once when one is broken: each partition's commits are one chain
without gap or overlap, and nothing comes under an epoch that a later claim has superseded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from sensord.readings import Partition, RawRecord


@dataclass(frozen=True, slots=True)
class Amendment:
    """What a daemon did to its state at an offset without a record: take alerts for normal, forget devices, change the
    bundle, then change what is scored beside."""

    offset: int
    accepted: frozenset[UUID]
    evicted: frozenset[str]
    model_id: str
    shadow_id: str | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A partition was taken over."""

    partition: Partition
    epoch: int


@dataclass(frozen=True, slots=True)
class Commit:
    """A checkpoint. records: all that the log held between its two offsets; model_id, shadow_id: of its snapshot, if it
    is one.

    topic_id: of the topic whose log it was, whatever the daemon believes.
    """

    partition: Partition
    epoch: int
    previous: int | None
    next: int
    topic_id: str
    records: Sequence[RawRecord]
    amendments: Sequence[Amendment]
    model_id: str | None
    shadow_id: str | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A snapshot of what was committed up to an offset, beside the commits."""

    partition: Partition
    epoch: int
    offset: int


@dataclass(frozen=True, slots=True)
class GapAccepted:
    """Readings were given up."""

    partition: Partition
    epoch: int
    start: int | None
    end: int
    reason: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A person called an alert normal. at: wall time, microseconds."""

    alert_id: UUID
    at: int


Entry: TypeAlias = Claimed | Commit | Stored | GapAccepted | Accepted


@dataclass
class Journal:
    """Entries in the order of their transactions. A database that is put back takes its journal back too."""

    entries: list[Entry] = field(default_factory=list)

    def write(self, entry: Entry) -> None:
        """Add an entry. Raises AssertionError where it breaks the chain or comes under an old epoch."""
        if isinstance(entry, Commit | Stored | GapAccepted):
            newest = self.claimed(entry.partition)
            assert entry.epoch >= newest, f"superseded epoch {entry.epoch}, now {newest}: {entry}"
        if isinstance(entry, Commit | GapAccepted):
            start = entry.previous if isinstance(entry, Commit) else entry.start
            end = self.end(entry.partition)
            assert start == end, f"the chain of commits ends at {end}, this one starts at {start}: {entry}"
        self.entries.append(entry)

    def claimed(self, partition: Partition) -> int:
        """The epoch of the latest claim; whatever comes under a lower one was superseded by it."""
        claims = [e.epoch for e in self.entries if isinstance(e, Claimed) and e.partition == partition]
        return claims[-1] if claims else 0

    def end(self, partition: Partition) -> int | None:
        """Where the chain of commits ends; None where nothing was committed."""
        for entry in reversed(self.entries):
            match entry:
                case Commit(partition=where, next=end) | GapAccepted(partition=where, end=end) if where == partition:
                    return end
        return None
