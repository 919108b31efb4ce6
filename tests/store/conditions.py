"""Conditions to wait for."""

from collections.abc import Callable

from sqlalchemy import text

from sensord.store import Engine


def blocked(engine: Engine) -> int:
    """How many connections wait for a lock in this database."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect() as connection:
        return int(connection.scalar(waiting) or 0)


def wait_until(happened: Callable[[], bool]) -> None:
    """Ask until it is so; the test's own time-out ends it."""
    while not happened():
        pass
