"""What the simulation says about itself, and the part of its recording that is played live."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from sensord.store.schema import microseconds
from sensord.stream.pack import create_text
from sensord.stream.unpack import open_text
from sensord.trainer.events import Span


class PlantedFault(msgspec.Struct, frozen=True):
    """One fault; both times belong to it."""

    device_id: str
    kind: str
    start_at: datetime
    end_at: datetime
    channels: tuple[str, ...]

    @property
    def name(self) -> str:
        """The kind, for people."""
        return self.kind.replace("_", " ")

    @property
    def span(self) -> Span:
        return Span(self.device_id, microseconds(self.start_at), microseconds(self.end_at))


class Truth(msgspec.Struct, frozen=True):
    """The truth that `sensord simulate` writes; channels with their units. live_at: where the healthy part ends."""

    devices: int
    readings: int
    live_at: datetime
    channels: dict[str, str]
    faults: tuple[PlantedFault, ...]


class _Stamp(msgspec.Struct):
    timestamp: datetime


def read_truth(path: Path) -> Truth:
    """The truth from its file."""
    return msgspec.json.decode(path.read_bytes(), type=Truth)


def cut_live(recording: Path, live: Path, since: datetime) -> int:
    """Copy the readings of or after a time into a recording of their own; returns how many."""
    count = 0
    with create_text(live) as text:
        for line in _since(recording, since):
            text.write(line)
            count += 1
    return count


def _since(recording: Path, since: datetime) -> Iterator[str]:
    stamp = msgspec.json.Decoder(_Stamp)
    with open_text(recording) as text:
        yield from (line for line in text if stamp.decode(line).timestamp >= since)
