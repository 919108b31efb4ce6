"""What a replay publishes, and when: messages from recorded files, their times shifted, each one when it is due.

Pure but for reading the files; `replaying` publishes.
"""

import hashlib
import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from sensord.clock import Clock
from sensord.errors import RecordingUnreadable
from sensord.readings import Floats
from sensord.stream.files import FileOptions, Table, read_tables
from sensord.stream.recordings import is_recording, read_recording
from sensord.stream.unpack import open_text

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
IDENTITY_BYTES = 1 << 20  # of each file, beside its size
ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Message:
    """One record to be. partition: where it was recorded, None where it never was in a topic."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    partition: int | None = None


class _Head(msgspec.Struct):
    """So much of a JSON message as says whose it is and of when."""

    device_id: str | None = None
    timestamp: datetime | int | None = None


_HEAD = msgspec.json.Decoder(_Head | list[_Head])
_ENCODER = msgspec.json.Encoder()


def messages(paths: Sequence[Path], options: FileOptions | None = None) -> Iterator[Message]:
    """All that the files hold, merged by time; each file's own order is kept.

    A recorded topic gives its records as they were. A line of JSON gives itself, readable or not, keyed by its device.
    Files of columns are read whole; each row becomes a JSON message, the rows of all devices merged by time.
    Raises RecordingUnreadable.
    """
    kinds = [(path, _kind(path)) for path in paths]
    streams = [stream(path) for path, stream in kinds if stream is not None]
    columns = [path for path, stream in kinds if stream is None]
    if columns:
        streams.append(rows(list(read_tables(columns, options))))
    yield from streams[0] if len(streams) == 1 else heapq.merge(*streams, key=lambda message: message.timestamp_ms)


def _kind(path: Path) -> Callable[[Path], Iterator[Message]] | None:
    with open_text(path) as text:
        first = next((line for line in text if line.strip()), "")
    if is_recording(first):
        return _recorded
    return _lines if first.lstrip().startswith(("{", "[")) else None


def _recorded(path: Path) -> Iterator[Message]:
    for partition, record in read_recording(path):
        yield Message(record.key, record.value, record.timestamp, partition.number)


def _lines(path: Path) -> Iterator[Message]:
    latest = 0
    with open_text(path) as text:
        for number, line in enumerate(text, start=1):
            if not line.strip():
                continue
            if not line.endswith("\n"):
                raise RecordingUnreadable(f"{path}, line {number}: cut off; end the line, or delete it")
            value = line.strip().encode()
            device_id, at = _head(value)
            latest = latest if at is None else at
            yield Message(None if device_id is None else device_id.encode(), value, latest)


def rows(tables: Sequence[Table]) -> Iterator[Message]:
    """Rows of tables as messages, by time over all devices and files."""
    at = np.concatenate([table.at for table in tables])  # (n,)
    table_of = np.repeat(np.arange(len(tables)), [len(table) for table in tables])  # (n,)
    row_of = np.concatenate([np.arange(len(table)) for table in tables])  # (n,)
    order = np.argsort(at, kind="stable")
    for start in range(0, len(order), ROWS):
        chosen = order[start : start + ROWS]
        stamps = np.datetime_as_string(at[chosen].astype("datetime64[us]"), unit="us", timezone="UTC").tolist()
        for stamp, micros, number, row in zip(
            stamps, at[chosen].tolist(), table_of[chosen].tolist(), row_of[chosen].tolist(), strict=True
        ):
            table = tables[number]
            values = dict(zip(table.channels, _numbers(table.values[row]), strict=True))
            value = _ENCODER.encode({"device_id": table.device_id, "timestamp": stamp, "values": values})
            yield Message(table.device_id.encode(), value, micros // 1_000)


def _numbers(values: Floats) -> list[float | None]:
    """None where absent."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def _head(value: bytes) -> tuple[str | None, int | None]:
    """Device and event time (milliseconds) of a message, of an array's first; None for what it doesn't say."""
    try:
        head = _HEAD.decode(value)
    except (ValueError, RecursionError):
        return None, None
    if isinstance(head, list):
        if not head:
            return None, None
        head = head[0]
    return head.device_id, _milliseconds(head.timestamp)


def _milliseconds(timestamp: datetime | int | None) -> int | None:
    if isinstance(timestamp, datetime):
        return None if timestamp.tzinfo is None else (timestamp - EPOCH) // MILLISECOND
    return timestamp


# --- what is known before it begins ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Survey:
    """What some messages are. first_ms, last_ms: event time of the first and the last one. oldest_ms: least stamp."""

    count: int
    first_ms: int
    last_ms: int
    oldest_ms: int


def survey(found: Iterable[Message]) -> Survey:
    """Count messages and tell their times. Raises RecordingUnreadable where there are none."""
    first, last, count, oldest = None, None, 0, 0
    for message in found:
        oldest = message.timestamp_ms if first is None else min(oldest, message.timestamp_ms)
        first = first or message
        last = message
        count += 1
    if first is None or last is None:
        raise RecordingUnreadable("there is nothing to replay: no messages in these files")
    return Survey(count, event_ms(first), event_ms(last), oldest)


def event_ms(message: Message) -> int:
    """A message's event time, milliseconds: its own, else its record's."""
    _, at = _head(message.value or b"")
    return message.timestamp_ms if at is None else at


def identity(paths: Sequence[Path]) -> str:
    """A name for what these files hold, by which a replay of them is found again."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(path.stat().st_size.to_bytes(8, "big") + file.read(IDENTITY_BYTES))
    return digest.hexdigest()[:16]


# --- time ------------------------------------------------------------------------------------------------------------


def shifted(message: Message, shift_ms: int, now_ms: int) -> Message:
    """The message with its times moved: those within a JSON value, and the record's, though never beyond now.

    A value without a time, or that is no JSON, stays byte for byte.
    """
    value = message.value
    stamp = min(message.timestamp_ms + shift_ms, now_ms)
    return replace(message, value=value and _shifted_value(value, shift_ms), timestamp_ms=stamp)


def _shifted_value(value: bytes, shift_ms: int) -> bytes:
    try:
        found: Any = msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return value
    moved = [_move(one, shift_ms) for one in (found if isinstance(found, list) else [found])]
    return _ENCODER.encode(found) if any(moved) else value


def _move(one: Any, shift_ms: int) -> bool:
    """Move one decoded message's time, in place and in the form it has; whether it had one."""
    timestamp = one.get("timestamp") if isinstance(one, dict) else None
    if isinstance(timestamp, bool) or not isinstance(timestamp, str | int):
        return False
    try:
        if isinstance(timestamp, int):
            one["timestamp"] = timestamp + shift_ms
        else:
            at = msgspec.convert(timestamp, datetime) + shift_ms * MILLISECOND
            one["timestamp"] = at.isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        return False
    return True


@dataclass(slots=True)
class Pace:
    """Waits until messages are due by their time stamps, at `speed` times the recorded speed; the first is due now."""

    speed: float
    clock: Clock
    sleep: Callable[[float], None]
    _first: tuple[float, int] | None = None

    def wait_for(self, timestamp_ms: int) -> None:
        """Block until a message of this time is due."""
        if self._first is None:
            self._first = self.clock.monotonic(), timestamp_ms
        started, first_ms = self._first
        due = started + (timestamp_ms - first_ms) / 1_000 / self.speed
        if (wait := due - self.clock.monotonic()) > 0:
            self.sleep(wait)
