"""Points into readings: what is the same in every format. Used by `decoder`, with a parser of each format's own."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from sensord.clock import MICROSECONDS
from sensord.readings import DeadLetter, Partition, RawRecord, Readings
from sensord.stream.dead_letters import (
    DETAIL_LIMIT,
    KEY_LIMIT,
    LETTERS_LIMIT,
    VALUE_LIMIT,
    Reason,
    Refusal,
    check_device_id,
    dead_letter,
)
from sensord.stream.decoders import Decoded, NoGlossary
from sensord.stream.formats.times import EARLIEST, LATEST, microseconds

MOST_F32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Point:
    """What a record says of one device at one time. device: None: the record's key says it. time: as it was written;
    None: the record's time stamp. values: by channel, as they were written. part: its bytes, for a dead letter. wrong:
    why it could not be read, though others of its record can."""

    device: str | None
    time: object
    values: Mapping[str, object]
    part: bytes
    wrong: Refusal | None = None


T = TypeVar("T")


def each(parts: Iterable[T], read: Callable[[T], "Point"], spell: Callable[[T], bytes]) -> Iterator["Point"]:
    """A point of each part of a record; of one that can't be read, what is wrong with it. spell: a part's bytes."""
    for part in parts:
        try:
            yield read(part)
        except Refusal as refusal:
            yield Point(None, None, {}, spell(part), refusal)


Parser = Callable[[RawRecord, bytes], Iterable[Point]]  # of a record and its value; raises Refusal for all of it


@dataclass(frozen=True, slots=True)
class Terms:
    """How points are read. time_unit: of a number. rename: their names of channels to ours. refuse_unknown: a channel
    that isn't ours makes a point a dead letter; else it is left out."""

    time_unit: str = "ms"
    rename: Mapping[str, str] = field(default_factory=dict)
    refuse_unknown: bool = False


class PointDecoder:
    """A decoder made of a parser. Implements Decoder.

    max_future_s: how far event time may run ahead of the record's time stamp.
    """

    def __init__(self, channels: Sequence[str], parse: Parser, terms: Terms, max_future_s: float) -> None:
        self.channels = tuple(channels)
        self._parse, self._terms = parse, terms
        self._places = {name: place for place, name in enumerate(self.channels)}
        self._max_future = int(max_future_s * MICROSECONDS)

    def decode(self, partition: Partition, records: Sequence[RawRecord]) -> Decoded:
        found = _Found(partition, len(self.channels))
        for record in records:
            try:
                points = list(self._parse(record, fit(record)))
                if not points:
                    raise Refusal(Reason.NO_VALUES, "the record holds no reading")
            except Refusal as refusal:
                found.letters.append(dead_letter(partition, record, refusal))
                continue
            self._take(record, points, found)
        return found.decoded()

    def glossary(self) -> NoGlossary:
        return NoGlossary()

    def _take(self, record: RawRecord, points: Sequence[Point], found: "_Found") -> None:
        refused = 0
        for position, point in enumerate(points):
            try:
                if point.wrong is not None:
                    raise point.wrong
                row = self._values(point)
                if row is None:
                    found.skipped += 1
                    continue
                device, at = self._device(point, record), self._time(point, record)
            except Refusal as refusal:
                refused += 1
                if refused <= LETTERS_LIMIT:
                    found.letters.append(dead_letter(found.partition, record, refusal, position, point.part))
                continue
            found.add(device, at, row, record.offset)
        if refused > LETTERS_LIMIT:
            last = found.letters[-1]
            more = f"{last.detail[: DETAIL_LIMIT // 2]}; and {refused - LETTERS_LIMIT:,} more readings of this record"
            found.letters[-1] = replace(last, detail=more)

    def _values(self, point: Point) -> list[float] | None:
        """In the order of our channels, NaN where absent; None where the point has nothing of ours."""
        row = [math.nan] * len(self.channels)
        ours, said = False, False
        for theirs, written in point.values.items():
            name = self._terms.rename.get(theirs, theirs)
            place = self._places.get(name)
            if place is None:
                if self._terms.refuse_unknown:
                    raise Refusal(Reason.UNKNOWN_CHANNEL, f"not a channel of this fleet: {name!a}")
                continue
            ours = True
            if (value := number(name, written)) is not None:
                row[place], said = value, True
        if ours and not said:
            raise Refusal(Reason.NO_VALUES, "no channel has a value")
        return row if ours else None

    def _device(self, point: Point, record: RawRecord) -> str:
        device = point.device
        if device is None:
            if record.key is None:
                raise Refusal(Reason.BAD_DEVICE_ID, "neither the message nor the record's key names the device")
            try:
                device = record.key.decode()
            except UnicodeDecodeError:
                raise Refusal(Reason.BAD_DEVICE_ID, "the record's key names the device, and is not UTF-8") from None
        check_device_id(device)
        return device

    def _time(self, point: Point, record: RawRecord) -> int:
        if point.time is None:
            at = record.timestamp * 1_000
            if not EARLIEST <= at < LATEST:
                raise Refusal(Reason.BAD_TIME, f"no time, and the record's is {record.timestamp} ms")
            return at
        at = microseconds(point.time, self._terms.time_unit)
        stamp = min(record.timestamp, LATEST // 1_000) * 1_000
        if record.timestamp >= 0 and at > stamp + self._max_future:
            ahead = (at - stamp) / MICROSECONDS
            raise Refusal(Reason.FUTURE, f"event time is {ahead:.0f} s ahead of the record's")
        return at


def fit(record: RawRecord) -> bytes:
    """The value of a record that may be looked into. Raises Refusal."""
    value, key = record.value, record.key
    if value is None:
        raise Refusal(Reason.TOMBSTONE, "the record has no value")
    if len(value) > VALUE_LIMIT:
        raise Refusal(Reason.OVERSIZED, f"{len(value)} bytes, {VALUE_LIMIT} at most")
    if key is not None and len(key) > KEY_LIMIT:
        raise Refusal(Reason.KEY_TOO_LONG, f"the key has {len(key)} bytes, {KEY_LIMIT} at most")
    return value


def number(name: str, written: object) -> float | None:
    """A channel's value: a number, true and false as 1 and 0, null as None. Raises Refusal."""
    if written is None:
        return None
    if not isinstance(written, int | float):
        raise Refusal(Reason.MALFORMED, f"{name!a} is a {type(written).__name__}, not a number or null")
    try:
        value = float(written)
    except OverflowError:
        raise Refusal(Reason.NOT_FINITE, f"{name!a} is beyond the range of float64") from None
    if not math.isfinite(value) or abs(value) > MOST_F32:
        raise Refusal(Reason.NOT_FINITE, f"{name!a} is not finite, or beyond the range of float32")
    return value


class _Found:
    """What a batch of records has come to so far."""

    def __init__(self, partition: Partition, channels: int) -> None:
        self.partition = partition
        self.letters: list[DeadLetter] = []
        self.skipped = 0
        self._channels = channels
        self._devices: list[str] = []
        self._at: list[int] = []
        self._rows: list[list[float]] = []
        self._offsets: list[int] = []

    def add(self, device: str, at: int, row: list[float], offset: int) -> None:
        self._devices.append(device)
        self._at.append(at)
        self._rows.append(row)
        self._offsets.append(offset)

    def decoded(self) -> Decoded:
        n = len(self._devices)
        values = np.array(self._rows, np.float32).reshape(n, self._channels)
        at, offsets = np.array(self._at, np.int64), np.array(self._offsets, np.int64)
        return Decoded(Readings(self.partition, self._devices, at, values, offsets), self.letters, self.skipped)
