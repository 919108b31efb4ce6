"""Alerts by run and bundle: a backtest's written, any run's read to be compared. Used by `cli`.

Nobody is told of a backtest's alerts: no row of `alert_events` goes with them.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Engine, func, or_, select

from sensord.detection.alerts import Alert
from sensord.store.alerts import figures, new_row
from sensord.store.database import insert_into, reading, writing
from sensord.store.schema import alerts, instant, microseconds

AT_ONCE = 500  # rows of a transaction: other writers wait no longer
GROUNDS = {"top_channels", "evidence"}  # JSON, which PostgreSQL doesn't compare; they follow from the rest
TIMES = ("opened_at", "last_seen_at", "closed_at")


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


def alerts_of(
    engine: Engine, fleet: str, run: str, bundle_id: str, since: datetime | None = None, until: datetime | None = None
) -> list[Alert]:
    """A bundle's alerts in a run, by opening; those that last into the time from since on, and opened before until.

    Raises StoreUnavailable.
    """
    chosen = select(alerts).where(alerts.c.fleet == fleet, alerts.c.run == run, alerts.c.model_id == bundle_id)
    if since is not None:
        chosen = chosen.where(func.coalesce(alerts.c.closed_at, alerts.c.last_seen_at) >= since)
    if until is not None:
        chosen = chosen.where(alerts.c.opened_at < until)
    with reading(engine) as connection:
        rows = connection.execute(chosen.order_by(alerts.c.opened_at, alerts.c.device_id, alerts.c.id)).mappings()
        return [_alert({str(name): value for name, value in row.items()}) for row in rows]


def _alert(row: dict[str, object]) -> Alert:
    """A row as detection had it."""
    times = {name: microseconds(at) for name in TIMES if isinstance(at := row[name], datetime)}
    return msgspec.convert(row | times, Alert)
