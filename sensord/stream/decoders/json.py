"""Readings as JSON, the default: an object, or an array of them.

    {"device_id": "pump-7", "timestamp": "2026-11-23T12:00:00Z", "values": {"temperature": 71.2, "vibration": null}}

device_id: the record's key when absent or null. timestamp: RFC 3339 with an offset, or epoch milliseconds; the record's
own time stamp when absent or null. values: numbers or null by channel; an absent channel is null. Other members are
ignored.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Annotated, TypeAlias, cast

import msgspec
import numpy as np
from msgspec.structs import astuple

from sensord.clock import MICROSECONDS
from sensord.readings import DeadLetter, Partition, Readings, Record
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
from sensord.stream.decoders import Decoded

DEFAULT_MAX_FUTURE_S = 300.0

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
FIRST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
LAST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
EARLIEST_MS = 946_684_800_000  # 2000-01-01
LATEST_MS = 4_102_444_800_000  # 2100-01-01
UNREADABLE = (ValueError, RecursionError)  # what msgspec and json raise on bytes that they can't read


class Message(msgspec.Struct, kw_only=True, gc=False):
    """One reading as it is written; each fleet's subclass narrows `values` to its channels."""

    device_id: str | None = None
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | int | None = None
    values: msgspec.Struct


Place: TypeAlias = tuple[Record, int, Message]  # a message, its record and its position in it


class JsonDecoder:
    """Decodes one fleet's records.

    max_future_s: how far event time may run ahead of the record's time stamp; judged against the record, not the
    clock, so that a replay judges alike.
    """

    def __init__(self, channels: Sequence[str], max_future_s: float = DEFAULT_MAX_FUTURE_S) -> None:
        self.channels = tuple(channels)
        self._max_future = int(max_future_s * MICROSECONDS)
        message = _message_type(self.channels)
        self._one = msgspec.json.Decoder(message)
        self._any: msgspec.json.Decoder[Message | list[Message]] = msgspec.json.Decoder(message | list[message])  # type: ignore[valid-type]

    def decode(self, partition: Partition, records: Sequence[Record]) -> Decoded:
        refused = _Refused(partition)
        device_ids: list[str] = []
        at: list[int] = []
        kept: list[Place] = []
        for place in self._parse(records, refused):
            record, position, message = place
            try:
                device_id, time = _device_id(message, record), _event_time(message, record)
            except Refusal as refusal:
                refused.reading(record, position, refusal)
            else:
                device_ids.append(device_id)
                at.append(time)
                kept.append(place)
        readings = self._columns(partition, kept, device_ids, at, refused)
        return Decoded(readings, refused.in_order())

    def _parse(self, records: Sequence[Record], refused: "_Refused") -> list[Place]:
        places: list[Place] = []
        decode = self._any.decode
        for record in records:
            try:
                _check_record(record)
                message = decode(record.value)  # type: ignore[arg-type]  # checked: not None
            except Refusal as refusal:
                refused.record(record, refusal)
            except UNREADABLE:
                places.extend(self._parse_parts(record, refused))
            else:
                if not isinstance(message, list):
                    places.append((record, 0, message))
                elif message:
                    places.extend((record, position, one) for position, one in enumerate(message))
                else:
                    refused.record(record, Refusal(Reason.NO_VALUES, "an empty array"))
        return places

    def _parse_parts(self, record: Record, refused: "_Refused") -> list[Place]:
        """The slow road, for records with something wrong in them: what is right is kept."""
        places: list[Place] = []
        for position, part in enumerate(refused.parts(record)):
            try:
                places.append((record, position, self._one.decode(part)))
            except UNREADABLE as error:
                if refused.counts(record):
                    refused.written(record, position, _diagnose(part, frozenset(self.channels), error))
        return places

    def _columns(
        self, partition: Partition, places: list[Place], device_ids: list[str], at: list[int], refused: "_Refused"
    ) -> Readings:
        """Columns of those that pass the checks that are made on whole columns."""
        n = len(places)
        values = np.fromiter(
            chain.from_iterable([astuple(message.values) for _, _, message in places]),
            np.float64,
            n * len(self.channels),
        ).reshape(n, len(self.channels))  # (n, channels)
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)  # (n, channels)
        times = np.array(at, np.int64)  # (n,)
        stamps = np.array([record.timestamp_ms for record, _, _ in places], np.int64)  # (n,)
        limits = np.minimum(stamps, LATEST_MS) * 1_000 + self._max_future
        future = np.logical_and(stamps >= 0, times > limits)
        infinite = np.any(np.isinf(narrow), axis=1)
        empty = np.all(np.isnan(narrow), axis=1)
        bad = future | infinite | empty  # (n,)
        for row in np.flatnonzero(bad).tolist():
            record, position, _ = places[row]
            if future[row]:
                ahead = (at[row] - record.timestamp_ms * 1_000) / MICROSECONDS
                refusal = Refusal(Reason.FUTURE, f"event time is {ahead:.0f} s ahead of the record's")
            elif infinite[row]:
                channel = self.channels[int(np.argmax(np.isinf(narrow[row])))]
                refusal = Refusal(Reason.NOT_FINITE, f"{channel!a} is beyond the range of float32")
            else:
                refusal = Refusal(Reason.NO_VALUES, "no channel has a value")
            refused.reading(record, position, refusal)
        offsets = np.fromiter([record.offset for record, _, _ in places], np.int64, n)  # (n,)
        if not bad.any():
            return Readings(partition, device_ids, times, narrow, offsets)
        good = ~bad
        names = [name for name, is_good in zip(device_ids, good.tolist(), strict=True) if is_good]
        return Readings(partition, names, times[good], narrow[good], offsets[good])


def _message_type(channels: tuple[str, ...]) -> type[Message]:
    """Message with these channels; the fields are numbered because a channel's name may be no identifier."""
    fields = [(f"c{number}", float | None, None) for number in range(len(channels))]
    rename = {f"c{number}": name for number, name in enumerate(channels)}
    values = msgspec.defstruct("Values", fields, rename=rename, forbid_unknown_fields=True, gc=False)
    message = msgspec.defstruct("FleetMessage", [("values", values)], bases=(Message,), kw_only=True, gc=False)
    return cast(type[Message], message)


def _check_record(record: Record) -> None:
    if record.value is None:
        raise Refusal(Reason.TOMBSTONE, "the record has no value")
    if len(record.value) > VALUE_LIMIT:
        raise Refusal(Reason.OVERSIZED, f"{len(record.value)} bytes, {VALUE_LIMIT} at most")
    if record.key is not None and len(record.key) > KEY_LIMIT:
        raise Refusal(Reason.KEY_TOO_LONG, f"the key has {len(record.key)} bytes, {KEY_LIMIT} at most")


def _device_id(message: Message, record: Record) -> str:
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


def _event_time(message: Message, record: Record) -> int:
    """Microseconds since the epoch."""
    timestamp = message.timestamp
    if isinstance(timestamp, datetime):
        at = (timestamp - EPOCH) // MICROSECOND
        if not FIRST <= at <= LAST:
            raise Refusal(Reason.BAD_TIME, f"timestamp {timestamp.isoformat()} is outside the years 1 to 9999 of UTC")
        return at
    if timestamp is None:
        if not EARLIEST_MS <= record.timestamp_ms < LATEST_MS:
            raise Refusal(Reason.BAD_TIME, f"no timestamp, and the record's is {record.timestamp_ms} ms")
        return record.timestamp_ms * 1_000
    if not EARLIEST_MS <= timestamp < LATEST_MS:
        raise Refusal(Reason.BAD_TIME, f"timestamp is no epoch milliseconds of 2000 to 2100{_looks_like(timestamp)}")
    return timestamp * 1_000


def _looks_like(number: int) -> str:
    milliseconds = {"seconds": number * 1_000, "microseconds": number // 1_000, "nanoseconds": number // 1_000_000}
    return "".join(f"; {number} looks like {u}" for u, ms in milliseconds.items() if EARLIEST_MS <= ms < LATEST_MS)


class _Refused:
    """The dead letters of one partition's records; of the readings of one record, LETTERS_LIMIT and a count."""

    def __init__(self, partition: Partition) -> None:
        self._letters: list[DeadLetter] = []
        self._counts: Counter[int] = Counter()  # readings refused, by the record's offset
        self._partition = partition
        self._cut: tuple[Record, list[bytes]] | None = None  # the record last cut: many of one may be refused

    def record(self, record: Record, refusal: Refusal) -> None:
        self._letters.append(dead_letter(self._partition, record, refusal))

    def reading(self, record: Record, position: int, refusal: Refusal) -> None:
        if self.counts(record):
            self.written(record, position, refusal)

    def counts(self, record: Record) -> bool:
        """Count one more reading of a record; whether it is to be written too."""
        self._counts[record.offset] += 1
        return self._counts[record.offset] <= LETTERS_LIMIT

    def written(self, record: Record, position: int, refusal: Refusal) -> None:
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

    def parts(self, record: Record) -> list[bytes]:
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
    return Refusal(Reason.BAD_TIME, f"timestamp is neither RFC 3339 with an offset nor whole milliseconds: {error}")


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
