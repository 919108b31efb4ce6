"""Engines, revisions, locks, and what becomes of a database's failures."""

import socket
import subprocess
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from sensord.errors import SchemaMismatch, SettingsInvalid, StoreLocked, StoreUnavailable, Unreachable
from sensord.store import Engine, database
from sensord.store.alerts import AlertFilter, list_alerts
from sensord.store.database import (
    UPGRADE_LOCK,
    VERSION_TABLE,
    check,
    connect_within,
    expected_revision,
    lock_for_daemon,
    open_engine,
    reading,
    upgrade,
    writing,
)
from sensord.store.progress import Progress
from sensord.store.schema import UtcDateTime, instant, metadata, microseconds
from tests.store.conditions import blocked, wait_until
from tests.store.rows import NOW, P0, checkpoint, letter

UPGRADE = "import sys; from sensord.store.database import *; upgrade(open_engine(sys.argv[1]))"
HIDDEN = "hunter2"


# --- urls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://ada:{HIDDEN}@db/sensord",
        f"nonsense {HIDDEN}",
        f"postgresql://ada:{HIDDEN}@db:port/sensord",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?uri=true",
    ],
)
def test_url_of_another_kind_is_refused_without_repeating_its_password(url: str) -> None:
    for refuse in (open_engine, lambda url: lock_for_daemon(url).__enter__()):
        with pytest.raises(SettingsInvalid, match=r"store\.url") as refused:
            refuse(url)
        assert HIDDEN not in "".join(traceback.format_exception(refused.value))


def test_folder_of_an_sqlite_file_is_made(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/a/b/sensord.db")
    upgrade(engine)
    engine.dispose()
    assert (tmp_path / "a/b/sensord.db").exists()


def test_unreachable_database_is_named_with_its_address_and_cause_but_not_its_password() -> None:
    with socket.socket() as taken:  # bound but not listening: refuses connections
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        engine = open_engine(f"postgresql://ada:{HIDDEN}@127.0.0.1:{port}/sensord?sslpassword={HIDDEN}")
        with pytest.raises(Unreachable, match=rf"ada:\*\*\*@127\.0\.0\.1:{port}/sensord.*refused") as unreachable:
            connect_within(engine, 0.3)
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}") as unavailable:
            check(engine)
    for error in (unreachable.value, unavailable.value):
        assert HIDDEN not in "".join(traceback.format_exception(error))


def test_file_that_is_no_database_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "sensord.db").write_bytes(b"no database " * 100)
    with pytest.raises(Unreachable, match=r"sensord\.db: file is not a database"):
        connect_within(open_engine(f"sqlite:///{tmp_path}/sensord.db"), 5)


def test_postgres_sessions_let_go_by_themselves_unless_the_url_says_otherwise(postgres_url: str) -> None:
    own = make_url(postgres_url).update_query_dict({"options": "-c lock_timeout=1s", "application_name": "mine"})
    engine = open_engine(own.render_as_string(hide_password=False))
    names = ("idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout", "application_name")
    with reading(engine) as connection:
        shown = [connection.scalar(text(f"SHOW {name}")) for name in names]
    engine.dispose()
    assert shown == ["10s", "30s", "1s", "mine"]


# --- the schema ------------------------------------------------------------------------------------------------------


def test_schema_is_behind_until_it_is_upgraded(store_url: str) -> None:
    engine = open_engine(store_url)
    with pytest.raises(SchemaMismatch, match=f"at no revision, this sensord needs {expected_revision()}: run `"):
        check(engine)
    upgrade(engine)
    check(engine)
    upgrade(engine)
    check(engine)
    engine.dispose()


def test_schema_that_is_ahead_is_left_alone(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("UPDATE sensord_schema SET version_num = '9999'"))
    for refuse in (check, upgrade):
        with pytest.raises(SchemaMismatch, match=r"at 9999, which this sensord doesn't know .*: upgrade sensord"):
            refuse(engine)


def test_three_processes_may_upgrade_at_once(store_url: str) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(upgrading(store_url)) for _ in range(3)]
        ends = [(process.communicate()[1], process.returncode) for process in processes]
    assert ends == [("", 0)] * 3
    engine = open_engine(store_url)
    check(engine)
    engine.dispose()


def test_upgrade_waits_for_the_one_under_way(postgres: Engine) -> None:
    url = postgres.url.render_as_string(hide_password=False)
    with postgres.begin() as under_way:
        under_way.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
        with upgrading(url) as process:
            wait_until(lambda: blocked(postgres) == 1 or process.poll() is not None)
            assert process.poll() is None
            under_way.commit()
            assert (process.communicate()[1], process.returncode) == ("", 0)


def upgrading(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", UPGRADE, url], stderr=subprocess.PIPE, text=True)


def test_migrations_make_the_tables_that_the_code_uses(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
        made = {name: inspect(connection).get_indexes(name) for name in metadata.tables}
    for name, table in metadata.tables.items():
        assert {index["name"] for index in made[name]} == {index.name for index in table.indexes}


@given(st.integers(-(10**15), 10**17))
def test_instants_keep_every_microsecond(at: int) -> None:
    assert microseconds(instant(at)) == at


def test_naive_time_is_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match="naive"):
        UtcDateTime().process_bind_param(instant(0).replace(tzinfo=None), engine.dialect)


# --- the daemon's lock -----------------------------------------------------------------------------------------------


def test_second_daemon_on_a_file_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    url = f"sqlite:///{tmp_path}/sensord.db"
    with lock_for_daemon(url):
        for same in (url, f"sqlite:///{tmp_path}/link/sensord.db"):
            with (
                pytest.raises(StoreLocked, match=r"sensord\.db\.lock: another daemon \(process \d+\)"),
                lock_for_daemon(same),
            ):
                pass
        with lock_for_daemon(f"sqlite:///{tmp_path}/other.db"):
            pass
    with lock_for_daemon(url):
        pass


def test_daemons_share_postgres() -> None:
    url = "postgresql://db/sensord"
    with lock_for_daemon(url), lock_for_daemon(url):
        pass


# --- failures in mid-work --------------------------------------------------------------------------------------------


KILL_OTHERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


def test_killed_connection_is_unavailable_and_the_next_one_works(postgres: Engine) -> None:
    progress = Progress(postgres)
    mine = progress.claim("pumps", P0, "test", "T1", NOW)

    def work_on_after_a_kill() -> None:
        with writing(postgres) as connection:
            with postgres.connect() as killer:
                killer.execute(KILL_OTHERS)
            connection.execute(text("SELECT 1"))

    with pytest.raises(StoreUnavailable, match="terminat"):
        work_on_after_a_kill()
    progress.commit([checkpoint(mine, 100)], NOW)
    assert progress.claim("pumps", P0, "test", "T1", NOW).next_offset == 100


def test_connection_that_died_while_idle_is_replaced_unnoticed(postgres: Engine) -> None:
    progress = Progress(postgres)
    progress.claim("pumps", P0, "test", "T1", NOW)
    killer = open_engine(postgres.url.render_as_string(hide_password=False))
    with killer.connect() as connection:
        connection.execute(KILL_OTHERS)
    killer.dispose()

    assert progress.claim("pumps", P0, "test", "T1", NOW).epoch == 2


def test_lock_that_is_not_given_up_in_time_is_unavailable(postgres_url: str) -> None:
    impatient = make_url(postgres_url).update_query_dict({"options": "-c lock_timeout=10ms"})
    engine = open_engine(impatient.render_as_string(hide_password=False))
    upgrade(engine)
    with engine.begin() as holder:
        holder.execute(text("LOCK TABLE partition_progress"))
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            Progress(engine).claim("pumps", P0, "test", "T1", NOW)
    assert Progress(engine).claim("pumps", P0, "test", "T1", NOW).epoch == 1
    engine.dispose()


def test_connection_that_failed_is_never_used_again(postgres: Engine) -> None:
    used: list[int] = []

    def work(statement: str) -> None:
        with writing(postgres) as connection:
            used.append(connection.scalar(text("SELECT pg_backend_pid()")) or 0)
            connection.execute(text("SET LOCAL statement_timeout = '10ms'"))
            connection.execute(text(statement))

    with pytest.raises(StoreUnavailable, match="statement timeout"):
        work("SELECT pg_sleep(60)")
    work("SELECT 1")
    work("SELECT 1")

    assert used[0] != used[1] == used[2]


def test_busy_file_is_unavailable_to_writers_and_open_to_readers(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0)
    engine = open_engine(sqlite_url)
    upgrade(engine)
    with engine.begin():
        assert list_alerts(engine, AlertFilter()) == []
        with pytest.raises(StoreUnavailable, match="locked"):
            Progress(engine).claim("pumps", P0, "test", "T1", NOW)
    engine.dispose()


def test_full_disk_is_unavailable_and_writes_nothing(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    upgrade(engine)
    progress = Progress(engine)
    mine = progress.claim("pumps", P0, "test", "T1", NOW)
    large = checkpoint(mine, 100, dead_letters=[letter(payload=bytes(100_000), detail=HIDDEN)])
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}"))

    with pytest.raises(StoreUnavailable, match="disk is full") as full:
        progress.commit([large], NOW)

    assert HIDDEN not in "".join(traceback.format_exception(full.value))  # readings are nobody's business in a log
    assert [row.next_offset for row in progress.partitions()] == [None]
    engine.dispose()


def test_statement_that_is_wrong_by_itself_is_our_bug_and_no_outage(engine: Engine) -> None:
    with pytest.raises(DBAPIError), reading(engine) as connection:
        connection.execute(text("SELECT * FROM no_such_table"))
