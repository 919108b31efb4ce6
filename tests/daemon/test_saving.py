"""Snapshots beside the stream: however late they are written, and whatever becomes of them, nothing else shows it."""

from collections.abc import Iterator
from itertools import chain, cycle, islice, repeat
from pathlib import Path

import pytest

from sensord.daemon.policy import Pace
from sensord.readings import Partition
from sensord.store.progress import Progress
from tests.daemon.world import TOPIC, FailingProgress, World, world
from tests.dawdling import Dawdling

QUICK = Pace(commit_interval_s=0.5, snapshot_interval_s=2)
NEVER = 1_000_000  # times that somebody asks
State = tuple[list[list[tuple[object, ...]]], dict[tuple[int, int], bytes]]


def left_by(of: World) -> State:
    return [of.rows(name) for name in ("alerts", "alert_events", "dead_letters", "gaps")], of.pages()


@pytest.fixture
def here(store_url: str) -> Iterator[World]:
    with world(store_url) as made:
        made.send_day()
        yield made


@pytest.fixture
def golden(tmp_path: Path) -> State:
    with world(f"sqlite:///{tmp_path / 'golden.db'}") as made:
        made.send_day()
        made.daemon(max_records=5_000).finish()
        return left_by(made)


def test_the_stream_goes_on_while_a_snapshot_is_written(here: World, golden: State) -> None:
    daemon = here.daemon(max_records=20, pace=QUICK, saver=Dawdling(NEVER))
    daemon.turn(12)
    assert any(shard.saving for shard in daemon.loop.shards.values())
    before = here.progress()
    daemon.turn(12)
    after = here.progress()
    assert all(after[number][1] > before[number][1] for number in before), "commits go on"
    assert all(after[number][2] == before[number][2] for number in before), "the state stays where it was"
    daemon.finish()
    assert left_by(here) == golden
    assert all(state == next_offset for _, next_offset, state in here.progress().values())


@pytest.mark.parametrize("patience", [1, 3, 10, NEVER])
def test_when_it_is_written_makes_no_difference(here: World, golden: State, patience: int) -> None:
    here.daemon(max_records=20, pace=QUICK, saver=Dawdling(patience)).finish()
    assert left_by(here) == golden


@pytest.mark.parametrize("patience", [2, NEVER])
def test_a_daemon_killed_before_it_was_written_leaves_no_trace(here: World, golden: State, patience: int) -> None:
    for turns in (9, 6, 11, 8):
        daemon = here.daemon(max_records=20, pace=QUICK, saver=Dawdling(patience))
        daemon.turn(turns)
        daemon.kill()
    here.daemon().finish()
    assert left_by(here) == golden


@pytest.mark.parametrize("verdict", ["before", "after"])
@pytest.mark.parametrize("patience", [0, 2, NEVER])
def test_one_that_fails_costs_nothing(here: World, golden: State, verdict: str, patience: int) -> None:
    plan = chain(islice(cycle(["fine", verdict]), 20), repeat("fine"))
    failing = FailingProgress(here.engine, repeat("fine"), plan)
    daemon = here.daemon(max_records=20, pace=QUICK, progress=failing, saver=Dawdling(patience))
    daemon.turn(60)
    daemon.kill()
    here.daemon().finish()
    assert left_by(here) == golden


def test_an_inspection_takes_either_outcome_for_ours(here: World) -> None:
    """Written, and not yet known to be: that is no failover."""
    daemon = here.daemon(max_records=20, pace=Pace(0.5, 2, inspection_interval_s=0), saver=(saver := Dawdling(NEVER)))
    daemon.turn(12)
    shards = dict(daemon.loop.shards)
    assert any(shard.saving for shard in shards.values())
    saver.submit(lambda: None).result()
    daemon.loop._inspect_store()
    assert daemon.loop.shards == shards


def test_a_failover_that_lost_a_snapshot_is_noticed(here: World, golden: State) -> None:
    daemon = here.daemon(max_records=20, pace=QUICK)
    daemon.turn(12)
    with here.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE partition_progress SET state_offset = state_offset - 1")
    daemon.loop._inspect_store()
    assert not daemon.loop.shards


def test_a_snapshot_of_who_is_superseded_is_refused_and_the_partition_read_again(here: World, golden: State) -> None:
    daemon = here.daemon(max_records=20, pace=QUICK, saver=Dawdling(3))
    daemon.turn(12)
    assert daemon.loop.shards[Partition(TOPIC, 0)].saving
    Progress(here.engine).claim("pumps", Partition(TOPIC, 0), "somebody else", "", here.clock.now())
    daemon.finish()
    assert left_by(here) == golden


def test_partitions_that_come_back_at_once_are_kept_with_a_snapshot_under_way(here: World, golden: State) -> None:
    daemon = here.daemon(max_records=20, pace=QUICK, saver=Dawdling(NEVER))
    daemon.turn(12)
    kept = {partition: shard.fleet for partition, shard in daemon.loop.shards.items()}
    here.daemon().kill()  # came and went: everything departs and arrives again
    daemon.turn()
    assert {partition: shard.fleet for partition, shard in daemon.loop.shards.items()} == kept
    assert all(shard.state_offset == here.progress()[p.number][2] for p, shard in daemon.loop.shards.items())
    daemon.finish()
    assert left_by(here) == golden
