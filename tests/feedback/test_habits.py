"""A word about one false alarm quietens what comes again, and hides no fault; taken back, it leaves no trace."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from sensord.simulate import FleetPlan
from sensord.store import Engine
from sensord.store.database import open_engine, upgrade
from sensord.store.schema import alert_events, alerts
from tests.feedback.habits import Habits, Watch, learned

LEFT = 0.2  # of the alerts that a habit causes, at most
KEPT = 0.95  # of the faults that are found without a word, at least


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[list[Engine]]:
    several = [open_engine(f"sqlite:///{tmp_path / name}.db") for name in ("answered", "silent")]
    for engine in several:
        upgrade(engine)
    yield several
    for engine in several:
        engine.dispose()


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_false_alarm_quietens_the_habit_hides_no_fault_and_is_undone_exactly(
    engines: list[Engine], seed: int, record_property: Callable[[str, object], None]
) -> None:
    habits = Habits(FleetPlan(devices=8, readings=11_000, healthy_readings=3_000, faults=32, seed=seed))
    bundle = learned(habits)
    answered, silent = (Watch(habits, engine, bundle) for engine in engines)
    answered.run(answers=True)
    silent.run(answers=False)

    before, after = silent.alerts(shown=True), answered.alerts(shown=True)
    marked = set(answered.said.values())
    recurring = [len([row for row in answered.of_rinses(rows) if row.id not in marked]) for rows in (before, after)]
    found = answered.found(before), answered.found(after)
    record_property("habits", recurring)
    record_property("faults", found)
    assert len(marked) == 4
    assert recurring[0] >= 50
    assert recurring[1] <= LEFT * recurring[0]
    assert found[1] >= KEPT * found[0] > 0.8 * KEPT * len(habits.faults)

    assert rows(answered.engine) != rows(silent.engine)
    answered.undo(int(habits.simulation.at.max()))
    assert rows(answered.engine) == rows(silent.engine)
    assert told(answered.engine) == told(silent.engine)


def rows(engine: Engine) -> list[tuple[object, ...]]:
    """All of the alerts table but when a row was last written."""
    columns = [column for column in alerts.c if column.name != "updated_at"]
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(*columns).order_by(alerts.c.id))]


def told(engine: Engine) -> Counter[tuple[object, ...]]:
    """What was told of each alert; one that was told late is told as it stands, an escalation in its opening."""
    e = alert_events.c
    with engine.connect() as connection:
        of_daemon = select(e.alert_id, e.event, e.at).where(e.by.is_(None), e.event != "escalated")
        return Counter(tuple(row) for row in connection.execute(of_daemon))
