"""A backtest's alerts are kept once however often it runs, nobody is told of them, and each run is read apart."""

from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import select

from sensord.detection.alerts import Alert, Reason, Severity, Status
from sensord.store import Engine, runs
from sensord.store.alerts import Feedback, feedback
from sensord.store.database import reading
from sensord.store.runs import Found, Window, alerts_of, keep
from sensord.store.schema import alert_events, alerts, instant
from tests.store.rows import NOW, SECOND, alert


def replayed(number: int, **fields: object) -> Alert:
    """Closed half a minute after it opened, `number` minutes from now on."""
    opened_at = NOW + number * 60 * SECOND
    end = opened_at + 30 * SECOND
    times = {"opened_at": opened_at, "last_seen_at": end, "closed_at": end}
    told = {"id": UUID(int=number + 1), "run": "replay", "status": Status.CLOSED, "close_reason": Reason.CLEARED}
    return alert(**times | told | fields)


def rows(engine: Engine) -> list[tuple[object, ...]]:
    with reading(engine) as connection:
        return [tuple(row) for row in connection.execute(select(alerts).order_by(alerts.c.id))]


def test_what_is_kept_twice_leaves_the_same_rows(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "AT_ONCE", 3)
    some = [replayed(number) for number in range(8)]
    keep(engine, some, NOW)
    before = rows(engine)
    keep(engine, some[:5], NOW + SECOND)
    keep(engine, some, NOW + 2 * SECOND)
    assert len(before) == 8
    assert rows(engine) == before


def test_nobody_is_told_of_a_backtest_s_alerts(engine: Engine) -> None:
    keep(engine, [replayed(0)], NOW)
    keep(engine, [replayed(0, severity=Severity.CRITICAL)], NOW)
    with reading(engine) as connection:
        assert connection.execute(select(alert_events)).all() == []


def test_an_alert_that_went_on_in_a_longer_recording_is_brought_up_to_date(engine: Engine) -> None:
    before = replayed(0, close_reason=Reason.ENDED)
    after = replace(before, closed_at=NOW + 90 * SECOND, last_offset=99, close_reason=Reason.CLEARED)
    keep(engine, [before, replayed(1)], NOW)
    feedback(engine, str(before.id), Feedback.REAL, "ann", NOW)
    keep(engine, [after, replayed(1)], NOW + SECOND)
    assert alerts_of(engine, "pumps", "replay", "pumps-1").opened == [after, replayed(1)]
    with reading(engine) as connection:
        told = connection.execute(select(alerts.c.feedback, alerts.c.detected_at).order_by(alerts.c.id)).all()
    assert [tuple(row) for row in told] == [("real", instant(NOW)), (None, instant(NOW))]


def test_only_the_alerts_of_that_run_and_bundle_and_time_are_read(engine: Engine) -> None:
    mine = [replayed(number) for number in range(4)]
    others = [replayed(4, model_id="pumps-2"), replayed(5, run="live"), replayed(6, fleet="motors")]
    keep(engine, [*mine, *others], NOW)
    assert alerts_of(engine, "pumps", "replay", "pumps-1") == Found(mine, [])
    since, until = instant(NOW + 80 * SECOND), instant(NOW + 180 * SECOND)
    assert alerts_of(engine, "pumps", "replay", "pumps-1", Window(since)) == Found(mine[2:], mine[1:2])
    assert alerts_of(engine, "pumps", "replay", "pumps-1", Window(since, until)) == Found(mine[2:3], mine[1:2])


def test_by_the_clock_it_is_when_an_alert_was_written_down_that_counts(engine: Engine) -> None:
    early, late, moved = (replayed(number) for number in range(3))
    keep(engine, [early, moved], NOW)
    keep(engine, [late, replace(moved, last_offset=99)], NOW + 9 * SECOND)
    since = instant(NOW + 5 * SECOND)
    found = alerts_of(engine, "pumps", "replay", "pumps-1", Window(since, by_clock=True))
    assert found == Found([late], [replace(moved, last_offset=99)])
    assert alerts_of(engine, "pumps", "replay", "pumps-1", Window(None, since, by_clock=True)).opened == [
        early,
        replace(moved, last_offset=99),
    ]


def test_an_open_alert_lasts_until_it_was_last_seen(engine: Engine) -> None:
    one = replayed(0, closed_at=None, status=Status.OPEN, close_reason=None, run="shadow")
    keep(engine, [one], NOW)
    assert alerts_of(engine, "pumps", "shadow", "pumps-1", Window(instant(NOW + 30 * SECOND))).before == [one]
    assert alerts_of(engine, "pumps", "shadow", "pumps-1", Window(instant(NOW + 31 * SECOND))) == Found([], [])
