"""One door to the database: engines, transactions, the schema's revision, the daemon's lock. Used by `cli` and `store`.

What a catcher can answer leaves here as one of our errors; addresses in messages never carry a password.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import stamina
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.pq import Format
from sqlalchemy import URL, ColumnElement, Connection, Engine, Row, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection, ExecutionContext
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    PendingRollbackError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from sensord.errors import AccessRefused, SchemaMismatch, SettingsInvalid, StoreLocked, StoreUnavailable, Unreachable
from sensord.store import views

T = TypeVar("T")

NOTIFY_LOCK = 0x6E6F74696679  # "notify"
VERSION_TABLE = "sensord_schema"
BUSY_TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 5
GENERATION = 2  # digits of a revision; within a generation each only adds, so that older versions go on beside newer
UPGRADE_LOCK = 0x73656E736F7264  # "sensord": the key of PostgreSQL's advisory lock
_READS = "sensord_reads"  # the execution option of a transaction that only reads
AS_SENT = "sensord_as_sent"  # the execution option of a statement whose bytes PostgreSQL needn't spell out
_NO_RIGHT = "42501"  # PostgreSQL's insufficient_privilege
_SQLITE_ERROR = 1  # sqlite's code for a statement that is wrong by itself

_POSTGRES_TIMEOUTS = {
    "idle_in_transaction_session_timeout": "10s",  # a frozen daemon lets go of its rows
    "lock_timeout": "5s",
    "statement_timeout": "30s",
}
_POSTGRES_CONNECTION = {
    "application_name": "sensord",
    "connect_timeout": str(CONNECT_TIMEOUT_S),
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


# --- engines ---------------------------------------------------------------------------------------------------------


def open_engine(url: str) -> Engine:
    """An engine for `sqlite:///file` or `postgresql://...`; connects to nothing yet, makes an SQLite file's folder.

    Raises SettingsInvalid for any other url.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        _sqlite_file(parsed).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            parsed, hide_parameters=True, json_serializer=_json, json_deserializer=msgspec.json.decode
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = create_engine(
        parsed,
        connect_args=_postgres_arguments(parsed),
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        hide_parameters=True,
        json_serializer=_json,
        json_deserializer=msgspec.json.decode,
    )
    event.listen(engine, "before_cursor_execute", _ask_as_sent)
    return engine


def address(url: URL) -> str:
    """The url for people: no password, and no query, which may hide one."""
    return url.set(drivername=url.get_backend_name(), query={}).render_as_string(hide_password=True)


def connect_within(engine: Engine, timeout_s: float) -> None:
    """Return once the database answers. Blocks up to about timeout_s; raises Unreachable."""
    try:
        for attempt in stamina.retry_context(
            on=OperationalError, attempts=None, timeout=timeout_s, wait_initial=0.1, wait_max=2.0
        ):
            with attempt, engine.connect() as connection:
                connection.execute(text("SELECT 1"))
    except DBAPIError as error:
        raise Unreachable(f"database {address(engine.url)}: {_cause(error)}") from error


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(re.sub(r"^postgres(ql)?:", "postgresql+psycopg:", url))
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):  # their messages may quote the url, password and all
        raise SettingsInvalid(
            "store.url is no database url; expected sqlite:///FILE or postgresql://HOST/NAME"
        ) from None
    if backend not in ("sqlite", "postgresql"):
        raise SettingsInvalid(
            f"store.url: {backend} is not supported; expected sqlite:///FILE or postgresql://HOST/NAME"
        )
    if backend == "sqlite":
        _sqlite_file(parsed)
    return parsed


def _sqlite_file(url: URL) -> Path:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise SettingsInvalid("store.url names no SQLite file; expected sqlite:///FILE")
    return Path(url.database).resolve()


def _postgres_arguments(url: URL) -> dict[str, str]:
    """Our defaults; what the url itself says wins."""
    options = " ".join(f"-c {name}={value}" for name, value in _POSTGRES_TIMEOUTS.items())
    given = url.query.get("options", "")
    theirs = given if isinstance(given, str) else " ".join(given)
    ours = {name: value for name, value in _POSTGRES_CONNECTION.items() if name not in url.query}
    return ours | {"options": f"{options} {theirs}".strip()}


def _ask_as_sent(
    connection: Connection, cursor: Any, statement: str, parameters: object, context: ExecutionContext, many: bool
) -> None:
    """Have what is `AS_SENT` answered in binary: hexadecimal digits would take three times as long to read."""
    if context.execution_options.get(AS_SENT):
        cursor.format = Format.BINARY


def _prepare_sqlite(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: `_begin_sqlite` does
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Writers take the write lock at once: one that reads first and upgrades later can fail without waiting."""
    reads = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()  # dataclasses as objects, NaN and infinities as null


# --- transactions ----------------------------------------------------------------------------------------------------


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction: committed at the end, rolled back on any exception. Raises StoreUnavailable."""
    with _transaction(engine, reads=False) as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that only reads, and on SQLite waits for no writer. Raises StoreUnavailable."""
    with _transaction(engine, reads=True) as connection:
        yield connection


@contextmanager
def _transaction(engine: Engine, reads: bool) -> Iterator[Connection]:
    """Turn the database's failures into StoreUnavailable and drop the connection; our own mistakes pass.

    A right that this user lacks is AccessRefused: no retry mends it.
    """
    try:
        with engine.connect().execution_options(**{_READS: reads}) as connection:
            try:
                with connection.begin():
                    yield connection
            except DBAPIError as error:
                if _is_failure(error):
                    connection.invalidate()
                raise
    except (DBAPIError, PoolTimeout, PendingRollbackError) as error:
        if getattr(getattr(error, "orig", None), "sqlstate", None) == _NO_RIGHT:
            remedy = "give this user the role that it needs, and run deploy/postgres/grants.sql after an upgrade"
            raise AccessRefused(f"database {address(engine.url)}: {_cause(error)}; {remedy}") from error
        if not _is_failure(error):
            raise
        raise StoreUnavailable(f"database {address(engine.url)}: {_cause(error)}") from error


def insert_into(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """INSERT that knows ON CONFLICT."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def row_as(kind: type[T], row: Row[*tuple[object, ...]]) -> T:
    """A row as the dataclass whose fields are its columns."""
    return msgspec.convert({str(name): value for name, value in row._mapping.items()}, kind)


def matches(column: ColumnElement[str], glob: str) -> ColumnElement[bool]:
    """Whether a column matches a glob of `*` and `?`, the same on both databases."""
    if not re.search(r"[*?]", glob):
        return column == glob
    return column.regexp_match(f"^{glob_pattern(glob)}$")


def glob_pattern(glob: str) -> str:
    """The regular expression of a glob of `*` and `?`, alike in Python and on both databases."""
    wild = {"*": ".*", "?": "."}
    return "".join(wild.get(sign) or re.escape(sign) for sign in glob)


def _is_failure(error: Exception) -> bool:
    if not isinstance(error, DBAPIError) or error.connection_invalidated:
        return True
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return isinstance(error, OperationalError) and code != _SQLITE_ERROR
    return isinstance(error, OperationalError | InterfaceError | InternalError)


def _cause(error: Exception) -> str:
    """What the driver said, on one line, without the statement."""
    said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    return " ".join(said.split()) or type(error).__name__


# --- the schema's revision -------------------------------------------------------------------------------------------


def upgrade(engine: Engine) -> None:
    """Bring the schema to this version's revision, in one transaction; any number of processes may try at once.

    A schema of a later version of the same generation is left as it is: so a version can be gone back from. Raises
    SchemaMismatch where it is of another generation, StoreUnavailable.
    """
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL lock_timeout = '60s'"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
        found = _found(connection)
        if _is_ahead(found, engine) or found == expected_revision():
            return  # and no view loses the rights that were given on it
        config = _config()
        config.attributes["connection"] = connection
        views.drop(connection)
        command.upgrade(config, "head")
        views.make(connection)


def expected_revision() -> str:
    """The schema revision that this version needs."""
    return _scripts().get_current_head() or ""


def check(engine: Engine) -> None:
    """Raise SchemaMismatch unless the schema is at this version's revision, or a later one of its generation;
    StoreUnavailable."""
    with reading(engine) as connection:
        found = _found(connection)
    expected = expected_revision()
    if not _is_ahead(found, engine) and found != expected:
        raise SchemaMismatch(
            f"database {address(engine.url)}: schema is at {found or 'no revision'}, this sensord needs {expected}: "
            "run `sensord db upgrade`"
        )


def _is_ahead(found: str | None, engine: Engine) -> bool:
    """Whether the schema is a later version's, in which this one can work too. Raises SchemaMismatch where it can't."""
    scripts = _scripts()
    known = {script.revision for script in scripts.walk_revisions()}
    if found is None or found in known:
        return False
    if found.startswith(expected_revision()[:GENERATION]):
        return True
    raise SchemaMismatch(
        f"database {address(engine.url)}: schema is at {found}, which this sensord doesn't know (it needs "
        f"{scripts.get_current_head()}): upgrade sensord"
    )


def _found(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "sensord.store:migrations")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


# --- one of a kind ---------------------------------------------------------------------------------------------------


class Leader:
    """The one process that makes notices of a database's alerts, as long as it holds the lock; to be closed."""

    def __init__(self, engine: Engine, url: str) -> None:
        self._engine, self._url = engine, url
        self._stack = ExitStack()
        self._ask: Callable[[], bool] | None = None  # whether the lock that we have is there still

    def take(self) -> bool:
        """Whether it is us, from now on or already. Raises StoreUnavailable where that can't be told any more."""
        try:
            if self._ask is None:
                self._ask = self._of_file() if self._engine.dialect.name == "sqlite" else self._of_server()
            return self._ask is not None and self._ask()
        except (DBAPIError, PoolTimeout) as error:
            self.close()
            raise StoreUnavailable(f"database {address(self._engine.url)}: {_cause(error)}") from error

    def _of_server(self) -> Callable[[], bool] | None:
        """A lock that goes with its connection."""
        alone = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        connection = self._stack.enter_context(alone.connect())
        if connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": NOTIFY_LOCK}):
            return lambda: bool(connection.scalar(text("SELECT true")))
        self._stack.close()
        return None

    def _of_file(self) -> Callable[[], bool] | None:
        """A lock that goes with its process."""
        path = Path(f"{_sqlite_file(_parsed(self._url))}.notify.lock")
        file = self._stack.enter_context(path.open("a"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stack.close()
            return None
        return lambda: True

    def close(self) -> None:
        """Let go of it."""
        self._ask = None
        self._stack.close()


# --- one daemon a file -----------------------------------------------------------------------------------------------


@contextmanager
def lock_for_daemon(url: str) -> Iterator[None]:
    """Hold `FILE.lock` so that one daemon at a time works on an SQLite file; nothing to hold on PostgreSQL.

    Raises StoreLocked at once. The kernel lets go when the process ends, however it ends.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        yield
        return
    path = Path(f"{_sqlite_file(parsed)}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise StoreLocked(
                f"{path}: another daemon (process {file.read().strip() or 'unknown'}) works on this database; stop it, "
                "or use PostgreSQL for several daemons"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
