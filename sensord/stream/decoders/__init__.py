"""From bytes to columns. One decoder a fleet, built with its channels; used by `daemon` and `trainer`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from sensord.errors import StateUnreadable
from sensord.readings import DeadLetter, Partition, RawRecord, Readings

GLOSSARY_PAGE = -3  # its number among the state pages, beside those of `devices`, `reorder` and `align`


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a partition's records held. Every reading in them is in one or the other, both by (offset, position).

    skipped: what held nothing of the fleet's channels, and isn't meant to. unread: records that mean nothing without
    what came before them, see `Glossary`; then there is nothing else.
    """

    readings: Readings
    dead_letters: list[DeadLetter]
    skipped: int = 0
    unread: tuple[RawRecord, ...] = ()

    def before(self, offset: int) -> Self:
        """What records below an offset held."""
        letters = [letter for letter in self.dead_letters if letter.offset < offset]
        unread = tuple(record for record in self.unread if record.offset < offset)
        return type(self)(self.readings.before(offset), letters, unread=unread)

    def since(self, offset: int) -> Self:
        """What records at or above an offset held."""
        letters = [letter for letter in self.dead_letters if letter.offset >= offset]
        unread = tuple(record for record in self.unread if record.offset >= offset)
        return type(self)(self.readings.since(offset), letters, unread=unread)


class Glossary(Protocol):
    """What earlier records of a partition said that later ones are read with; part of its state, as a page. Never
    changes: to read on gives another one."""

    def read(self, decoded: Decoded) -> tuple[Decoded, "Glossary"]:
        """With the readings of what was unread. Never raises for what a record holds."""
        ...

    def pages(self) -> dict[int, bytes]:
        """As it is stored; nothing where nothing ever is."""
        ...

    def load(self, page: bytes) -> "Glossary":
        """As it was when the page was written. Raises StateUnreadable."""
        ...


class NoGlossary:
    """Of messages that speak for themselves. Implements Glossary."""

    def read(self, decoded: Decoded) -> tuple[Decoded, "NoGlossary"]:
        return decoded, self

    def pages(self) -> dict[int, bytes]:
        return {}

    def load(self, page: bytes) -> "NoGlossary":
        raise StateUnreadable("there is a page of what earlier messages said, and this decoder needs none")


class Decoder(Protocol):
    """Turns one partition's records into readings. A pure function of each record: a replay gives the same."""

    def decode(self, partition: Partition, records: Sequence[RawRecord]) -> Decoded:
        """Decode records of rising offset. Never raises for what a record holds."""
        ...

    def glossary(self) -> Glossary:
        """What a partition begins with."""
        ...
