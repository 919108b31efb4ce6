"""What a database server says of itself, and of what the daemon's user may do there. Used by `cli` for doctor."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, Engine, func, literal, select, text

from sensord.store.database import VERSION_TABLE, reading
from sensord.store.schema import (
    UtcDateTime,
    alert_events,
    alerts,
    bundle_moves,
    bundles,
    dead_letters,
    devices,
    gaps,
    partition_progress,
    shadow_pages,
    state_pages,
    windows,
)

Right = Literal["SELECT", "INSERT", "UPDATE", "DELETE", "USAGE"]

# What deploy/postgres/grants.sql gives to the daemon, but for the columns: an UPDATE of any will do here.
DAEMON: tuple[tuple[str, tuple[Right, ...]], ...] = (
    (VERSION_TABLE, ("SELECT",)),
    (alerts.name, ("SELECT", "INSERT", "UPDATE")),
    (alert_events.name, ("SELECT", "INSERT")),
    (dead_letters.name, ("SELECT", "INSERT")),
    (gaps.name, ("SELECT", "INSERT")),
    (partition_progress.name, ("SELECT", "INSERT", "UPDATE")),
    (devices.name, ("SELECT", "INSERT", "UPDATE")),
    (state_pages.name, ("SELECT", "INSERT", "UPDATE", "DELETE")),
    (shadow_pages.name, ("SELECT", "INSERT", "UPDATE", "DELETE")),
    (bundles.name, ("SELECT", "UPDATE")),
    (bundle_moves.name, ("SELECT", "INSERT")),
    (windows.name, ("SELECT",)),
)
SEQUENCES = ("alert_events_sequence_seq", "dead_letters_id_seq", "gaps_id_seq", "bundle_moves_sequence_seq")


@dataclass(frozen=True, slots=True)
class Server:
    """A database server. now: by its clock; None on SQLite, whose clock is ours. read_only: it takes no writes, as a
    standby does."""

    version: str
    now: datetime | None = None
    user: str = ""
    read_only: bool = False


def server(engine: Engine) -> Server:
    """What there is to know of it. Raises StoreUnavailable."""
    with reading(engine) as connection:
        if connection.dialect.name == "sqlite":
            return Server(f"SQLite {connection.scalar(select(func.sqlite_version()))}")
        now = connection.scalar(select(func.clock_timestamp(type_=UtcDateTime())))
        version, read_only, user = (
            connection.scalar(text(f"SHOW {name}")) or ""
            for name in ("server_version", "transaction_read_only", "session_authorization")
        )
        return Server(f"PostgreSQL {version.split()[0]}", now, user, read_only == "on")


def missing_rights(engine: Engine) -> list[str]:
    """What the daemon needs and this user lacks, as "INSERT on alerts"; empty on SQLite. Raises StoreUnavailable."""
    with reading(engine) as connection:
        return [] if connection.dialect.name == "sqlite" else list(_missing(connection))


def _missing(connection: Connection) -> Iterator[str]:
    for table, rights in DAEMON:
        for right in rights:
            # UPDATE is granted by columns
            has = func.has_any_column_privilege if right == "UPDATE" else func.has_table_privilege
            if not connection.scalar(select(has(literal(table), literal(right)))):
                yield f"{right} on {table}"
    for sequence in SEQUENCES:
        if not connection.scalar(select(func.has_sequence_privilege(literal(sequence), literal("USAGE")))):
            yield f"USAGE on {sequence}"
