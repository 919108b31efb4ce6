"""The words everyone speaks: partitions, records, readings as columns, and waves cut from them.

Written by `stream`, consumed by `detection`; `store` and `daemon` pass them along.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NewType, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Microseconds = NewType("Microseconds", int)  # since the epoch, UTC


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One partition of one topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


class RawRecord(Protocol):
    """One Kafka record as it came: bytes, not yet decoded. timestamp: milliseconds since the epoch, UTC.

    The client's own records are ones, as they are: to copy each would cost as much as to decode it.
    """

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


def parts(records: Sequence[RawRecord], most_bytes: int) -> Iterator[Sequence[RawRecord]]:
    """Consecutive records in parts whose values have about so many bytes together, each of one record at least."""
    first = size = 0
    for number, record in enumerate(records):
        size += len(record.value or b"")
        if size >= most_bytes:
            yield records[first : number + 1]
            first, size = number + 1, 0
    if first < len(records):
        yield records[first:]


@dataclass(frozen=True, slots=True)
class Record:
    """A raw record that comes from elsewhere: memory, files."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record, or one reading of it, that could not become a reading.

    reason is one of a small fixed set (it labels a metric); detail says what was wrong in words. position counts the
    readings inside one record, from 0. payload is what came, cut to `PAYLOAD_LIMIT` bytes.
    """

    partition: Partition
    offset: int
    position: int
    reason: str
    detail: str
    key: bytes | None
    payload: bytes
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings of one partition as columns, in partition order; row i of every column is one reading.

    device_ids: n names. at: (n,) event time, microseconds UTC. values: (n, channels) float32 in the fleet's channel
    order, NaN where absent. offsets: (n,), rising; equal for readings that share a record. places: (n,) of each reading
    within its record, from 0; None: all of each record's are here, in their order.
    """

    partition: Partition
    device_ids: list[str]
    at: Integers
    values: Floats
    offsets: Integers
    places: Integers | None = None

    @classmethod
    def none(cls, partition: Partition, channels: int) -> Self:
        """No readings."""
        nothing = np.zeros(0, np.int64)
        return cls(partition, [], nothing, np.zeros((0, channels), np.float32), nothing, nothing)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """One after another; of one partition."""
        return cls(
            parts[0].partition,
            [name for part in parts for name in part.device_ids],
            np.concatenate([part.at for part in parts]),
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.offsets for part in parts]),
            np.concatenate([part.positions for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.device_ids)

    @property
    def positions(self) -> Integers:
        """Place of each reading within its record, from 0: (n,)."""
        return occurrence(self.offsets) if self.places is None else self.places

    def pick(self, rows: Integers) -> Self:
        """These rows, in this order."""
        names = [self.device_ids[row] for row in rows.tolist()]
        columns = self.at[rows], self.values[rows], self.offsets[rows], self.positions[rows]
        return type(self)(self.partition, names, *columns)

    def before(self, offset: int) -> Self:
        """The readings below an offset."""
        return self._cut(0, int(np.searchsorted(self.offsets, offset)))

    def since(self, offset: int) -> Self:
        """The readings at or above an offset."""
        return self._cut(int(np.searchsorted(self.offsets, offset)), len(self))

    def _cut(self, start: int, stop: int) -> Self:
        rows = slice(start, stop)
        places = None if self.places is None else self.places[rows]
        columns = self.at[rows], self.values[rows], self.offsets[rows], places
        return type(self)(self.partition, self.device_ids[rows], *columns)


def occurrence(keys: Integers) -> Integers:
    """How many times each key came before in the same column: (n,)."""
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if len(keys) else np.zeros(0, np.int64)
    lengths = np.diff(np.r_[starts, len(keys)])
    counts = np.empty(len(keys), np.int64)
    counts[order] = np.arange(len(keys)) - np.repeat(starts, lengths)
    return counts


def waves(slots: Integers) -> list[Integers]:
    """Cut a batch into waves: row numbers with each slot at most once a wave and every slot's rows in order.

    slots: (n,) the device of each row.
    """
    turn = occurrence(slots)
    order = np.argsort(turn, kind="stable")
    bounds = np.flatnonzero(np.r_[True, np.diff(turn[order]) > 0]) if len(slots) else np.zeros(0, np.int64)
    return np.split(order, bounds[1:]) if len(slots) else []
