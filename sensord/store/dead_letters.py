"""Dead letters: what came and could not become a reading. Written by `progress`, read by `cli`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, func, insert, select

from sensord.readings import DeadLetter
from sensord.store.database import reading, row_as
from sensord.store.schema import dead_letters


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """One row of `dead_letters`; timestamp_ms is the record's, as it came."""

    id: int
    fleet: str
    topic: str
    partition: int
    record_offset: int
    position: int
    reason: str
    detail: str
    key: bytes | None
    payload: bytes
    timestamp_ms: int
    recorded_at: datetime


def list_dead_letters(
    engine: Engine, fleet: str | None = None, reason: str | None = None, limit: int | None = None
) -> list[DeadLetterRow]:
    """Dead letters, the last recorded first. Raises StoreUnavailable."""
    chosen = select(dead_letters).order_by(dead_letters.c.id.desc()).limit(limit)
    for column, value in ((dead_letters.c.fleet, fleet), (dead_letters.c.reason, reason)):
        if value is not None:
            chosen = chosen.where(column == value)
    with reading(engine) as connection:
        return [row_as(DeadLetterRow, row) for row in connection.execute(chosen)]


def count_dead_letters(engine: Engine) -> dict[str, int]:
    """How many there are for each reason. Raises StoreUnavailable."""
    counted = select(dead_letters.c.reason, func.count().label("letters")).group_by(dead_letters.c.reason)
    with reading(engine) as connection:
        return {row.reason: row.letters for row in connection.execute(counted)}


def write(connection: Connection, fleet: str, letters: Sequence[DeadLetter], now: datetime) -> None:
    """Insert, inside the daemon's transaction."""
    if letters:
        connection.execute(insert(dead_letters), [_row(fleet, letter, now) for letter in letters])


def _row(fleet: str, letter: DeadLetter, now: datetime) -> dict[str, object]:
    return {
        "fleet": fleet,
        "topic": letter.partition.topic,
        "partition": letter.partition.number,
        "record_offset": letter.offset,
        "position": letter.position,
        "reason": letter.reason,
        "detail": _storable(letter.detail),
        "key": letter.key,
        "payload": letter.payload,
        "timestamp_ms": letter.timestamp_ms,
        "recorded_at": now,
    }


def _storable(words: str) -> str:
    """Text that any database takes: what poisons a reading must not poison its dead letter."""
    return words.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
