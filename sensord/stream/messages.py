"""Readings as lines of JSON messages, read by the daemon's own decoder; also the lines of a recorded topic."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import msgspec

from sensord.errors import RecordingUnreadable
from sensord.readings import Partition, Record
from sensord.stream.decoders.json import JsonDecoder
from sensord.stream.recordings import read_recording
from sensord.stream.tables import Chunk, FileOptions

LINES = 1_000  # a chunk's
UNTIMED = -1  # the time stamp of a record that never was in a topic: the message has to bring its own


class _Named(msgspec.Struct):
    """So much of a message as tells its channels."""

    values: dict[str, msgspec.Raw] = {}


_NAMES = msgspec.json.Decoder(_Named | list[_Named])


def message_chunks(path: Path, records: Iterator[Record], options: FileOptions) -> Iterator[Chunk]:
    """The messages of a file's records, whose offsets are line numbers. Channels are those that appear.

    Raises RecordingUnreadable for what the daemon would make a dead letter.
    """
    channels: dict[str, None] = {}
    while chunk := list(islice(records, LINES)):
        channels.update(dict.fromkeys(_channels(chunk)))
        decoded = JsonDecoder(tuple(channels)).decode(Partition(path.name, 0), chunk)
        if decoded.dead_letters:
            letter = decoded.dead_letters[0]
            raise RecordingUnreadable(f"{path}, line {letter.offset}: {letter.reason}: {letter.detail}")
        readings = decoded.readings
        kept = {channel: place for place, channel in enumerate(channels) if channel not in options.ignore}
        yield Chunk(
            device_ids=readings.device_ids,
            channels=tuple(kept),
            at=readings.at,
            values=readings.values[:, list(kept.values())],
            lines=readings.offsets,
        )


def plain_records(lines: Iterable[str], device_id: str) -> Iterator[Record]:
    """Lines that are messages. device_id: whose they are when the message doesn't say it."""
    key = device_id.encode()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield Record(offset=number, timestamp=UNTIMED, key=key, value=line.encode())


def recorded_records(path: Path, device_id: str) -> Iterator[Record]:
    """The records of a recorded topic. device_id: whose they are when neither message nor key says it."""
    key = device_id.encode()
    for number, (_, record) in enumerate(read_recording(path), start=2):  # the first line is the format's
        yield replace(record, offset=number, key=key if record.key is None else record.key)


def _channels(records: list[Record]) -> Iterator[str]:
    """Every channel's name that the records hold, repeated; what can't be read is left to the decoder to name."""
    for record in records:
        try:
            found = _NAMES.decode(record.value or b"")
        except (ValueError, RecursionError):
            continue
        for message in found if isinstance(found, list) else [found]:
            yield from message.values
