"""Readings as lines of JSON messages, read by the daemon's own decoder; also the lines of a recorded topic."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from sensord.errors import RecordingUnreadable
from sensord.readings import Partition, Record
from sensord.stream.decoders.json import JsonDecoder
from sensord.stream.tables import Chunk, FileOptions

LINES = 1_000  # a chunk's
UNTIMED = -1  # the time stamp of a record that never was in a topic: the message has to bring its own


class _Named(msgspec.Struct):
    """So much of a message as tells its channels."""

    values: dict[str, msgspec.Raw] = {}


_NAMES = msgspec.json.Decoder(_Named | list[_Named])


def message_chunks(path: Path, lines: Iterator[str], options: FileOptions, device_id: str) -> Iterator[Chunk]:
    """The file's messages. device_id: whose they are when neither message nor key says it.

    Channels are those that appear. Raises RecordingUnreadable for what the daemon would make a dead letter.
    """
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    channels: dict[str, None] = {}
    while chunk := list(islice(numbered, LINES)):
        records = _records(chunk, device_id)
        channels.update(dict.fromkeys(_channels(records)))
        decoded = JsonDecoder(tuple(channels)).decode(Partition(path.name, 0), records)
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


def _records(chunk: list[tuple[int, str]], device_id: str) -> list[Record]:
    """Each line as a record whose offset is the line's number."""
    key = device_id.encode()
    return [Record(offset=number, timestamp_ms=UNTIMED, key=key, value=line.encode()) for number, line in chunk]


def _channels(records: list[Record]) -> Iterator[str]:
    """Every channel's name that the records hold, repeated; what can't be read is left to the decoder to name."""
    for record in records:
        try:
            found = _NAMES.decode(record.value or b"")
        except (ValueError, RecursionError):
            continue
        for message in found if isinstance(found, list) else [found]:
            yield from message.values
