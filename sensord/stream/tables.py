"""Recorded readings as columns, one table a device; cut from chunks that the readers of each file form yield."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sensord.errors import RecordingUnreadable
from sensord.readings import Floats, Integers
from sensord.spill import Column, empty
from sensord.stream.stamps import TimeUnit

ROWS = 1 << 16  # put in order at a time


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How recorded files are to be read.

    device_column: else the column device_id, else a file holds one device, named by the file. time_column: else the
    first of the usual names. time_unit: of a number in it; see `stamps`. channels: else every numeric column that has
    a name and is neither device nor time nor in ignore. column_names: for files without a header. Files of JSON
    messages know their devices and times: of all this they take channels and ignore.
    """

    device_column: str | None = None
    time_column: str | None = None
    time_unit: TimeUnit | None = None
    channels: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    column_names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What one file holds of one device, in the file's order.

    at: (n,) microseconds UTC. values: (n, channels) float32, NaN where absent. lines: (n,) line of the file that each
    reading comes from, from 1.
    """

    device_id: str
    channels: tuple[str, ...]
    at: Integers
    values: Floats
    lines: Integers
    path: Path

    def __len__(self) -> int:
        return len(self.at)


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Some rows of a file, of any devices; columns as in Table."""

    device_ids: Sequence[str]
    channels: tuple[str, ...]
    at: Integers
    values: Floats
    lines: Integers


def tables(path: Path, chunks: Iterable[Chunk]) -> list[Table]:
    """One table a device, in order of appearance. A channel that a chunk lacks is absent there.

    Raises RecordingUnreadable when there is no reading, or none with a channel; SpillFull.
    """
    pile = Pile()
    for chunk in chunks:
        pile.add(chunk)
    if not len(pile):
        raise RecordingUnreadable(f"{path}: holds no readings")
    if not pile.channels:
        raise RecordingUnreadable(f"{path}: no numeric channel; name them with --channels")
    return [Table(device_id, pile.channels, *columns, path) for device_id, columns in pile.by_device()]


class Pile:
    """Rows of all devices as they come, which may be more than memory holds; then by device."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}  # of devices, in order of appearance
        self._widths: list[tuple[tuple[str, ...], int]] = []  # channels of so many rows in succession
        self._slots, self._at, self._lines = Column(np.int64), Column(np.int64), Column(np.int64)
        self._values = Column(np.float32)

    def __len__(self) -> int:
        return sum(rows for _, rows in self._widths)

    @property
    def channels(self) -> tuple[str, ...]:
        """All that some row has, in order of appearance."""
        return tuple(dict.fromkeys(channel for channels, _ in self._widths for channel in channels))

    def add(self, chunk: Chunk) -> None:
        """Raises SpillFull."""
        if not len(chunk.at):
            return
        numbers = self._numbers
        self._slots.append(np.array([numbers.setdefault(name, len(numbers)) for name in chunk.device_ids], np.int64))
        self._at.append(chunk.at)
        self._lines.append(chunk.lines)
        self._values.append(chunk.values)
        before = self._widths.pop() if self._widths and self._widths[-1][0] == chunk.channels else (chunk.channels, 0)
        self._widths.append((chunk.channels, before[1] + len(chunk.at)))

    def by_device(self) -> Iterator[tuple[str, tuple[Integers, Floats, Integers]]]:
        """Each device with at, values and lines as in `Table`; the pile is empty then. Raises SpillFull.

        A counting sort: how many rows a device has tells where they go, and they are taken there a stretch at a time.
        """
        slots, devices, channels = self._slots.array(), len(self._numbers), self.channels
        counts = np.zeros(devices, np.int64)
        for first in range(0, len(slots), ROWS):
            counts += np.bincount(slots[first : first + ROWS], minlength=devices)
        at, lines = empty((len(slots),), np.int64), empty((len(slots),), np.int64)
        values = empty((len(slots), len(channels)), np.float32)
        free = np.cumsum(counts) - counts
        sources = slots, self._at.array(), self._lines.array()
        for columns, measured in _stretches(sources, self._values.array(), self._widths, channels):
            order = np.argsort(columns[0], kind="stable")
            slot = columns[0][order]
            places = free[slot] + np.arange(len(slot)) - np.searchsorted(slot, slot)
            at[places], lines[places], values[places] = columns[1][order], columns[2][order], measured[order]
            free += np.bincount(slot, minlength=devices)
        bounds = np.cumsum(counts)
        for name, first, last in zip(self._numbers, (bounds - counts).tolist(), bounds.tolist(), strict=True):
            yield name, (at[first:last], values[first:last], lines[first:last])


def _stretches(
    columns: tuple[Integers, ...],
    values: Floats,
    widths: Sequence[tuple[tuple[str, ...], int]],
    channels: tuple[str, ...],
) -> Iterator[tuple[tuple[Integers, ...], Floats]]:
    """The rows in their order, `ROWS` at a time at most, with all channels. values: flat, each as wide as it came."""
    row = place = 0
    for own, count in widths:
        for first in range(0, count, ROWS):
            rows = min(ROWS, count - first)
            narrow = values[place : place + rows * len(own)].reshape(rows, len(own))
            yield tuple(column[row : row + rows] for column in columns), _widened(narrow, own, channels)
            row, place = row + rows, place + narrow.size


def _widened(values: Floats, own: tuple[str, ...], channels: tuple[str, ...]) -> Floats:
    if own == channels:
        return values
    wide = np.full((len(values), len(channels)), np.nan, np.float32)
    wide[:, [channels.index(channel) for channel in own]] = values
    return wide
