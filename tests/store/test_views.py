"""The views say what their names say, the same on both databases, and give way to a migration."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, RowMapping, text, update

from sensord.detection.alerts import Reason, Severity, Status
from sensord.store.alerts import Feedback, feedback
from sensord.store.database import open_engine, upgrade
from sensord.store.devices import DeviceSeen
from sensord.store.progress import Progress, Snapshot
from sensord.store.schema import alerts
from sensord.store.views import VIEWS, make
from tests.store.rows import NOW, P0, SECOND, alert, checkpoint, opened
from tests.upgrades.test_upgrades import migrate

DAY = 86_400 * SECOND


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    opened_engine = open_engine(store_url)
    upgrade(opened_engine)
    yield opened_engine
    opened_engine.dispose()


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """pump-7: an open critical alert, a closed one 40 days ago that was false, and a suppressed one. pump-8: none."""
    progress = Progress(engine)
    claim = progress.claim("pumps", P0, "me", "", NOW)
    closed = {"status": Status.CLOSED, "closed_at": NOW, "close_reason": Reason.CLEARED}
    changes = [
        opened(alert(severity=Severity.CRITICAL, score_peak=9.0)),
        opened(old := alert(opened_at=NOW - 40 * DAY, **closed)),
        opened(hidden := alert(opened_at=NOW - DAY, **closed)),
        opened(alert(run="shadow")),
    ]
    seen = [DeviceSeen(name, NOW - 50 * DAY, NOW) for name in ("pump-7", "pump-8")]
    progress.commit([checkpoint(claim, alerts=changes, snapshot=Snapshot("pumps-1", {}), devices=seen)], NOW)
    feedback(engine, str(old.id), Feedback.FALSE_ALARM, "ann", NOW)
    with engine.begin() as connection:
        connection.execute(update(alerts).where(alerts.c.id == hidden.id).values(suppressed_window=1))
    return engine


def rows(engine: Engine, view: str) -> list[RowMapping]:
    with engine.connect() as connection:
        return [row._mapping for row in connection.execute(text(f"SELECT * FROM {view}"))]


def test_open_alerts_are_those_that_people_are_told_of(filled: Engine) -> None:
    [row] = rows(filled, "open_alerts")
    assert (row["device_id"], row["severity"], row["times_the_limit"], row["because_of"]) == (
        "pump-7",
        "critical",
        3.0,
        "temperature",
    )


def test_health_is_that_of_each_device_with_its_last_thirty_days(filled: Engine) -> None:
    columns = ("device_id", "health", "open_alerts", "alerts_30d")
    assert sorted(tuple(row[name] for name in columns) for row in rows(filled, "device_health")) == [
        ("pump-7", "critical", 1, 1),
        ("pump-8", "ok", 0, 0),
    ]


def test_noise_counts_what_was_suppressed_apart(filled: Engine) -> None:
    [row] = rows(filled, "noisy_devices")
    assert (row["alerts"], row["suppressed"], row["false_alarms"], row["real_ones"], row["worst"]) == (2, 1, 1, 0, 3.0)


def test_precision_is_of_what_people_have_answered(filled: Engine) -> None:
    [row] = rows(filled, "model_precision")
    assert (row["alerts"], row["unanswered"], row["false_alarms"], row["precision"]) == (2, 1, 1, 0.0)


def test_a_migration_finds_no_view_in_its_way_and_leaves_all_behind(store_url: str) -> None:
    before = open_engine(store_url)
    migrate(before, "0007")
    with before.begin() as connection:
        make(connection)
    upgrade(before)
    assert {view: rows(before, view) for view in VIEWS} == {view: [] for view in VIEWS}
    before.dispose()


def test_an_upgrade_that_finds_nothing_to_do_leaves_the_views_and_the_rights_on_them_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP VIEW open_alerts"))
        connection.execute(text("CREATE VIEW open_alerts AS SELECT 1 AS mine"))
    upgrade(engine)
    assert [row["mine"] for row in rows(engine, "open_alerts ")] == [1]
