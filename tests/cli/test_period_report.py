"""Promises of `sensord report`: the figures are the tables', the page needs nothing else and runs nothing."""

import re
from pathlib import Path

import pytest

from sensord.cli.period_page import FleetPeriod, page
from sensord.clock import MICROSECONDS
from sensord.detection.alerts import Severity
from sensord.store.alert_queries import By
from sensord.store.alerts import Feedback, feedback
from sensord.store.database import open_engine, upgrade
from sensord.store.devices import DeviceSeen
from sensord.store.period import Period, Population
from sensord.store.progress import Progress, Snapshot
from sensord.store.schema import instant
from tests.cli.rows import HOSTILE, Sensord
from tests.store.rows import NOW, P0, alert, checkpoint, letter, opened

DAY = 86_400 * MICROSECONDS
SINCE, UNTIL = instant(NOW - 7 * DAY).isoformat(), instant(NOW + DAY).isoformat()


@pytest.fixture
def told(sensord: Sensord, tmp_path: Path) -> str:
    """The page of a week in which pump-7 alerted twice and a device with a hostile name once; one lies before."""
    url = f"sqlite:///{tmp_path / 'sensord.db'}"
    (tmp_path / "sensord.toml").write_text(f"store.url = '{url}'\n[fleets.pumps]\ntopics = ['sensors.pumps']\n")
    engine = open_engine(url)
    upgrade(engine)
    progress = Progress(engine)
    claim = progress.claim("pumps", P0, "me", "", NOW)
    changes = [
        opened(first := alert(opened_at=NOW - DAY, severity=Severity.CRITICAL, score_peak=30.0)),
        opened(alert(opened_at=NOW - 2 * DAY)),
        opened(alert(device_id=HOSTILE, opened_at=NOW - 2 * DAY)),
        opened(alert(opened_at=NOW - 9 * DAY)),
    ]
    seen = [DeviceSeen("pump-7", NOW - 90 * DAY, NOW), DeviceSeen(HOSTILE, NOW - 4 * DAY, NOW)]
    quiet = DeviceSeen("pump-9", NOW - 90 * DAY, NOW - 30 * DAY)
    mark = checkpoint(
        claim, alerts=changes, dead_letters=[letter()], snapshot=Snapshot("b", {}), devices=[*seen, quiet]
    )
    progress.commit([mark], NOW)
    feedback(engine, str(first.id), Feedback.REAL, "ann", NOW)
    engine.dispose()
    ended = sensord("report", "--since", SINCE, "--until", UNTIL, "--out", "week.html")
    assert (ended.code, ended.out) == (0, "week.html: 3 alerts of 1 fleets\n")
    return (tmp_path / "week.html").read_text(encoding="utf-8")


def test_the_figures_are_those_of_the_tables(told: str) -> None:
    assert "3 alerts in 11 device-days, 3.6 times the budget, if what nobody has called real is false" in told
    assert "people called 1 real and 0 false." in told
    assert "<b>1 of 3</b><span>answered by people</span>" in told
    assert re.search(r"2025-11-23: 1 alerts, 1 critical", told)
    assert re.search(r"2025-11-22: 2 alerts, 0 critical", told)
    assert told.count('role="img" aria-label="temperature around the opening"') == 3
    assert re.search(r"dead letters: malformed</td><td class=right>1<", told)
    assert re.search(r"said nothing</td><td class=right>1<", told)
    assert re.search(r"<td>pump-7</td><td class=right>2</td>", told)


def test_the_page_needs_nothing_else_and_what_devices_send_stays_text(told: str) -> None:
    assert not re.search(r"<script|<link|https?://|javascript:", told)
    assert HOSTILE not in told
    assert "\\u202e7" in told


def test_a_fleet_of_which_nothing_came_is_told_too() -> None:
    empty = FleetPeriod("pumps", 0.05, Population(0, 0, 0.0), None, 0, {by: [] for by in By}, [], [], [], [], {}, [])
    assert "No device of this fleet was heard of" in page([empty], Period(instant(NOW), instant(NOW + DAY)))


def test_mistakes_are_named(sensord: Sensord, tmp_path: Path) -> None:
    assert "no fleet is set" in sensord("report").err
    (tmp_path / "sensord.toml").write_text("[fleets.pumps]\ntopics = ['sensors.pumps']\n")
    assert "there are: pumps" in sensord("report", "--fleet", "fans").err
    assert sensord("report", "--since", "1h", "--until", "2h").code == 2
