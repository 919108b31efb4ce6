"""Alerts by run and bundle: a backtest's written, any run's read to be compared. Used by `cli`.

Nobody is told of a backtest's alerts: no row of `alert_events` goes with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import Engine, func, or_, select

from sensord.detection.alerts import Alert
from sensord.store.alerts import figures, new_row
from sensord.store.database import insert_into, reading, writing
from sensord.store.schema import alerts, instant, microseconds

AT_ONCE = 500  # rows of a transaction: other writers wait no longer
GROUNDS = {"top_channels", "evidence", "forecast"}  # JSON, which PostgreSQL doesn't compare; they follow from the rest
TIMES = ("opened_at", "last_seen_at", "closed_at")


@dataclass(frozen=True, slots=True)
class Window:
    """since <= when an alert opened < until; None: no bound. by_clock: when the daemon wrote it down, as a bundle's
    moves are told; else event time, as people tell it."""

    since: datetime | None = None
    until: datetime | None = None
    by_clock: bool = False


ALWAYS = Window()


@dataclass(frozen=True, slots=True)
class Found:
    """opened: in the window. before: earlier, but going on in it."""

    opened: list[Alert]
    before: list[Alert]


def keep(engine: Engine, found: Sequence[Alert], at: int) -> None:
    """Write a backtest's alerts. One that is there is brought up to date where it differs, else left as it is.

    at: wall time, microseconds. Raises StoreUnavailable, AccessRefused.
    """
    now = instant(at)
    for first in range(0, len(found), AT_ONCE):
        rows = found[first : first + AT_ONCE]
        moving = figures(rows[0], now)
        with writing(engine) as connection:
            insert = insert_into(connection, alerts)
            differs = [
                alerts.c[name].is_distinct_from(insert.excluded[name])
                for name in moving
                if name not in GROUNDS and name != "updated_at"
            ]
            update = {name: insert.excluded[name] for name in moving}
            statement = insert.on_conflict_do_update(index_elements=[alerts.c.id], set_=update, where=or_(*differs))
            connection.execute(statement, [new_row(alert, now) for alert in rows])


def alerts_of(engine: Engine, fleet: str, run: str, bundle_id: str, window: Window = ALWAYS) -> Found:
    """A bundle's alerts in a run, by opening. Raises StoreUnavailable."""
    chosen = select(alerts).where(alerts.c.fleet == fleet, alerts.c.run == run, alerts.c.model_id == bundle_id)
    began = alerts.c.detected_at if window.by_clock else alerts.c.opened_at
    moved = (alerts.c.updated_at,) if window.by_clock else (alerts.c.closed_at, alerts.c.last_seen_at)
    if window.since is not None:
        chosen = chosen.where(func.coalesce(*moved, began) >= window.since)
    if window.until is not None:
        chosen = chosen.where(began < window.until)
    found = Found([], [])
    with reading(engine) as connection:
        rows = connection.execute(chosen.order_by(alerts.c.opened_at, alerts.c.device_id, alerts.c.id)).mappings()
        for row in rows:
            is_new = window.since is None or row[began.name] >= window.since
            (found.opened if is_new else found.before).append(_alert({str(name): row[name] for name in row}))
    return found


def _alert(row: dict[str, object]) -> Alert:
    """A row as detection had it."""
    times = {name: microseconds(at) for name in TIMES if isinstance(at := row[name], datetime)}
    return msgspec.convert(row | times, Alert)
