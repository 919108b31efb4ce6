"""Readings as JSON, the default: an object, or an array of them.

    {"device_id": "pump-7", "timestamp": "2026-11-23T12:00:00Z", "values": {"temperature": 71.2, "vibration": null}}

device_id: the record's key when absent or null. timestamp: RFC 3339 with an offset, or epoch milliseconds; the record's
own time stamp when absent or null. values: numbers or null by channel; an absent channel is null. Other members are
ignored.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import Annotated, TypeAlias, TypeVar, cast

import msgspec
import numpy as np
from msgspec.structs import astuple

from sensord.clock import MICROSECONDS
from sensord.readings import DeadLetter, Floats, Integers, Partition, RawRecord, Readings
from sensord.stream.dead_letters import (
    DETAIL_LIMIT,
    KEY_LIMIT,
    LETTERS_LIMIT,
    VALUE_LIMIT,
    Reason,
    Refusal,
    are_device_ids,
    check_device_id,
    dead_letter,
)
from sensord.stream.decoders import Decoded, NoGlossary
from sensord.stream.decoders.instants import FIRST, LAST, UNREAD, instants

T = TypeVar("T")
_Time = Annotated[datetime, msgspec.Meta(tz=True)]

DEFAULT_MAX_FUTURE_S = 300.0

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
EARLIEST_MS = 946_684_800_000  # 2000-01-01
LATEST_MS = 4_102_444_800_000  # 2100-01-01
NO_TIME = "timestamp is neither RFC 3339 with an offset nor whole milliseconds"
UNREADABLE = (ValueError, RecursionError)  # what msgspec and json raise on bytes that they can't read


class Message(msgspec.Struct, kw_only=True, gc=False):
    """One reading as it is written; each fleet's subclass narrows `values` to its channels."""

    device_id: str | None = None
    timestamp: str | int | None = None
    values: msgspec.Struct


Wrong: TypeAlias = dict[int, Refusal]  # by row: the first thing that is wrong with it


@dataclass(slots=True)
class Written:
    """Readings as they were written, row by row: the record of each, its position in it, the message."""

    records: list[RawRecord] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)

    def extend(self, record: RawRecord, positions: Sequence[int], messages: Sequence[Message]) -> None:
        self.records.extend(repeat(record, len(messages)))
        self.positions.extend(positions)
        self.messages.extend(messages)


class JsonDecoder:
    """Decodes one fleet's records, a column at a time: what is done for every reading is done by loops in C.

    max_future_s: how far event time may run ahead of the record's time stamp; judged against the record, not the
    clock, so that a replay judges alike.
    """

    def __init__(self, channels: Sequence[str], max_future_s: float = DEFAULT_MAX_FUTURE_S) -> None:
        self.channels = tuple(channels)
        self._max_future = int(max_future_s * MICROSECONDS)
        instants(())  # compiled before the first record comes
        message = _message_type(self.channels)
        self._one = msgspec.json.Decoder(message)
        self._any: msgspec.json.Decoder[Message | list[Message]] = msgspec.json.Decoder(message | list[message])  # type: ignore[valid-type]

    def glossary(self) -> NoGlossary:
        return NoGlossary()

    def decode(self, partition: Partition, records: Sequence[RawRecord]) -> Decoded:
        refused = _Refused(partition)
        written = self._parse(records, refused)
        wrong: Wrong = {}
        device_ids = _device_ids(written, wrong)
        at = _event_times(written, wrong)
        self._check_ahead(at, written, wrong)
        values = self._values(written, wrong)
        offsets = np.array([record.offset for record in written.records], np.int64)  # (n,)
        for row in sorted(wrong):
            refused.reading(written.records[row], written.positions[row], wrong[row])
        if wrong:
            good = np.delete(np.arange(len(at)), list(wrong))
            device_ids = [device_ids[row] for row in good.tolist()]
            at, values, offsets = at[good], values[good], offsets[good]
        return Decoded(Readings(partition, device_ids, at, values, offsets), refused.in_order())

    def _parse(self, records: Sequence[RawRecord], refused: "_Refused") -> Written:
        """Runs of records that hold one good reading each are decoded by a loop in C, whatever else one by one."""
        written, done, read = Written(), 0, len(records)
        values = [record.value for record in records]
        rest = map(self._one.decode, cast(list[bytes], values)) if _are_fit(values, records) else iter(())
        while done < read:
            with suppress(*UNREADABLE):
                written.messages.extend(rest)  # up to the first that isn't one good reading
            run = records[done : done + len(written.messages) - len(written.records)]
            written.records.extend(run)
            written.positions.extend(repeat(0, len(run)))
            done += len(run)
            if done < read:
                self._parse_one(records[done], written, refused)
                done += 1
        return written

    def _parse_one(self, record: RawRecord, written: Written, refused: "_Refused") -> None:
        value, key = record.value, record.key
        if value is None or not _is_fit(value, key):
            refused.record(record, _unfit(value, key))
            return
        try:
            message = self._any.decode(value)
        except UNREADABLE:
            self._parse_parts(record, written, refused)
            return
        messages = message if isinstance(message, list) else [message]
        written.extend(record, range(len(messages)), messages)
        if not messages:
            refused.record(record, Refusal(Reason.NO_VALUES, "an empty array"))

    def _parse_parts(self, record: RawRecord, written: Written, refused: "_Refused") -> None:
        """The slow road, for records with something wrong in them: what is right is kept."""
        for position, part in enumerate(refused.parts(record)):
            try:
                written.extend(record, [position], [self._one.decode(part)])
            except UNREADABLE as error:
                if refused.counts(record):
                    refused.written(record, position, _diagnose(part, frozenset(self.channels), error))

    def _check_ahead(self, at: Integers, written: Written, wrong: Wrong) -> None:
        """No event time may be far ahead of its record's time stamp, if it has one."""
        stamps = np.array([record.timestamp for record in written.records], np.int64)  # (n,)
        limits = np.minimum(stamps, LATEST_MS) * 1_000 + self._max_future
        for row in np.flatnonzero((stamps >= 0) & (at > limits)).tolist():
            ahead = (int(at[row]) - int(stamps[row]) * 1_000) / MICROSECONDS
            wrong.setdefault(row, Refusal(Reason.FUTURE, f"event time is {ahead:.0f} s ahead of the record's"))

    def _values(self, written: Written, wrong: Wrong) -> Floats:
        """(n, channels), NaN where absent."""
        n, channels = len(written.messages), len(self.channels)
        flat = chain.from_iterable([astuple(message.values) for message in written.messages])
        values = np.fromiter(flat, np.float64, n * channels).reshape(n, channels)
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        if not np.isfinite(narrow).all():
            self._check_values(narrow, wrong)
        return narrow

    def _check_values(self, values: Floats, wrong: Wrong) -> None:
        infinite, absent = np.isinf(values), np.isnan(values)
        for row in np.flatnonzero(infinite.any(axis=1)).tolist():
            channel = self.channels[int(np.argmax(infinite[row]))]
            wrong.setdefault(row, Refusal(Reason.NOT_FINITE, f"{channel!a} is beyond the range of float32"))
        for row in np.flatnonzero(absent.all(axis=1)).tolist():
            wrong.setdefault(row, Refusal(Reason.NO_VALUES, "no channel has a value"))


def _message_type(channels: tuple[str, ...]) -> type[Message]:
    """Message with these channels; the fields are numbered because a channel's name may be no identifier."""
    fields = [(f"c{number}", float | None, None) for number in range(len(channels))]
    rename = {f"c{number}": name for number, name in enumerate(channels)}
    values = msgspec.defstruct("Values", fields, rename=rename, forbid_unknown_fields=True, gc=False)
    message = msgspec.defstruct("FleetMessage", [("values", values)], bases=(Message,), kw_only=True, gc=False)
    return cast(type[Message], message)


def _are_fit(values: Sequence[bytes | None], records: Sequence[RawRecord]) -> bool:
    """Whether all records may be looked into."""
    keys = [record.key for record in records]
    longest = max(map(len, filter(None, keys)), default=0)
    return None not in values and longest <= KEY_LIMIT and max(map(len, filter(None, values)), default=0) <= VALUE_LIMIT


def _is_fit(value: bytes, key: bytes | None) -> bool:
    return len(value) <= VALUE_LIMIT and (key is None or len(key) <= KEY_LIMIT)


def _unfit(value: bytes | None, key: bytes | None) -> Refusal:
    """What is wrong with a record that isn't looked into."""
    if value is None:
        return Refusal(Reason.TOMBSTONE, "the record has no value")
    if len(value) > VALUE_LIMIT:
        return Refusal(Reason.OVERSIZED, f"{len(value)} bytes, {VALUE_LIMIT} at most")
    return Refusal(Reason.KEY_TOO_LONG, f"the key has {len(key or b'')} bytes, {KEY_LIMIT} at most")


def _device_ids(written: Written, wrong: Wrong) -> list[str]:
    """n names, "" where one is wrong."""
    device_ids = [message.device_id for message in written.messages]
    if None not in device_ids and are_device_ids(named := cast(list[str], device_ids)):
        return named
    return _row_by_row(_device_id, written, wrong, "")


def _event_times(written: Written, wrong: Wrong) -> Integers:
    """(n,) microseconds since the epoch, 0 where one is wrong."""
    stamps = [message.timestamp for message in written.messages]
    kinds = set(map(type, stamps))
    if kinds == {str}:
        at = instants(cast(list[str], stamps))
        if np.all(at != UNREAD):
            return at
    elif kinds == {int}:
        with suppress(OverflowError):
            at = np.array(stamps, np.int64)
            if np.all((at >= EARLIEST_MS) & (at < LATEST_MS)):
                return at * 1_000
    return np.array(_row_by_row(_event_time, written, wrong, 0), np.int64)


def _row_by_row(read: Callable[[Message, RawRecord], T], written: Written, wrong: Wrong, instead: T) -> list[T]:
    """What is read of each row; where that is refused, `instead`."""
    found = []
    for row, (message, record) in enumerate(zip(written.messages, written.records, strict=True)):
        try:
            found.append(read(message, record))
        except Refusal as refusal:
            wrong.setdefault(row, refusal)
            found.append(instead)
    return found


def _device_id(message: Message, record: RawRecord) -> str:
    device_id = message.device_id
    if device_id is None:
        if record.key is None:
            raise Refusal(Reason.BAD_DEVICE_ID, "neither device_id nor a record key")
        try:
            device_id = record.key.decode()
        except UnicodeDecodeError:
            raise Refusal(Reason.BAD_DEVICE_ID, "no device_id, and the key is not UTF-8") from None
    check_device_id(device_id)
    return device_id


def _event_time(message: Message, record: RawRecord) -> int:
    """Microseconds since the epoch."""
    timestamp = message.timestamp
    if isinstance(timestamp, str):
        return _instant(timestamp)
    if timestamp is None:
        if not EARLIEST_MS <= record.timestamp < LATEST_MS:
            raise Refusal(Reason.BAD_TIME, f"no timestamp, and the record's is {record.timestamp} ms")
        return record.timestamp * 1_000
    if not EARLIEST_MS <= timestamp < LATEST_MS:
        raise Refusal(Reason.BAD_TIME, f"timestamp is no epoch milliseconds of 2000 to 2100{_looks_like(timestamp)}")
    return timestamp * 1_000


def _instant(written: str) -> int:
    """Microseconds since the epoch of any RFC 3339 time."""
    try:
        at = (msgspec.convert(written, _Time) - EPOCH) // MICROSECOND
    except UNREADABLE as error:
        raise Refusal(Reason.BAD_TIME, f"{NO_TIME}: {error}") from None
    if not FIRST <= at <= LAST:
        raise Refusal(Reason.BAD_TIME, f"timestamp {written} is outside the years 1 to 9999 of UTC")
    return at


def _looks_like(number: int) -> str:
    milliseconds = {"seconds": number * 1_000, "microseconds": number // 1_000, "nanoseconds": number // 1_000_000}
    return "".join(f"; {number} looks like {u}" for u, ms in milliseconds.items() if EARLIEST_MS <= ms < LATEST_MS)


class _Refused:
    """The dead letters of one partition's records; of the readings of one record, LETTERS_LIMIT and a count."""

    def __init__(self, partition: Partition) -> None:
        self._letters: list[DeadLetter] = []
        self._counts: Counter[int] = Counter()  # readings refused, by the record's offset
        self._partition = partition
        self._cut: tuple[RawRecord, list[bytes]] | None = None  # the record last cut: many of one may be refused

    def record(self, record: RawRecord, refusal: Refusal) -> None:
        self._letters.append(dead_letter(self._partition, record, refusal))

    def reading(self, record: RawRecord, position: int, refusal: Refusal) -> None:
        if self.counts(record):
            self.written(record, position, refusal)

    def counts(self, record: RawRecord) -> bool:
        """Count one more reading of a record; whether it is to be written too."""
        self._counts[record.offset] += 1
        return self._counts[record.offset] <= LETTERS_LIMIT

    def written(self, record: RawRecord, position: int, refusal: Refusal) -> None:
        part = self.parts(record)[position]
        self._letters.append(dead_letter(self._partition, record, refusal, position, part))

    def in_order(self) -> list[DeadLetter]:
        """All letters; the last one of a record with more refusals than letters says how many more."""
        self._letters.sort(key=lambda letter: (letter.offset, letter.position))
        more = {offset: count - LETTERS_LIMIT for offset, count in self._counts.items() if count > LETTERS_LIMIT}
        last = {letter.offset: index for index, letter in enumerate(self._letters) if letter.offset in more}
        for offset, index in last.items():
            letter = self._letters[index]
            detail = f"{letter.detail[: DETAIL_LIMIT // 2]}; and {more[offset]:,} more readings of this record"
            self._letters[index] = replace(letter, detail=detail)
        return self._letters

    def parts(self, record: RawRecord) -> list[bytes]:
        if self._cut is None or self._cut[0] is not record:
            self._cut = record, _parts(record.value or b"")
        return self._cut[1]


def _parts(value: bytes) -> list[bytes]:
    """The bytes of each reading: an array's elements, or all there is.

    An array that is JSON but for NaN and Infinity, as many writers have it, is cut too; its elements are written anew.
    """
    if not value.lstrip(b" \t\r\n").startswith(b"["):
        return [value]
    try:
        return [bytes(part) for part in msgspec.json.decode(value, type=list[msgspec.Raw])] or [value]
    except UNREADABLE:
        pass
    try:
        return [json.dumps(part).encode() for part in json.loads(value.decode())] or [value]
    except UNREADABLE:
        return [value]


def _diagnose(part: bytes, channels: frozenset[str], error: Exception) -> Refusal:
    """Say why one reading could not be read; error is the reader's own word, for what isn't recognised."""
    try:
        found = json.loads(part.decode())
        msgspec.json.decode(part)
    except UNREADABLE:
        if _has_unreal_numbers(part):
            return Refusal(Reason.NOT_FINITE, "NaN, Infinity or a number beyond the range of float64")
        return Refusal(Reason.MALFORMED, f"not JSON: {error}")
    if not isinstance(found, dict):
        return Refusal(Reason.MALFORMED, f"a reading is an object, this is a {type(found).__name__}")
    if not isinstance(found.get("device_id"), str | None):
        return Refusal(Reason.BAD_DEVICE_ID, "device_id is not a string")
    values = found.get("values")
    if not isinstance(values, dict):
        return Refusal(Reason.MALFORMED, "values is not an object" if "values" in found else "values is missing")
    if unknown := sorted(values.keys() - channels):
        return Refusal(Reason.UNKNOWN_CHANNEL, f"not a channel of this fleet: {', '.join(map(ascii, unknown))}")
    for channel, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            return Refusal(Reason.MALFORMED, f"{channel!a} is a {type(value).__name__}, not a number or null")
        if isinstance(value, int) and not _fits(value):
            return Refusal(Reason.NOT_FINITE, f"{channel!a} is beyond the range of float64")
    return Refusal(Reason.BAD_TIME, f"{NO_TIME}: {error}")


def _has_unreal_numbers(part: bytes) -> bool:
    unreal: list[str] = []

    def number(text: str) -> float:
        if not math.isfinite(float(text)):
            unreal.append(text)
        return 0.0

    try:
        json.loads(part.decode(), parse_constant=unreal.append, parse_float=number, parse_int=number)
    except UNREADABLE:
        return False
    return bool(unreal)


def _fits(number: int) -> bool:
    try:
        float(number)
    except OverflowError:
        return False
    return True
