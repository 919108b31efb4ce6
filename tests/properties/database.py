"""One SQLite file for all runs of the simulation, that fails in mid-turn, and can be put back to before a commit."""

import sqlite3
from typing import Protocol, cast

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from sensord.errors import StoreUnavailable
from sensord.store.database import open_engine, upgrade

STATEMENTS = {"INSERT INTO alerts": "writing alerts", "INSERT INTO state_pages": "writing pages"}


class Client(Protocol):
    """A daemon, as the database sees it."""

    cut: bool  # its connection is gone, and it doesn't know yet

    def reach(self, point: str) -> None: ...


class Database:
    """Tables in a file, without the care for the disk that costs time.

    fails_in: how many more transactions of daemons go well before one that doesn't begin; None: all of them do.
    """

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self.fails_in: int | None = None
        self._client: Client | None = None  # the daemon whose turn it is
        self._empty, self._before = _memory(), _memory()
        self._journalled: int | None = None
        event.listen(self.engine, "connect", _care_less)
        event.listen(self.engine, "begin", self._begin)
        event.listen(self.engine, "before_cursor_execute", self._before_statement)
        upgrade(self.engine)
        self._copy_to(self._empty)

    def start_afresh(self) -> None:
        """Empty tables."""
        self.fails_in = self._client = self._journalled = None
        self._copy_from(self._empty)

    def serve(self, client: Client | None) -> None:
        """From now on it is this daemon that asks; None: a person, for whom nothing fails."""
        self._client = client

    def about_to_commit(self, journalled: int) -> None:
        """Keep a copy. journalled: how long the journal is that belongs to it."""
        self._copy_to(self._before)
        self._journalled = journalled

    def lose_last_commit(self) -> int | None:
        """Go back to before the last commit, as a standby does that hadn't received it; the journal's length then."""
        journalled, self._journalled = self._journalled, None
        if journalled is not None:
            self._copy_from(self._before)
        return journalled

    def _begin(self, connection: Connection) -> None:
        client, fails_in = self._client, self.fails_in
        if client is None:
            return
        if client.cut or fails_in == 0:
            client.cut, self.fails_in = False, None
            raise StoreUnavailable("the connection is lost")
        self.fails_in = None if fails_in is None else fails_in - 1

    def _before_statement(self, connection: Connection, cursor: object, statement: str, *rest: object) -> None:
        if self._client is not None:
            for beginning, point in STATEMENTS.items():
                if statement.startswith(beginning):
                    self._client.reach(point)

    def _copy_to(self, memory: sqlite3.Connection) -> None:
        with self.engine.connect() as connection:
            _driver(connection).backup(memory)

    def _copy_from(self, memory: sqlite3.Connection) -> None:
        with self.engine.connect() as connection:
            memory.backup(_driver(connection))


def _memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", check_same_thread=False)


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, connection.connection.dbapi_connection)


def _care_less(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = MEMORY")
    cursor.execute("PRAGMA synchronous = OFF")
    cursor.close()
