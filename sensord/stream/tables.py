"""Recorded readings as columns, one table a device; cut from chunks that the readers of each file form yield."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sensord.errors import RecordingUnreadable
from sensord.readings import Floats, Integers
from sensord.stream.stamps import TimeUnit


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

    Raises RecordingUnreadable when there is no reading, or none with a channel.
    """
    kept = [chunk for chunk in chunks if len(chunk.at)]
    channels = tuple(dict.fromkeys(channel for chunk in kept for channel in chunk.channels))
    if not kept:
        raise RecordingUnreadable(f"{path}: holds no readings")
    if not channels:
        raise RecordingUnreadable(f"{path}: no numeric channel; name them with --channels")
    at = np.concatenate([chunk.at for chunk in kept])
    values = np.concatenate([_widened(chunk, channels) for chunk in kept])
    lines = np.concatenate([chunk.lines for chunk in kept])
    return [
        Table(device_id, channels, at[rows], values[rows], lines[rows], path) for device_id, rows in _by_device(kept)
    ]


def _widened(chunk: Chunk, channels: tuple[str, ...]) -> Floats:
    if chunk.channels == channels:
        return chunk.values
    wide = np.full((len(chunk.at), len(channels)), np.nan, np.float32)
    wide[:, [channels.index(channel) for channel in chunk.channels]] = chunk.values
    return wide


def _by_device(chunks: list[Chunk]) -> Iterator[tuple[str, Integers]]:
    """Each device and its rows, over all chunks, in order of appearance."""
    numbers: dict[str, int] = {}
    slots = np.array(
        [numbers.setdefault(device_id, len(numbers)) for chunk in chunks for device_id in chunk.device_ids], np.int64
    )
    order = np.argsort(slots, kind="stable")
    bounds = np.searchsorted(slots[order], np.arange(1, len(numbers)))
    yield from zip(numbers, np.split(order, bounds), strict=True)
