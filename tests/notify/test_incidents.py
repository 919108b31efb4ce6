"""Alerts with one cause are one incident; each event is taken once, whoever commits when and whatever is killed."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine, select

from sensord.detection.alerts import Kind, Severity
from sensord.errors import StoreUnavailable
from sensord.store import incidents
from sensord.store.alerts import acknowledge
from sensord.store.database import open_engine, upgrade, writing
from sensord.store.incidents import list_incidents, take_events
from sensord.store.schema import alert_events, instant, notices
from sensord.store.suppression import add_window
from sensord.store.windows import WindowKind
from tests.notify.rows import COLD, NOISE, Plant
from tests.store.rows import SECOND

DAY = timedelta(days=1)
HOUR = 3_600 * SECOND


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    opened = open_engine(store_url)
    upgrade(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def plant(engine: Engine) -> Plant:
    return Plant(engine)


def take(plant: Plant) -> list[tuple[int, str, str]]:
    """Take all there is; returns every notice so far: incident, what, how severe."""
    while take_events(plant.engine, instant(plant.now), DAY):
        pass
    return told(plant.engine)


def told(engine: Engine) -> list[tuple[int, str, str]]:
    n = notices.c
    with engine.connect() as connection:
        rows = connection.execute(select(n.incident_id, n.notice, n.severity).order_by(n.sequence))
        return [(row.incident_id, row.notice, row.severity) for row in rows]


def test_one_alert_is_told_when_it_opens_becomes_critical_and_is_over(plant: Plant) -> None:
    plant.opens("pump-1")
    assert take(plant) == [(1, "opened", "warning")]
    plant.escalates("pump-1")
    assert take(plant)[1:] == [(1, "escalated", "critical")]
    plant.closes("pump-1")
    assert take(plant)[2:] == [(1, "resolved", "critical")]
    assert take(plant)[3:] == []


def test_twelve_devices_with_one_cause_are_told_once(plant: Plant) -> None:
    for number in range(12):
        plant.opens(f"pump-{number}")
    assert take(plant) == [(1, "opened", "warning")]
    [row] = list_incidents(plant.engine)
    assert (row.devices, row.alerts) == (12, 12)
    for number in range(11):
        plant.closes(f"pump-{number}")
    assert len(take(plant)) == 1
    plant.closes("pump-11")
    assert take(plant)[1:] == [(1, "resolved", "warning")]


@pytest.mark.parametrize(
    ("channels", "fields"), [(NOISE, {}), (COLD, {}), ((), {"kind": Kind.SILENT})], ids=["channel", "direction", "kind"]
)
def test_what_has_another_cause_is_told_apart(plant: Plant, channels: tuple, fields: dict) -> None:  # type: ignore[type-arg]
    plant.opens("pump-1")
    plant.opens("pump-2", channels, **fields)
    assert [incident for incident, _, _ in take(plant)] == [1, 2]


def test_silences_at_one_time_are_one_incident(plant: Plant) -> None:
    for number in range(3):
        plant.opens(f"pump-{number}", (), kind=Kind.SILENT)
    assert take(plant) == [(1, "opened", "warning")]


def test_only_rising_severity_is_told_again(plant: Plant) -> None:
    plant.opens("pump-1", severity=Severity.CRITICAL)
    plant.opens("pump-2")
    plant.escalates("pump-2")
    assert take(plant) == [(1, "opened", "critical")]


def test_what_comes_when_all_is_over_is_told_anew(plant: Plant) -> None:
    plant.opens("pump-1")
    plant.closes("pump-1")
    take(plant)
    plant.opens("pump-2")
    assert [incident for incident, _, _ in take(plant)] == [1, 1, 2]


def test_what_opens_and_closes_in_between_is_told_with_its_end(plant: Plant) -> None:
    plant.opens("pump-1")
    plant.closes("pump-1")
    assert take(plant) == [(1, "opened", "warning"), (1, "resolved", "warning")]


def test_what_is_over_for_longer_than_a_day_is_not_told_but_what_goes_on_is(plant: Plant) -> None:
    plant.opens("pump-1")
    plant.closes("pump-1")
    plant.opens("pump-2", NOISE)
    plant.now += 25 * HOUR
    assert take(plant) == [(1, "opened", "warning")]
    assert list_incidents(plant.engine)[0].devices == 1


def test_suppressed_alerts_are_nobody_s_business(plant: Plant) -> None:
    window = instant(plant.now - HOUR), instant(plant.now + HOUR)
    add_window(plant.engine, "pumps", None, *window, WindowKind.MAINTENANCE, None, "ann", plant.now)
    plant.opens("pump-1")
    assert take(plant) == []


def test_an_incident_whose_alert_a_window_swallowed_is_over_when_that_is(plant: Plant) -> None:
    plant.opens("pump-1")
    take(plant)
    window = instant(plant.now - HOUR), instant(plant.now + HOUR)
    add_window(plant.engine, "pumps", None, *window, WindowKind.MAINTENANCE, None, "ann", plant.now)
    plant.closes("pump-1")
    assert take(plant)[1:] == [(1, "resolved", "warning")]


def test_what_people_say_is_taken_and_told_to_nobody(plant: Plant) -> None:
    name = str(plant.opens("pump-1"))
    take(plant)
    acknowledge(plant.engine, name, "ann", plant.now)
    assert len(take(plant)) == 1
    with plant.engine.connect() as connection:
        assert connection.execute(select(alert_events.c.sequence).where(alert_events.c.taken_at.is_(None))).all() == []


def test_a_death_in_the_middle_tells_nothing_twice_and_leaves_nothing_out(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.opens("pump-1")
    plant.opens("pump-2", NOISE)
    tell, left = incidents._tell, [1]

    def dies(*arguments: object) -> None:
        if not left.pop():
            raise StoreUnavailable("killed")
        left.append(0)
        tell(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(incidents, "_tell", dies)
    with pytest.raises(StoreUnavailable):
        take(plant)
    monkeypatch.undo()
    assert told(plant.engine) == []
    assert [what for _, what, _ in take(plant)] == ["opened", "opened"]


@pytest.mark.postgres
def test_a_number_that_is_committed_late_is_taken_all_the_same(postgres_url: str) -> None:
    """Two daemons: the one that took the lower number commits last."""
    engine = open_engine(postgres_url)
    upgrade(engine)
    plant = Plant(engine)
    with writing(engine) as slow:
        first = slow.exec_driver_sql("SELECT nextval('alert_events_sequence_seq')").scalar_one()
        fast = plant.opens("pump-1")
        assert take(plant) == [(1, "opened", "warning")]
        row = {"sequence": first, "alert_id": fast, "event": "escalated", "severity": "critical"}
        slow.execute(alert_events.insert(), row | {"at": instant(plant.now), "recorded_at": instant(plant.now)})
    plant.escalates("pump-1")
    assert [what for _, what, _ in take(plant)] == ["opened", "escalated"]
    with engine.connect() as connection:
        untaken = select(alert_events.c.sequence).where(alert_events.c.taken_at.is_(None))
        assert connection.execute(untaken).all() == []
    engine.dispose()
