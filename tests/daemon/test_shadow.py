"""A bundle on trial: scored beside the one that counts, as exactly, and nobody is told."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import delete, select

from sensord.detection.alerts import Run
from sensord.store.alerts import AlertFilter, AlertRow, accept, list_alerts
from sensord.store.schema import alert_events, bundles, partition_progress, shadow_pages
from tests.builders import START, packed
from tests.daemon.world import Daemon, World, world

NOW = START


@pytest.fixture
def here(store_url: str) -> Iterator[World]:
    with world(store_url) as made:
        yield made


def on_trial(here: World, threshold: float = 1.5, seed: int = 3) -> str:
    """Publish a bundle that is easily alarmed, and have it scored beside."""
    bundle_id = here.publish(packed(threshold=threshold, seed=seed), promote=False)
    return here.registry.shadow("pumps", bundle_id, NOW, "ann")


def rows(here: World, run: Run) -> list[AlertRow]:
    return list_alerts(here.engine, AlertFilter(run=run.value))


def told(here: World) -> set[UUID]:
    """Alerts of which somebody would hear."""
    with here.engine.connect() as connection:
        return set(connection.scalars(select(alert_events.c.alert_id)))


def stored(here: World) -> list[tuple[object, ...]]:
    """Each partition's shadow, and how many pages there are of it."""
    p, s = partition_progress.c, shadow_pages.c
    with here.engine.connect() as connection:
        pages = Counter(connection.scalars(select(s.partition)))
        shadows = connection.execute(select(p.partition, p.shadow_id, p.shadow_offset == p.state_offset))
        return sorted((number, name, whole, pages[number]) for number, name, whole in shadows)


def without_ids(found: list[AlertRow]) -> list[tuple[object, ...]]:
    return sorted((row.device_id, row.first_offset, row.last_offset, row.score_peak, row.close_reason) for row in found)


def test_a_shadow_writes_alerts_of_its_own_and_nobody_is_told(here: World, tmp_path: Path) -> None:
    with world(f"sqlite:///{tmp_path / 'alone.db'}") as alone:
        alone.send_day()
        alone.daemon(max_records=30).finish()
        expected = alone.rows("alerts")
    shadow = on_trial(here)
    here.send_day()
    here.daemon(max_records=30).finish()
    beside = rows(here, Run.SHADOW)
    assert len(beside) >= 2
    assert {row.model_id for row in beside} == {shadow}
    assert told(here) == {row.id for row in rows(here, Run.LIVE)}
    assert [row for row in here.rows("alerts") if Run.LIVE.value in row] == expected, "what counts stays as it is"
    assert stored(here) == [(0, shadow, True, 1), (1, shadow, True, 1)]


def test_the_same_bundle_beside_itself_finds_the_same(here: World) -> None:
    on_trial(here, threshold=3.0, seed=5)
    other = here.publish(packed(threshold=3.0, seed=5, period_s=2.0))  # the same network, with another id
    here.send_day()
    here.daemon(max_records=30).finish()
    assert {row.model_id for row in rows(here, Run.LIVE)} == {other}
    assert without_ids(rows(here, Run.SHADOW)) == without_ids(rows(here, Run.LIVE)) != []


@pytest.mark.parametrize("kill_after", [3, 8, 14])
def test_a_shadow_survives_a_kill_exactly(here: World, tmp_path: Path, kill_after: int) -> None:
    def run(where: World, kill: bool) -> list[tuple[object, ...]]:
        on_trial(where)
        where.send_day()
        daemon = where.daemon(max_records=30)
        daemon.turn(kill_after)
        if kill:
            daemon.kill()
            daemon = where.daemon(max_records=30)
        daemon.finish()
        return where.rows("alerts")

    with world(f"sqlite:///{tmp_path / 'golden.db'}") as quiet:
        assert run(here, kill=True) == run(quiet, kill=False)
    assert rows(here, Run.SHADOW)


def withdrawn_by(here: World, act: Callable[[str], object]) -> Daemon:
    """A fault in the middle of which the shadow goes; its alert was open."""
    shadow = on_trial(here)
    here.send_fault()
    daemon = here.daemon(max_records=20)
    daemon.turn(9)
    assert [row.close_reason for row in rows(here, Run.SHADOW) if row.closed_at is None] == [None]
    act(shadow)
    daemon.turn(9)
    return daemon


def test_what_a_retired_shadow_left_open_is_closed_and_its_state_deleted(here: World) -> None:
    withdrawn_by(here, lambda shadow: here.registry.retire("pumps", shadow, NOW, "ann")).finish()
    assert "withdrawn" in {row.close_reason for row in rows(here, Run.SHADOW)}
    assert all(row.closed_at for row in rows(here, Run.SHADOW))
    assert stored(here) == [(0, None, None, 0), (1, None, None, 0)]
    assert [row.closed_at for row in rows(here, Run.LIVE)] == [None], "what counts goes on"


def test_a_shadow_that_is_promoted_counts_from_then_on(here: World) -> None:
    daemon = withdrawn_by(here, lambda shadow: here.registry.promote("pumps", shadow, NOW, "ann"))
    daemon.finish()
    [shard, *_] = daemon.loop.shards.values()
    assert (shard.fleet.bundle.id, shard.shadow) == (here.registry.current_id("pumps"), None)
    assert all(row.closed_at for row in rows(here, Run.SHADOW))
    assert stored(here) == [(0, None, None, 0), (1, None, None, 0)]


def test_another_shadow_begins_afresh(here: World) -> None:
    daemon = withdrawn_by(here, lambda shadow: on_trial(here, seed=11))
    here.send_fault(first=1_000)
    daemon.finish()
    first, second = {row.model_id for row in rows(here, Run.SHADOW)}
    assert {row.close_reason for row in rows(here, Run.SHADOW)} >= {"withdrawn"}
    assert {name for _, name, _, _ in stored(here)} < {first, second}


def test_a_promotion_beside_a_shadow_leaves_it_alone(here: World) -> None:
    daemon = withdrawn_by(here, lambda shadow: here.publish(packed(seed=7)))
    daemon.finish()
    assert "withdrawn" not in {row.close_reason for row in rows(here, Run.SHADOW)}
    assert all(name for _, name, _, _ in stored(here))


def test_state_that_an_older_daemon_has_left_behind_is_not_taken_up(here: World) -> None:
    """It knows of no shadow: it moves the state on, and the shadow's stays."""
    shadow = on_trial(here)
    here.send_fault()
    daemon = here.daemon(max_records=20)
    daemon.turn(9)
    daemon.kill()
    with here.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE partition_progress SET shadow_offset = shadow_offset - 1")
    daemon = here.daemon(max_records=20)
    daemon.finish()
    assert "withdrawn" in {row.close_reason for row in rows(here, Run.SHADOW)}
    assert [row[1:] for row in stored(here) if row[0] == 1] == [(shadow, True, 1)], "and began afresh"


def test_a_shadow_that_does_not_fit_is_refused_and_all_goes_on(here: World, capsys: pytest.CaptureFixture[str]) -> None:
    bad = here.publish(packed(channels=("heat", "cold")), promote=False)
    here.registry.shadow("pumps", bad, NOW, "ann")
    here.send_day()
    here.daemon(max_records=30).finish()
    assert len(rows(here, Run.LIVE)) == 2
    assert rows(here, Run.SHADOW) == []
    assert stored(here) == [(0, None, None, 0), (1, None, None, 0)]


def test_a_shadow_whose_bundle_is_gone_does_not_keep_the_daemon_from_starting(here: World) -> None:
    shadow = on_trial(here)
    here.send_day()
    daemon = here.daemon(max_records=30)
    daemon.turn(9)
    daemon.kill()
    with here.engine.begin() as connection:
        connection.execute(delete(bundles).where(bundles.c.bundle_id == shadow))
    here.daemon(max_records=30).finish()
    assert all(row.closed_at for row in rows(here, Run.SHADOW))
    assert stored(here) == [(0, None, None, 0), (1, None, None, 0)]


def test_what_people_accept_of_a_shadow_changes_nothing(here: World) -> None:
    def accepts(shadow: str) -> None:
        [row] = [row for row in rows(here, Run.SHADOW) if row.closed_at is None]
        accept(here.engine, str(row.id), "ann", NOW)

    withdrawn_by(here, accepts)
    assert [row.close_reason for row in rows(here, Run.SHADOW) if row.closed_at is None] == [None]


def test_devices_that_make_room_leave_the_shadow_too(here: World) -> None:
    on_trial(here)
    here.send_fault()
    for number in range(200):
        here.send(3 + 2 * number, 1_000 + number, 0.0)
    daemon = here.daemon(max_devices=20)
    daemon.finish(enough=500)
    [shard] = [shard for shard in daemon.loop.shards.values() if shard.partition.number == 1]
    assert shard.shadow is not None
    assert shard.shadow.devices.ids == shard.fleet.devices.ids
    assert "evicted" in {row.close_reason for row in rows(here, Run.SHADOW)}
