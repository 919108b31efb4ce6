"""A bundle that does harm once it counts is rolled back, and one that doesn't stays."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from sensord.daemon.probation import Probation
from sensord.detection import intake
from sensord.detection.fleet import Fleet, Observation, Outcome
from sensord.model.bundle import Packed
from sensord.readings import Readings
from sensord.store.alerts import AlertFilter, list_alerts
from sensord.store.registry import Stage
from tests.builders import packed
from tests.daemon.world import Daemon, World, world

HOUR = 3_600.0


@pytest.fixture
def here(sqlite_url: str) -> Iterator[World]:
    with world(sqlite_url) as made:
        yield made


def promoted_under_way(here: World, model: Packed, probation_s: float = HOUR, days: int = 4) -> Daemon:
    """A quiet day under the old bundle, and another one after a promotion."""
    rng = np.random.default_rng(1)

    def day(first: int) -> None:
        for second in range(first, first + 200):
            for device in range(6):
                here.send(device, second, rng.normal(0, 0.3), rng.normal(0, 0.3))

    day(0)
    daemon = here.daemon(max_records=50, probation_s=probation_s)
    daemon.turn(30)
    here.publish(model)
    for number in range(1, days):
        day(200 * number)
        daemon.turn(30)
    return daemon


def stages(here: World) -> dict[str, Stage]:
    return {row.bundle_id: row.stage for row in here.registry.list("pumps")}


WILD = packed(threshold=0.02, seed=7)  # whatever comes, it is alarmed
SANE = packed(threshold=3.0, seed=7)
OLD = packed().bundle_id


def test_a_bundle_under_which_alerts_leap_is_rolled_back(here: World) -> None:
    daemon = promoted_under_way(here, WILD)
    daemon.finish()
    assert stages(here) == {OLD: Stage.CURRENT, WILD.bundle_id: Stage.RETIRED}
    assert {shard.fleet.bundle.id for shard in daemon.loop.shards.values()} == {OLD}
    back = here.registry.moves("pumps", limit=1)[0]
    assert "alerts in" in back.why
    assert "would have opened" in back.why
    assert daemon.loop._metrics.registry.get_sample_value("sensord_rolled_back_bundles_total", {"fleet": "pumps"}) == 1
    assert all(row.closed_at for row in list_alerts(here.engine, AlertFilter())), "calm again under the old one"


def test_without_probation_it_stays(here: World) -> None:
    promoted_under_way(here, WILD, probation_s=0).finish()
    assert stages(here)[WILD.bundle_id] is Stage.CURRENT


def test_after_probation_it_stays(here: World) -> None:
    promoted_under_way(here, WILD, probation_s=0.5).finish()
    assert stages(here)[WILD.bundle_id] is Stage.CURRENT


def test_what_was_forced_stays(here: World) -> None:
    here.registry.publish("pumps", WILD.bundle_id, WILD.manifest, WILD.weights, WILD.sha256, here.clock.now(), "ann")
    here.registry.judged("pumps", WILD.bundle_id, {"objections": "too many alarms"})
    daemon = here.daemon(max_records=50, probation_s=HOUR)
    here.send_day(seconds=30)
    daemon.turn(10)
    here.registry.promote("pumps", WILD.bundle_id, here.clock.now(), "ann", force=True)
    here.send_day(first=30, seconds=200)
    daemon.turn(40)
    daemon.finish()
    assert len(list_alerts(here.engine, AlertFilter())) > 3
    assert stages(here)[WILD.bundle_id] is Stage.CURRENT


def test_a_good_bundle_comes_through(here: World) -> None:
    daemon = promoted_under_way(here, SANE)
    here.send_fault(first=1_000)
    daemon.finish()
    assert len(list_alerts(here.engine, AlertFilter())) == 1
    assert stages(here)[SANE.bundle_id] is Stage.CURRENT


def test_a_bundle_that_makes_states_non_finite_is_rolled_back(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    observe = Fleet.observe

    def breaking(fleet: Fleet, readings: Readings) -> Observation:
        seen = observe(fleet, readings)
        if fleet.bundle.id == SANE.bundle_id:
            return replace(seen, outcome=np.full_like(seen.outcome, Outcome.RESET))
        return seen

    monkeypatch.setattr(Fleet, "observe", breaking)
    promoted_under_way(here, SANE).finish()
    assert stages(here) == {OLD: Stage.CURRENT, SANE.bundle_id: Stage.RETIRED}
    assert "not finite" in here.registry.moves("pumps", limit=1)[0].why


# --- the rule itself -------------------------------------------------------------------------------------------------


def lost(probation: Probation, devices: int, now: float = 0) -> list[str]:
    return [reason for _, reason in probation.harmful(now, {"pumps": devices})]


@pytest.mark.parametrize(
    ("devices", "before", "since", "is_lost"),
    [
        (1_000, 0, 9, False),
        (1_000, 0, 10, True),
        (1_000, 2, 10, False),  # five times as many, and no more
        (1_000, 1, 10, True),
        (6, 0, 2, False),
        (6, 0, 3, True),
        (12, 0, 3, False),
        (12, 0, 4, True),
    ],
)
def test_a_leap_is_many_alerts_and_many_times_as_many(devices: int, before: int, since: int, is_lost: bool) -> None:
    probation = Probation(HOUR)
    probation.observed("pumps", "old", 1_000, 0)
    probation.opened("pumps", "old", before)
    probation.begin("pumps", "old", "new", 0)
    probation.observed("pumps", "new", 1_000, 0)
    probation.opened("pumps", "new", since)
    assert bool(lost(probation, devices)) == is_lost


def test_a_state_that_broke_before_too_is_nobody_s_fault() -> None:
    for broken, expected in ((0, 1), (1, 0)):
        probation = Probation(HOUR)
        probation.observed("pumps", "old", 1_000, broken)
        probation.begin("pumps", "old", "new", 0)
        probation.observed("pumps", "new", 10, 1)
        assert len(lost(probation, 100)) == expected


def test_where_nothing_was_read_before_nothing_is_to_be_expected() -> None:
    probation = Probation(HOUR)
    probation.begin("pumps", "old", "new", 0)
    probation.observed("pumps", "new", 1_000, 0)
    probation.opened("pumps", "new", 500)
    assert lost(probation, 100) == []


def test_the_bundle_of_before_is_not_put_on_probation_when_it_comes_back() -> None:
    probation = Probation(HOUR)
    probation.begin("pumps", "old", "new", 0)
    probation.begin("pumps", "new", "old", 1)
    probation.observed("pumps", "new", 1_000, 0)
    probation.observed("pumps", "old", 1_000, 0)
    probation.opened("pumps", "old", 500)
    assert lost(probation, 100) == []


def test_what_lasts_is_over() -> None:
    probation = Probation(10)
    probation.observed("pumps", "old", 1_000, 0)
    probation.begin("pumps", "old", "new", 0)
    assert lost(probation, 100, now=10) == []
    probation.observed("pumps", "new", 1_000, 5)
    assert lost(probation, 100, now=11) == []


def test_the_outcome_that_is_counted_is_that_of_a_broken_state() -> None:
    assert int(Outcome.RESET) == intake.RESET
