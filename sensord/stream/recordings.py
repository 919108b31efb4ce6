"""A recorded topic as a file: lines of JSON, plain, `.gz` or `.zst`. Written by `record`, read by `replay`.

    {"sensord_recording": 1}
    {"topic": "pumps", "partition": 0, "offset": 7, "timestamp_ms": 1795435200000, "key": "pump-7", "value": "{...}"}

key and value are UTF-8 text, null where the record has none; bytes that are no UTF-8 stand in base64 under
key_base64 and value_base64. The number in the first line is the format's version.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import msgspec

from sensord.errors import RecordingUnreadable
from sensord.readings import Partition, RawRecord, Record
from sensord.stream.pack import create_text
from sensord.stream.unpack import open_text

VERSION = 1
FIRST_KEY = '{"sensord_recording":'


class _First(msgspec.Struct):
    sensord_recording: int


class _Line(msgspec.Struct, omit_defaults=True):
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: str | None = None
    value: str | None = None
    key_base64: str | None = None
    value_base64: str | None = None


_FIRST = msgspec.json.Decoder(_First)
_LINE = msgspec.json.Decoder(_Line)
_ENCODER = msgspec.json.Encoder()


class RecordingWriter:
    """Writes records to an open recording; count says how many so far."""

    def __init__(self, text: TextIO) -> None:
        self.count = 0
        self._text = text
        text.write(f"{FIRST_KEY}{VERSION}}}\n")

    def write(self, partition: Partition, record: RawRecord) -> None:
        line = _Line(partition.topic, partition.number, record.offset, record.timestamp)
        line.key, line.key_base64 = _texts(record.key)
        line.value, line.value_base64 = _texts(record.value)
        self._text.write(_ENCODER.encode(line).decode() + "\n")
        self.count += 1


@contextmanager
def create_recording(path: Path) -> Iterator[RecordingWriter]:
    """A recording that takes its name when the block ends well or is interrupted from the keyboard."""
    with create_text(path) as text:
        yield RecordingWriter(text)


def is_recording(line: str) -> bool:
    """Whether a file that begins with this line is a recording, of whatever version."""
    return line.replace(" ", "").startswith(FIRST_KEY)


def read_recording(path: Path) -> Iterator[tuple[Partition, Record]]:
    """The records in the file's order. Raises RecordingUnreadable with file, line and cause."""
    with open_text(path) as text:
        _check_version(path, text.readline())
        for number, line in enumerate(text, start=2):
            yield _record(path, number, line)


def _check_version(path: Path, line: str) -> None:
    try:
        version = _FIRST.decode(line).sensord_recording
    except ValueError as error:
        raise RecordingUnreadable(f"{path}, line 1: not a recording of a topic: {error}") from error
    if version != VERSION:
        raise RecordingUnreadable(f"{path}, line 1: a recording of version {version}, this sensord reads {VERSION}")


def _record(path: Path, number: int, line: str) -> tuple[Partition, Record]:
    if not line.endswith("\n"):
        raise RecordingUnreadable(f"{path}, line {number}: cut off; delete the line to use what is before it")
    try:
        found = _LINE.decode(line)
        key = _bytes(found.key, found.key_base64)
        value = _bytes(found.value, found.value_base64)
    except (ValueError, RecursionError) as error:
        raise RecordingUnreadable(f"{path}, line {number}: no record: {error}") from error
    return Partition(found.topic, found.partition), Record(found.offset, found.timestamp_ms, key, value)


def _texts(data: bytes | None) -> tuple[str | None, str | None]:
    if data is None:
        return None, None
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(data).decode()


def _bytes(text: str | None, packed: str | None) -> bytes | None:
    if packed is not None:
        return base64.b64decode(packed, validate=True)
    return None if text is None else text.encode()
