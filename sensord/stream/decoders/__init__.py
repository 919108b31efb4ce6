"""From bytes to columns. One decoder a fleet, built with its channels; used by `daemon` and `trainer`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from sensord.readings import DeadLetter, Partition, RawRecord, Readings


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a partition's records held. Every reading in them is in one or the other, both by (offset, position).

    skipped: what held nothing of the fleet's channels, and isn't meant to.
    """

    readings: Readings
    dead_letters: list[DeadLetter]
    skipped: int = 0

    def before(self, offset: int) -> Self:
        """What records below an offset held."""
        letters = [letter for letter in self.dead_letters if letter.offset < offset]
        return type(self)(self.readings.before(offset), letters)

    def since(self, offset: int) -> Self:
        """What records at or above an offset held."""
        letters = [letter for letter in self.dead_letters if letter.offset >= offset]
        return type(self)(self.readings.since(offset), letters)


class Decoder(Protocol):
    """Turns one partition's records into readings. A pure function of each record: a replay gives the same."""

    def decode(self, partition: Partition, records: Sequence[RawRecord]) -> Decoded:
        """Decode records of rising offset. Never raises for what a record holds."""
        ...
