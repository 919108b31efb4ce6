"""Tapes: recorded readings of each device, as they came, for `backtest`; from files or a stretch of a topic.

Nothing is put in order and nothing is dropped here: scoring does with late and repeated readings what it does live.
Readings lie in temporary files, as everything that `stream` reads.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sensord.errors import RecordingUnreadable
from sensord.model.bundle import Bundle
from sensord.readings import Floats, Integers, Partition, RawRecord, Readings
from sensord.stream.decoders import Decoder
from sensord.stream.tables import Chunk, Pile, Table
from sensord.trainer.decoded import decoded

RECORDING = Partition("recording", 0)  # where readings of files come from
ROWS_AT_ONCE = 1 << 14


@dataclass(frozen=True, slots=True)
class Span:
    """Which readings: since <= at < until, microseconds UTC of event time."""

    since: int = np.iinfo(np.int64).min
    until: int = np.iinfo(np.int64).max


EVER = Span()


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Readings of one device in a row. channels: of values (n, channels), NaN where absent; at (n,) microseconds UTC.

    offsets (n,): by which alerts name readings. source: what a message calls it.
    """

    channels: tuple[str, ...]
    at: Integers
    values: Floats
    offsets: Integers | range
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class Tape:
    """All readings of one device in one place, in the order in which they came."""

    partition: Partition
    device_id: str
    stretches: tuple[Stretch, ...]

    def __len__(self) -> int:
        return sum(len(stretch.at) for stretch in self.stretches)

    def readings(self, bundle: Bundle, span: Span) -> Iterator[Readings]:
        """With the bundle's channels, a batch at a time, empty where none is in the span."""
        for stretch in self.stretches:
            columns = _columns(stretch, bundle)
            for first in range(0, len(stretch.at), ROWS_AT_ONCE):
                rows = slice(first, first + ROWS_AT_ONCE)
                at = np.asarray(stretch.at[rows])
                wanted = np.flatnonzero((at >= span.since) & (at < span.until))
                offsets = np.asarray(stretch.offsets[rows], np.int64)[wanted]
                values = stretch.values[rows][wanted][:, columns]
                yield Readings(self.partition, [self.device_id] * len(wanted), at[wanted], values, offsets)


def from_tables(tables: Iterable[Table]) -> list[Tape]:
    """From recorded files: a device's files by their first reading. Offsets count a device's readings, from 0."""
    of_device: dict[str, list[Table]] = defaultdict(list)
    for table in tables:
        of_device[table.device_id].append(table)
    return [Tape(RECORDING, name, tuple(_numbered(parts))) for name, parts in sorted(of_device.items())]


def from_records(
    decoder: Decoder, batches: Iterable[tuple[Partition, Sequence[RawRecord]]], channels: Sequence[str], span: int = 0
) -> tuple[list[Tape], list[str]]:
    """From a topic: batches of records, each partition's by rising offset; and what was refused, a sentence a reason.

    channels: the decoder's. span: see `align`, microseconds.
    """
    piles: dict[Partition, Pile] = defaultdict(Pile)
    refused: Counter[str] = Counter()
    for partition, found in decoded(decoder, batches, len(channels), span, refused):
        piles[partition].add(Chunk(found.device_ids, tuple(channels), found.at, found.values, found.offsets))
    tapes = [
        Tape(partition, name, (Stretch(pile.channels, at, values, offsets, str(partition)),))
        for partition, pile in sorted(piles.items())
        if len(pile)
        for name, (at, values, offsets) in pile.by_device()
    ]
    return tapes, [f"{count} readings or records refused as {reason}" for reason, count in sorted(refused.items())]


def _numbered(tables: list[Table]) -> Iterator[Stretch]:
    first = 0
    for table in sorted(tables, key=lambda table: int(table.at[0])):
        offsets = range(first, first + len(table))
        yield Stretch(table.channels, table.at, table.values, offsets, str(table.path))
        first += len(table)


def _columns(stretch: Stretch, bundle: Bundle) -> list[int]:
    """Where the bundle's channels are. Raises RecordingUnreadable."""
    missing = [name for name in bundle.channels if name not in stretch.channels]
    if missing:
        raise RecordingUnreadable(
            f"{stretch.source}: channel {missing[0]!r} is missing, which {bundle.id} expects; it has "
            f"{', '.join(stretch.channels)}"
        )
    return [stretch.channels.index(name) for name in bundle.channels]
