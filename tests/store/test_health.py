"""What the page asks: health, records of bundles, last readings and neighbours, alike on both databases."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Engine

from sensord.detection.alerts import Kind, Severity, Status
from sensord.store import devices as store_devices
from sensord.store.alert_queries import alerts_of_device, neighbours
from sensord.store.alerts import Feedback, feedback, show
from sensord.store.database import writing
from sensord.store.devices import DeviceSeen
from sensord.store.health import bundle_records, devices_by_health, health_counts
from sensord.store.last_readings import last_readings
from sensord.store.progress import Progress, Snapshot
from tests.builders import fleet, readings
from tests.store.rows import NOW, P0, SECOND, alert, checkpoint, opened

HOUR = 3_600 * SECOND


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Four devices: pump-7 alerts twice, one of them critical and open; pump-8 is a warning; 600 more are all right."""
    watched = fleet()
    values = np.random.default_rng(0).normal(0, 0.3, (700, 2)).astype(np.float32)
    watched.observe(
        readings(np.repeat(values[:40], 2, axis=0), ["pump-7", "pump-8"] * 40, list(np.repeat(range(40), 2)))
    )
    names = [f"pump-{number:04}" for number in range(1_100)]
    watched.observe(readings(np.zeros((1_100, 2)), names, list(range(100, 1_200))))
    over = alert(status=Status.CLOSED, opened_at=NOW - 2 * HOUR, closed_at=NOW - HOUR)
    rows = [
        over,
        alert(severity=Severity.CRITICAL, opened_at=NOW - HOUR, kind=Kind.SPIKE),
        alert(device_id="pump-8", opened_at=NOW),
        alert(device_id="pump-8", opened_at=NOW - HOUR, run="replay"),
    ]
    progress = Progress(engine)
    claim = progress.claim("pumps", P0, "me", "", NOW)
    pages = watched.pages()
    assert len(pages) == 2
    seen = [DeviceSeen(name, NOW - HOUR, NOW) for name in ("pump-7", "pump-8", *names)]
    mark = checkpoint(claim, 100, alerts=[opened(each) for each in rows], devices=seen)
    progress.commit([replace(mark, snapshot=Snapshot("b", pages))], NOW)
    feedback(engine, str(over.id), Feedback.REAL, "ann", NOW)
    return engine


def test_those_in_trouble_come_first(filled: Engine) -> None:
    found = devices_by_health(filled, "pumps", None, 3)
    assert [(one.device_id, one.health, one.open_alerts, one.alerts_30d) for one in found] == [
        ("pump-7", "critical", 1, 2),
        ("pump-8", "warning", 1, 1),
        ("pump-0000", "ok", 0, 0),
    ]
    assert [one.device_id for one in devices_by_health(filled, "pumps", "pump-000?", 2)] == ["pump-0000", "pump-0001"]
    assert devices_by_health(filled, "fans", None, 3) == []
    assert health_counts(filled) == {"pumps": {"critical": 1, "warning": 1, "ok": 1_100}}


def test_what_people_said_of_a_bundle_is_counted(filled: Engine) -> None:
    [record] = bundle_records(filled, "pumps").values()
    assert (record.alerts, record.real_ones, record.false_alarms, record.unanswered) == (3, 1, 0, 2)
    assert bundle_records(filled, "fans") == {}


@pytest.mark.parametrize(("device", "seen"), [("pump-8", 32), ("pump-1099", 1)], ids=["first page", "second page"])
def test_last_readings_come_out_of_the_page_that_has_them(filled: Engine, device: str, seen: int) -> None:
    found = last_readings(filled, "pumps", device)
    assert found is not None
    assert found.observed.shape == (seen, 2)
    assert (np.diff(found.at) > 0).all()


def test_who_has_no_state_has_no_last_readings(filled: Engine) -> None:
    assert last_readings(filled, "pumps", "pump-9999") is None
    with writing(filled) as connection:
        store_devices.write(connection, "pumps", P0, [DeviceSeen("pump-new", NOW, NOW)])
    assert last_readings(filled, "pumps", "pump-new") is None


def test_an_alert_s_neighbours_are_those_of_its_device_and_run(filled: Engine) -> None:
    late, early = alerts_of_device(filled, "pumps", "pump-7", 9)
    assert neighbours(filled, early) == (None, late)
    assert neighbours(filled, late) == (early, None)
    [other] = alerts_of_device(filled, "pumps", "pump-8", 9)
    assert neighbours(filled, show(filled, str(other.id))) == (None, None)
