"""What daemons have left in the database, to be held against what the oracle expects."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from sqlalchemy import Engine, Table, select

from sensord.store.schema import (
    alert_events,
    alerts,
    dead_letters,
    devices,
    gaps,
    partition_progress,
    shadow_pages,
    state_pages,
)
from tests.properties.oracle import Expected, Row

Pages: TypeAlias = Mapping[tuple[int, int], bytes]
WALL_CLOCK = {
    "alerts": {"detected_at", "updated_at"},
    "alert_events": {"sequence", "recorded_at", "taken_at"},  # the last is of whoever tells of alerts
    "dead_letters": {"id", "recorded_at"},
    "gaps": {"id", "recorded_at"},
    "devices": {"partition"},  # of one that has moved, whichever of the two wrote last
}


def compare(engine: Engine, expected: Expected) -> None:
    """Raises AssertionError with the first differences of the first table that differs."""
    _same("alerts", _rows(engine, alerts), expected.alerts.values())
    _same("alert_events", _rows(engine, alert_events), expected.alert_events)
    _same("dead_letters", _rows(engine, dead_letters), expected.dead_letters)
    _same("gaps", _rows(engine, gaps), expected.gaps)
    _same("devices", _rows(engine, devices), expected.device_rows)
    _same_pages(_pages(engine, state_pages), expected.pages)
    _same_pages(_pages(engine, shadow_pages), expected.shadow_pages)


def _same_pages(found: Pages, expected: Pages) -> None:
    assert found.keys() == expected.keys(), f"pages {sorted(found)}, not {sorted(expected)}"
    wrong = [key for key, page in expected.items() if found[key] != page]
    assert not wrong, f"pages differ, by partition and page: {wrong}"


def committed(engine: Engine) -> dict[int, int | None]:
    """By partition: next_offset."""
    p = partition_progress.c
    with engine.connect() as connection:
        return {row.partition: row.next_offset for row in connection.execute(select(p.partition, p.next_offset))}


def _rows(engine: Engine, table: Table) -> list[Row]:
    columns = [column for column in table.c if column.name not in WALL_CLOCK[table.name]]
    with engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(select(*columns))]


def _pages(engine: Engine, table: Table) -> Pages:
    s = table.c
    with engine.connect() as connection:
        return {(number, page): data for number, page, data in connection.execute(select(s.partition, s.page, s.data))}


def _same(table: str, found: Iterable[Row], expected: Iterable[Row]) -> None:
    are, should = _ordered(found), _ordered(expected)
    if are != should:
        extra = [row for row in are if row not in should][:3]
        missing = [row for row in should if row not in are][:3]
        raise AssertionError(f"{table}: {len(are)} rows, {len(should)} expected\nextra: {extra}\nmissing: {missing}")


def _ordered(rows: Iterable[Row]) -> list[str]:
    return sorted(repr(sorted((name, _plain(value)) for name, value in row.items())) for row in rows)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, str) else value  # an enumeration's member reads as what is stored
