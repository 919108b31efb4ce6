"""What older versions left behind is taken up where they left off; and they go on beside what newer ones have added."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from alembic import command
from sqlalchemy import Connection, Engine, inspect, select, text

from sensord.errors import SchemaMismatch
from sensord.store.database import (
    GENERATION,
    _config,
    _scripts,
    check,
    expected_revision,
    open_engine,
    upgrade,
    writing,
)
from sensord.store.schema import metadata
from tests.daemon.world import World
from tests.upgrades.keep import HERE, send, told

KEPT = sorted(path.parent.name for path in HERE.glob("*/alerts.json"))


def unpacked(kept: str, name: str) -> str:
    return zstandard.ZstdDecompressor().decompress((HERE / kept / name).read_bytes()).decode()


def restore(kept: str, engine: Engine, folder: Path) -> None:
    """The database of an older version, as it left it. On PostgreSQL row by row, in its own schema."""
    file = folder / "kept.db" if engine.dialect.name == "postgresql" else Path(engine.url.database or "")
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(unpacked(kept, "database.sql.zst"))
        [(revision,)] = connection.execute("SELECT version_num FROM sensord_schema").fetchall()
    if engine.dialect.name == "postgresql":
        migrate(engine, revision)
        source = open_engine(f"sqlite:///{file}")
        with source.connect() as rows, engine.begin() as connection:
            for table in metadata.sorted_tables:
                copy_rows(table.name, rows, connection)
        source.dispose()


def copy_rows(name: str, source: Connection, target: Connection) -> None:
    if not inspect(source).has_table(name):
        return
    table, there = metadata.tables[name], {column["name"] for column in inspect(source).get_columns(name)}
    found = [dict(row._mapping) for row in source.execute(select(*(c for c in table.c if c.name in there)))]
    if found:
        target.execute(table.insert().values(**dict.fromkeys(found[0])), found)
        for column in (c for c in table.primary_key if c.autoincrement is True):
            last = max(row[column.name] for row in found)
            target.execute(text(f"SELECT setval('{name}_{column.name}_seq', {last})"))


def migrate(engine: Engine, revision: str) -> None:
    """To this revision, as `upgrade` goes to the latest; without views."""
    with writing(engine) as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    opened = open_engine(store_url)
    yield opened
    opened.dispose()


def apart(alert: dict[str, str]) -> tuple[dict[str, str], object]:
    """What has to be the same, and a score, which another kind of processor may round otherwise."""
    return {key: value for key, value in alert.items() if key != "score_peak"}, pytest.approx(
        float(alert["score_peak"])
    )


# --- what was left behind --------------------------------------------------------------------------------------------


def test_there_is_something_of_the_version_before_and_of_this_one() -> None:
    revisions = [script.revision for script in _scripts().walk_revisions()]
    assert {f"schema-{revision}" for revision in revisions[:2]} <= set(KEPT)


@pytest.mark.parametrize("kept", KEPT)
def test_a_database_is_taken_up_in_the_midst_of_an_alert_and_comes_to_the_same(
    kept: str, engine: Engine, tmp_path: Path
) -> None:
    """Its bundle, its state pages and its open alert; and what was committed after the last snapshot is replayed."""
    restore(kept, engine, tmp_path)
    upgrade(engine)
    assert any(alert["status"] == "open" for alert in told(engine))
    world = World(engine, first=None)
    send(world, map(json.loads, unpacked(kept, "log.jsonl.zst").splitlines()))
    assert all(0 < state <= committed for _, committed, state in world.progress().values())
    assert any(state < committed for _, committed, state in world.progress().values())
    world.daemon().finish()
    expected = json.loads((HERE / kept / "alerts.json").read_text())
    assert list(map(apart, told(engine))) == list(map(apart, expected))


# --- beside newer versions -------------------------------------------------------------------------------------------


def ahead(engine: Engine, revision: str) -> None:
    """The schema of a later version: it has more of everything."""
    with engine.begin() as connection:
        for table in metadata.tables:
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN later text"))
        connection.execute(text("CREATE TABLE later (id integer PRIMARY KEY)"))
        connection.execute(text("UPDATE sensord_schema SET version_num = :revision"), {"revision": revision})


def test_a_daemon_works_in_the_schema_of_a_later_version_and_upgrade_leaves_it_alone(
    engine: Engine, tmp_path: Path
) -> None:
    later = f"{int(expected_revision()) + 7:04}"
    assert later[:GENERATION] == expected_revision()[:GENERATION]
    world = World(engine)
    ahead(engine, later)
    upgrade(engine)
    check(engine)
    world.send_day()
    world.daemon().finish()
    plain = World(open_engine(f"sqlite:///{tmp_path}/plain.db"))
    plain.send_day()
    plain.daemon().finish()
    assert told(engine) == told(plain.engine) != []
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM sensord_schema")) == later
    plain.engine.dispose()


def test_a_schema_of_another_generation_is_refused(engine: Engine) -> None:
    upgrade(engine)
    ahead(engine, f"{int(expected_revision()[:GENERATION]) + 1:02}00")
    with pytest.raises(SchemaMismatch, match="upgrade sensord"):
        check(engine)


def columns(engine: Engine) -> dict[tuple[str, str], tuple[str, bool]]:
    """Type of each column, and whether whoever doesn't know it may leave it out."""
    found = inspect(engine)
    return {
        (table, column["name"]): (str(column["type"]), column["nullable"] or column["default"] is not None)
        for table in found.get_table_names()
        for column in found.get_columns(table)
    }


def test_within_a_generation_a_migration_only_adds_what_older_versions_may_leave_out(engine: Engine) -> None:
    revisions = [script.revision for script in _scripts().walk_revisions()][::-1]
    migrate(engine, revisions[0])
    before = columns(engine)
    for last, revision in pairwise(revisions):
        migrate(engine, revision)
        after = columns(engine)
        if last[:GENERATION] == revision[:GENERATION]:
            assert {name: after.get(name) for name in before} == before, revision
            tables = {table for table, _ in before}
            needed = [name for name in after.keys() - before.keys() if name[0] in tables and not after[name][1]]
            assert needed == [], revision
        before = after
