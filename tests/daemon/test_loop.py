"""The loop's promises: whatever happens to the daemon, the tables are those of a run in which nothing happened."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import chain, cycle, islice, repeat
from pathlib import Path
from threading import Condition
from time import sleep
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry
from structlog.testing import capture_logs

from sensord.daemon import swaps
from sensord.daemon.loop import ADOPTING_S
from sensord.daemon.policy import Pace
from sensord.daemon.shard import Progressed, Shard
from sensord.detection.fleet import Fleet, Observation
from sensord.errors import OffsetsLost, StateUnreadable, Unreachable
from sensord.readings import Partition, Readings
from sensord.store.alerts import AlertFilter, accept, history, list_alerts
from sensord.store.progress import Checkpoint, Claim, Progress
from sensord.store.registry import Registry, StoredBundle
from sensord.store.schema import metadata
from sensord.stream.decoders import Decoded
from sensord.stream.memory import MemorySource
from sensord.stream.source import Batch, Bounds
from tests.builders import START, packed
from tests.daemon.world import TOPIC, WALL_CLOCK, FailingProgress, World, world

TABLES = ("alerts", "alert_events", "dead_letters", "gaps")
Tables = dict[str, list[tuple[object, ...]]]


def tables(of: World) -> Tables:
    return {name: of.rows(name) for name in TABLES}


@pytest.fixture
def here(store_url: str) -> Iterator[World]:
    with world(store_url) as made:
        yield made


@pytest.fixture
def golden(tmp_path: Path) -> tuple[Tables, dict[tuple[int, int], bytes]]:
    """What an uninterrupted run over one day leaves behind."""
    with world(f"sqlite:///{tmp_path / 'golden.db'}") as made:
        made.send_day()
        made.daemon(max_records=5_000).finish()
        found = tables(made)
        assert len(found["alerts"]) == 2
        assert len(found["dead_letters"]) == 8
        return found, made.pages()


Golden = tuple[Tables, dict[tuple[int, int], bytes]]


def test_batches_and_intervals_make_no_difference(here: World, golden: Golden) -> None:
    here.send_day()
    here.daemon(max_records=7, pace=Pace(0.1, 0.3)).finish()
    assert (tables(here), here.pages()) == golden


def test_the_next_poll_waits_for_no_batch(here: World, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = here.daemon(max_records=40, pace=Pace(commit_interval_s=60, snapshot_interval_s=300))
    daemon.turn(2)  # adopts, commits, inspects: nothing of it is due again
    here.send_day()
    polls, polled_next = 0, Condition()
    came_with: dict[tuple[Partition, int], int] = {}  # the number of the poll that brought the records before an offset
    poll, feed = MemorySource.poll, Shard.feed

    def counted(source: MemorySource, timeout_s: float) -> Batch:
        nonlocal polls
        with polled_next:
            polls += 1
            polled_next.notify_all()
        batch = poll(source, timeout_s)
        came_with.update(((p, records[-1].offset + 1), polls) for p, records in batch.records.items())
        return batch

    def held_back(shard: Shard, decoded: Decoded, end: int) -> Progressed | None:
        with polled_next:
            assert polled_next.wait_for(lambda: polls > came_with[shard.partition, end], 10), "one after the other"
        return feed(shard, decoded, end)

    with monkeypatch.context() as patched:
        patched.setattr(MemorySource, "poll", counted)
        patched.setattr(Shard, "feed", held_back)
        daemon.turn(5, seconds=0.1)
    assert len(came_with) >= 4
    daemon.finish()
    assert (tables(here), here.pages()) == golden


def test_nothing_is_committed_while_a_batch_is_observed(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    observing = 0
    feed, checkpoint = Shard.feed, Shard.checkpoint

    def feeds(shard: Shard, decoded: Decoded, end: int) -> Progressed | None:
        nonlocal observing
        observing += 1
        sleep(0.01)
        found = feed(shard, decoded, end)
        observing -= 1
        return found

    def checkpoints(shard: Shard) -> Checkpoint:
        assert not observing
        return checkpoint(shard)

    monkeypatch.setattr(Shard, "feed", feeds)
    monkeypatch.setattr(Shard, "checkpoint", checkpoints)
    here.send_day(seconds=40)
    here.daemon(max_records=30, pace=Pace(commit_interval_s=0.5, snapshot_interval_s=2)).finish()
    assert len(here.rows("dead_letters")) == 3


def test_partitions_share_the_bundle_that_is_loaded(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be megabytes of profiles in it."""
    loads, current = 0, Registry.current

    def counted(registry: Registry, fleet: str) -> StoredBundle | None:
        nonlocal loads
        loads += 1
        return current(registry, fleet)

    monkeypatch.setattr(Registry, "current", counted)
    daemon = here.daemon()
    daemon.turn(2)
    bundles = [shard.fleet.bundle for shard in daemon.loop.shards.values()]
    assert len(bundles) == 2
    assert bundles[0] is bundles[1]
    assert loads == 1


def test_what_goes_wrong_with_a_batch_ends_the_daemon(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def feeds(shard: Shard, decoded: Decoded, end: int) -> Progressed | None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Shard, "feed", feeds)
    here.send_day(seconds=5)
    daemon = here.daemon()
    with pytest.raises(ZeroDivisionError):
        daemon.turn(5)


def test_each_line_about_a_partition_or_an_alert_says_where_and_under_which_model(here: World) -> None:
    here.send_day()
    daemon = here.daemon()
    with capture_logs() as lines:
        daemon.finish()
    told = [line for line in lines if line["event"].startswith("alert ")]
    stored = {one.id.hex: one for one in list_alerts(here.engine, AlertFilter())}
    events = [(name, f"alert {row.event}") for name, one in stored.items() for row in history(here.engine, one.id)]
    assert sorted((line["alert"], line["event"]) for line in told) == sorted(events) != []
    for line in [*told, *(line for line in lines if line["event"] == "adopted")]:
        assert (line["fleet"], line["topic"]) == ("pumps", TOPIC)
        assert line["partition"] in {partition.number for partition in here.log.partitions(TOPIC)}
        assert line["offset"] is not None
        assert line["model"] == packed().bundle_id
    assert {line["alert"]: line["device"] for line in told} == {name: one.device_id for name, one in stored.items()}


@pytest.mark.parametrize("turns", [5, 6, 7, 9, 11])
def test_a_killed_daemon_leaves_no_trace(here: World, golden: Golden, turns: int) -> None:
    here.send_day()
    for _ in range(6):
        daemon = here.daemon(max_records=40, pace=Pace(commit_interval_s=0.5, snapshot_interval_s=2))
        daemon.turn(turns)
        daemon.kill()
    here.daemon().finish()
    assert (tables(here), here.pages()) == golden


def test_two_daemons_share_the_work_and_one_takes_over(here: World, golden: Golden) -> None:
    here.send_day()
    first = here.daemon(max_records=20)
    first.turn(4)
    second = here.daemon(max_records=20)
    for _ in range(4):
        first.turn()
        second.turn()
    assert len(first.loop.shards) == len(second.loop.shards) == 1
    first.kill()
    second.finish()
    assert (tables(here), here.pages()) == golden


def test_an_eager_rebalance_that_gives_everything_back_costs_no_replay(here: World, golden: Golden) -> None:
    here.send_day()
    daemon = here.daemon(max_records=20)
    daemon.turn(6)
    positions = {p: shard.position for p, shard in daemon.loop.shards.items()}
    guest = here.daemon()
    guest.kill()  # came and went before anybody noticed: everything departs and arrives again
    batch = daemon.source.assigned
    assert batch == set(positions)
    daemon.loop.turn()
    assert all(shard.position >= positions[p] for p, shard in daemon.loop.shards.items())
    daemon.finish()
    assert (tables(here), here.pages()) == golden


def test_a_zombie_can_write_nothing_and_harms_nobody(here: World, golden: Golden) -> None:
    here.send_day()
    zombie = here.daemon(max_records=20)
    zombie.turn(5)
    here.log.expel(zombie.source)  # frozen: the group has given it up, and it hasn't polled since
    heir = here.daemon(max_records=20)
    heir.turn(3)
    before = here.progress()
    zombie.loop._save(boundary=True)  # thawed in the middle of its turn
    assert here.progress() == before
    for _ in range(4):
        zombie.turn()
        heir.turn()
    zombie.kill()
    heir.finish()
    assert (tables(here), here.pages()) == golden


def test_a_fenced_partition_that_stays_assigned_is_read_again_from_its_state(here: World, golden: Golden) -> None:
    here.send_day()
    daemon = here.daemon(max_records=20)
    daemon.turn(6)
    Progress(here.engine).claim("pumps", Partition(TOPIC, 0), "somebody else", "", here.clock.now())
    daemon.finish()
    assert (tables(here), here.pages()) == golden


@pytest.mark.parametrize("verdict", ["before", "after"])
def test_a_failing_database_loses_and_doubles_nothing(here: World, golden: Golden, verdict: str) -> None:
    here.send_day()
    plan = islice(cycle(["fine", verdict, "fine", "fine", verdict]), 60)
    failing = FailingProgress(here.engine, chain(["fine"] * 2, plan, repeat("fine")))
    daemon = here.daemon(max_records=30, progress=failing)
    daemon.turn(40)
    daemon.kill()
    here.daemon().finish()
    assert (tables(here), here.pages()) == golden


def test_while_the_database_is_away_nothing_is_read_and_then_nothing_is_missing(here: World, golden: Golden) -> None:
    here.send_day()
    failing = FailingProgress(here.engine, repeat("fine"))
    daemon = here.daemon(max_records=30, progress=failing)
    daemon.turn(5)
    failing.away = True
    daemon.turn(3)
    assert not daemon.loop.ready
    assert daemon.loop.obstacles[0] == "the database does not answer"
    assert f"assigned, but not adopted yet: {TOPIC}[0], {TOPIC}[1]" in daemon.loop.obstacles[1]
    held = {p: shard.position for p, shard in daemon.loop._unclaimed.items() if shard}
    daemon.turn(30)
    assert {p: shard.position for p, shard in daemon.loop._unclaimed.items() if shard} == held
    assert daemon.loop.drain() is False
    failing.away = False
    here.daemon().finish()
    assert (tables(here), here.pages()) == golden


def test_who_adopts_for_long_polls_in_between(here: World, golden: Golden) -> None:
    """Or neither the group nor the watchdog would wait for a daemon with many partitions of many devices."""

    class Slow(Progress):
        def claim(self, *place: Any) -> Claim:
            here.clock.advance(ADOPTING_S + 1)
            return super().claim(*place)

    here.send_day()
    daemon = here.daemon(progress=Slow(here.engine))
    daemon.turn()
    assert (len(daemon.loop.shards), daemon.loop.ready) == (1, False)
    daemon.turn()
    assert (len(daemon.loop.shards), daemon.loop.ready) == (2, True)
    daemon.finish()
    assert (tables(here), here.pages()) == golden


def test_a_full_disk_is_waited_out(tmp_path: Path, golden: Golden) -> None:
    with world(f"sqlite:///{tmp_path / 'full.db'}") as made:
        made.send_day()
        daemon = made.daemon(max_records=30)
        daemon.turn(5)
        with made.engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()

        def fill_disk(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
            connection.cursor().execute(f"PRAGMA max_page_count = {pages}")

        event.listen(made.engine, "connect", fill_disk)
        made.engine.dispose()
        daemon.turn(30)
        assert not daemon.loop.ready
        event.remove(made.engine, "connect", fill_disk)
        made.engine.dispose()
        daemon.finish()
        assert (tables(made), made.pages()) == golden


def standby(here: World) -> Callable[[], None]:
    """A copy of all tables as they are now; to call it is to fail over to it."""
    with here.engine.connect() as connection:
        rows = {
            table: [row._asdict() for row in connection.execute(table.select())] for table in metadata.sorted_tables
        }

    def fail_over() -> None:
        with here.engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
            for table in metadata.sorted_tables:
                if rows[table]:
                    connection.execute(table.insert(), rows[table])

    return fail_over


@pytest.mark.parametrize("claimed", [False, True])
def test_a_failover_that_lost_commits_is_noticed_though_nothing_comes(
    here: World, golden: Golden, claimed: bool
) -> None:
    """claimed: the standby has heard that this daemon took over."""
    here.send_day()
    behind = here.daemon(max_records=30)
    behind.turn(8)
    behind.kill()
    daemon = here.daemon()
    daemon.turn(2 if claimed else 1)
    fail_over = standby(here)
    daemon.turn(40)
    assert all(shard.position == shard.committed for shard in daemon.loop.shards.values())
    fail_over()
    daemon.turn(60)
    assert here.progress()[0][1] == here.log.bounds(Partition(TOPIC, 0)).end
    daemon.finish()
    assert (tables(here), here.pages()) == golden


def test_lag_is_what_has_come_and_is_not_taken_in(here: World) -> None:
    here.send_day(seconds=60)
    here.clock.advance(1_000)
    daemon = here.daemon(max_records=40, pace=Pace(commit_interval_s=0, snapshot_interval_s=5))
    sample = daemon.loop._metrics.registry.get_sample_value
    place = {"topic": TOPIC, "partition": "0"}
    daemon.turn(3)
    end = here.log.bounds(Partition(TOPIC, 0)).end
    waiting = sample("sensord_lag_records", place)
    assert waiting is not None
    assert 0 < waiting < end
    age = sample("sensord_lag_seconds", place)
    assert age == pytest.approx(
        here.clock.seconds - START / 1e6 - (end - waiting) // 3, abs=2
    )  # three devices a second
    daemon.turn(40)
    assert sample("sensord_lag_records", place) == sample("sensord_lag_seconds", place) == 0
    assert sample("sensord_polled_records_total") == sum(here.log.bounds(p).end for p in here.log.partitions(TOPIC))
    assert sample("sensord_devices", {"fleet": "pumps"}) == 6


def test_who_has_not_joined_the_group_is_not_ready(here: World) -> None:
    daemon = here.daemon()
    assert list(daemon.loop.obstacles) == ["not a member of the consumer group yet"]
    daemon.turn()
    assert list(daemon.loop.obstacles) == []


def test_while_the_broker_does_not_answer_the_daemon_is_not_ready(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    here.send_day()
    daemon = here.daemon()
    daemon.turn(40)
    ready = [daemon.loop.ready]

    def away(partitions: object) -> dict[Partition, Bounds]:
        raise Unreachable("no broker")

    with monkeypatch.context() as broken:
        broken.setattr(daemon.source, "bounds", away)
        daemon.turn(50)
        ready.append(daemon.loop.ready)
        assert daemon.loop.obstacles == ("Kafka does not answer",)
    here.send_day(first=200, seconds=2)
    daemon.turn(2)
    assert [*ready, daemon.loop.ready] == [True, False, True]


def test_a_commit_moves_kafkas_hint_behind_it(here: World) -> None:
    here.send_day()
    here.daemon().finish()
    hints = {partition.number: offset for (_, partition), offset in here.log.hints.items()}
    assert hints == {number: next_offset for number, (_, next_offset, _) in here.progress().items()}


# --- readings that are gone ------------------------------------------------------------------------------------------


def started(here: World) -> None:
    """A day was read up to its end, and the daemon has gone."""
    here.send_day()
    here.daemon().finish()


def test_a_truncated_log_stops_the_daemon_by_name(here: World) -> None:
    started(here)
    here.log.truncate(Partition(TOPIC, 0), 100)
    with pytest.raises(OffsetsLost, match=r"sensors\.pumps\[0\].*364.*0 to 100.*truncated.*--accept-gap"):
        here.daemon().turn()


def test_expired_readings_stop_the_daemon_by_name(here: World) -> None:
    started(here)
    here.log.expire(Partition(TOPIC, 1), 500)
    with pytest.raises(OffsetsLost, match=r"sensors\.pumps\[1\].*expired"):
        here.daemon().turn()


def test_a_recreated_topic_stops_the_daemon_by_name(here: World) -> None:
    started(here)
    here.log.create(TOPIC, 2)
    with pytest.raises(OffsetsLost, match="recreated"):
        here.daemon().turn()


def test_a_topic_recreated_under_a_running_daemon_is_noticed(here: World) -> None:
    here.send_day()
    daemon = here.daemon()
    daemon.turn(30)
    here.log.create(TOPIC, 2)
    here.send_day(seconds=200)  # longer than before: the old offsets exist again
    with pytest.raises(OffsetsLost, match="recreated"):
        daemon.turn(3)


def test_an_accepted_gap_is_written_down_and_the_work_goes_on(here: World) -> None:
    started(here)
    here.log.create(TOPIC, 2)
    here.send_day(first=500)
    daemon = here.daemon(accept_gap=True)
    daemon.finish()
    assert len(here.rows("gaps")) == 2
    assert len(here.rows("alerts")) == 4  # the new topic's two have ids of their own


def test_a_log_that_is_cut_under_a_running_daemon_is_noticed(here: World) -> None:
    here.send_day()
    daemon = here.daemon()
    daemon.turn(30)
    here.log.truncate(Partition(TOPIC, 0), 100)
    here.clock.advance(30)
    with pytest.raises(OffsetsLost, match=r"sensors\.pumps\[0\].*364.*truncated.*--accept-gap"):
        daemon.loop._inspect_when_due()


def test_a_topic_of_the_same_name_is_noticed_without_a_rebalance(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    here.send_day()
    daemon = here.daemon()
    daemon.turn(10)
    monkeypatch.setattr(daemon.source, "topic_id", lambda topic: "another")
    with pytest.raises(OffsetsLost, match="recreated"):
        daemon.turn(50)  # more than 30 seconds


def test_where_gaps_are_accepted_a_running_daemon_goes_on(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    here.send_day()
    daemon = here.daemon(accept_gap=True)
    daemon.turn(10)
    monkeypatch.setattr(daemon.source, "topic_id", lambda topic: "another")
    daemon.turn(50)
    assert len(here.rows("gaps")) == 2
    assert daemon.loop.ready


def test_a_client_that_reads_no_more_ends_the_process(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    here.send_day()
    daemon = here.daemon(max_records=10)
    daemon.turn(5)
    ended: list[bool] = []
    monkeypatch.setattr(daemon.loop._watchdog, "give_up", lambda: ended.append(True))
    monkeypatch.setattr(MemorySource, "_read", lambda source: {})  # polls go on and bring nothing
    for minute in range(4):
        assert not ended or minute > 1
        here.send_day(first=1_000 + 10 * minute, seconds=10)
        daemon.turn(90)
    assert ended


# --- too much of it --------------------------------------------------------------------------------------------------


def spoil(here: World, first: int) -> None:
    """A new schema: from here on nothing can be read."""
    for second in range(first, first + 1_500):
        here.send_raw(0, b'{"device_id": "pump-0", "values": {"degrees": 1}}', second)


def test_a_new_schema_does_not_drain_into_dead_letters(here: World) -> None:
    here.send_day()
    spoil(here, first=200)
    daemon = here.daemon(max_records=100)
    daemon.turn(60)
    _, offset, _ = here.progress()[0]
    assert not daemon.loop.ready
    assert offset < here.log.bounds(Partition(TOPIC, 0)).end - 400
    assert len(here.rows("dead_letters")) < 1_000
    daemon.turn(60)
    assert here.progress()[0][1] == offset, "the offset stays"
    assert here.progress()[1][1] == here.log.bounds(Partition(TOPIC, 1)).end, "the others go on"
    assert daemon.loop.drain()


def test_once_accepted_what_is_bad_becomes_dead_letters(here: World) -> None:
    here.send_day()
    spoil(here, first=200)
    daemon = here.daemon(max_records=100)
    daemon.turn(60)
    daemon.kill()
    here.daemon(accept_bad=True).finish()
    assert len(here.rows("dead_letters")) == 1_508


def test_more_devices_than_fit_make_the_oldest_leave(here: World) -> None:
    here.send_fault()
    daemon = here.daemon(max_devices=20)
    daemon.turn(20)
    for number in range(3_000):  # one reading of each
        here.send(3 + 2 * number, 1_000 + number, 0.0)
    daemon.finish(enough=500)
    [shard] = [shard for shard in daemon.loop.shards.values() if shard.partition.number == 1]
    assert len(shard.fleet.devices) <= 20
    assert "pump-6001" in shard.fleet.devices.slots
    assert {row.close_reason for row in list_alerts(here.engine, AlertFilter())} == {"evicted"}
    assert {page for number, page in here.pages() if number == 1} == {0}, "pages of the gone are gone"


def test_a_crowd_waits_outside_until_there_is_room(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many new devices one poll brings, and however seldom the daemon commits: state stays small."""
    here.send_fault(seconds=400)
    for number in range(3_000):
        here.send(3 + 2 * number, 500 + number, 0.0)
    most, observe = 0, Fleet.observe

    def watched(fleet: Fleet, readings: Readings) -> Observation:
        nonlocal most
        observation = observe(fleet, readings)
        most = max(most, len(fleet.devices))
        return observation

    monkeypatch.setattr(Fleet, "observe", watched)
    seldom = Pace(commit_interval_s=1e6, snapshot_interval_s=1e6)
    daemon = here.daemon(5_000, pace=seldom, max_devices=50, part_bytes=1_000)
    daemon.turn(500)
    assert daemon.loop.drain()
    assert 50 < most < 120, "twice what it may have, and a part of a batch"
    assert sum(end for _, end, _ in here.progress().values()) == 3_400
    assert [row.close_reason for row in list_alerts(here.engine, AlertFilter())] == ["evicted"]


def test_an_eviction_is_never_committed_without_its_snapshot(here: World) -> None:
    here.send_fault()
    failing = FailingProgress(here.engine, repeat("fine"))
    seldom = Pace(commit_interval_s=0.5, snapshot_interval_s=1e6)
    daemon = here.daemon(max_records=30, progress=failing, pace=seldom, max_devices=20)
    daemon.turn(20)
    before = here.progress()
    for number in range(21):  # one too many: that can wait for the next snapshot
        here.send(3 + 2 * number, 1_000 + number, 0.0)
    daemon.turn(2)
    failing.away = True
    daemon.loop._save(boundary=True)  # makes room in memory; the database doesn't take the snapshot
    failing.away = False
    daemon.turn(8)
    assert {row.close_reason for row in list_alerts(here.engine, AlertFilter())} == {"evicted"}
    assert here.progress()[1][2] > before[1][2]
    daemon.kill()
    here.daemon().finish()
    assert [row.close_reason for row in list_alerts(here.engine, AlertFilter())] == ["evicted"]


# --- late, unordered, missing ----------------------------------------------------------------------------------------

Sent = tuple[int, float, float, float]  # device, second, heat, noise
OF_THE_LOG = {"id", "first_offset", "last_offset"}


def a_day_in_order() -> list[Sent]:
    rng = np.random.default_rng(5)
    return [
        (device, float(second), rng.normal(0, 0.3) + 9 * (device in (1, 4) and 80 < second < 120), rng.normal(0, 0.3))
        for second in range(200)
        for device in range(6)
    ]


def stories(of: World) -> list[dict[str, object]]:
    """Alerts but for where in the log they were found."""
    rows = list_alerts(of.engine, AlertFilter())
    told = [{name: value for name, value in asdict(row).items() if name not in OF_THE_LOG | WALL_CLOCK} for row in rows]
    return sorted(told, key=repr)


@pytest.mark.parametrize("kill", [False, True])
def test_a_shuffled_stream_with_duplicates_gives_the_alerts_of_the_sorted_one(
    here: World, tmp_path: Path, kill: bool
) -> None:
    day, rng = a_day_in_order(), np.random.default_rng(7)
    lateness_s = 20.0
    arrival = [sent[1] + rng.uniform(0, lateness_s - 1) for sent in day]
    shuffled = [day[row] for row in np.argsort(arrival)]
    doubled = [sent for sent in shuffled for _ in range(1 + (rng.random() < 0.05))]
    with world(f"sqlite:///{tmp_path / 'sorted.db'}") as quiet:
        for sent in day:
            quiet.send(*sent)
        quiet.daemon(lateness=round(lateness_s * 1e6)).finish()
        expected = stories(quiet)
    assert len(expected) == 2
    for sent in doubled:
        here.send(*sent)
    for _ in range(6 if kill else 0):
        victim = here.daemon(max_records=40, pace=Pace(0.5, 2), lateness=round(lateness_s * 1e6))
        victim.turn(7)
        victim.kill()
    here.daemon(max_records=40, lateness=round(lateness_s * 1e6)).finish()
    assert stories(here) == expected


def test_an_absent_channel_changes_nothing_and_shows_in_the_alert(here: World) -> None:
    rng = np.random.default_rng(3)
    for second in range(200):
        heat, noise = rng.normal(9 if second > 100 else 0, 0.3), rng.normal(0, 0.3)
        values = f'{{"heat": {heat}' + (f', "noise": {noise}' if second < 60 else "") + "}"
        at = START // 1_000 + 1_000 * second
        here.send_raw(0, f'{{"device_id": "pump-0", "timestamp": {at}, "values": {values}}}'.encode(), second)
    here.daemon().finish()
    [row] = list_alerts(here.engine, AlertFilter())
    named = {channel.channel: channel for channel in row.top_channels}
    assert row.top_channels[0].channel == "heat"
    assert named["noise"].observed is None
    assert named["noise"].expected is not None
    assert named["noise"].share < 0.5


# --- bundles ---------------------------------------------------------------------------------------------------------


def test_a_promoted_bundle_is_taken_up_without_a_restart(here: World) -> None:
    here.send_day()
    daemon = here.daemon(max_records=30)
    daemon.turn(4)
    new = here.publish(packed(seed=7))
    daemon.finish()
    assert {shard.fleet.bundle.id for shard in daemon.loop.shards.values()} == {new}
    assert len(here.rows("alerts")) == 2


def test_partitions_move_to_a_bundle_one_commit_after_another(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream stands still for it: where both are too much for one turn, the second has to wait."""
    here.send_day()
    daemon = here.daemon(max_records=30)
    daemon.turn(6)
    new, used = here.publish(packed(seed=7)), list[int]()
    devices = [len(shard.fleet.devices) for shard in daemon.loop.shards.values()]
    monkeypatch.setattr(swaps, "AT_ONCE", sum(devices) - 1)
    for _ in range(20):
        daemon.turn()
        used.append(sum(shard.fleet.bundle.id == new for shard in daemon.loop.shards.values()))
    assert sorted(used) == used
    assert set(used) == {0, 1, 2}
    daemon.finish()
    assert len(here.rows("alerts")) == 2


def test_a_swap_is_replayed_with_the_bundle_of_its_time(here: World, tmp_path: Path) -> None:
    def run(where: World, kill_after: int | None) -> Tables:
        where.send_day()
        daemon = where.daemon(max_records=30)
        daemon.turn(9)
        where.publish(packed(seed=7))
        if kill_after is not None:
            daemon.turn(kill_after)
            daemon.kill()
            daemon = where.daemon(max_records=30)
        daemon.finish()
        return tables(where)

    with world(f"sqlite:///{tmp_path / 'golden.db'}") as quiet:
        assert run(here, kill_after=2)["dead_letters"] == run(quiet, None)["dead_letters"]
    assert len(here.rows("alerts")) == 2


def test_after_a_swap_nothing_is_committed_without_its_snapshot(here: World) -> None:
    here.send_day()
    failing = FailingProgress(here.engine, repeat("fine"))
    daemon = here.daemon(max_records=30, progress=failing, pace=Pace(commit_interval_s=0.5, snapshot_interval_s=1e6))
    daemon.turn(6)
    new = here.publish(packed(seed=7))
    failing.away = True
    daemon.loop.look_for_bundles()
    daemon.loop._save(boundary=True)  # swaps in memory; the database doesn't take the snapshot
    failing.away = False
    daemon.turn(8)
    with here.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT model_id, state_offset, next_offset FROM partition_progress").all()
    assert {row.model_id for row in rows} == {new}
    assert max(row.state_offset for row in rows) > 0  # the swap's snapshot came with the next commit


def last_alert(where: World) -> str:
    [row, *_] = list_alerts(where.engine, AlertFilter(open_only=True))
    return str(row.id)


def test_an_accepted_alert_is_closed_at_the_next_snapshot_and_stays_so_after_a_kill(here: World) -> None:
    here.send_fault()
    daemon = here.daemon(max_records=30)
    daemon.turn(30)
    accept(here.engine, last_alert(here), "ann", here.clock.now())
    daemon.turn(12)
    [row] = list_alerts(here.engine, AlertFilter())
    assert (row.close_reason, row.accepted_by) == ("accepted", "ann")
    daemon.kill()
    here.send_fault(first=200)  # goes on at the same level
    here.daemon().finish()
    assert list_alerts(here.engine, AlertFilter()) == [row]


def test_an_acceptance_is_never_committed_without_its_snapshot(here: World) -> None:
    here.send_fault()
    failing = FailingProgress(here.engine, repeat("fine"))
    daemon = here.daemon(max_records=30, progress=failing, pace=Pace(commit_interval_s=0.5, snapshot_interval_s=1e6))
    daemon.turn(30)
    accept(here.engine, last_alert(here), "ann", here.clock.now())
    before = here.progress()
    failing.away = True
    daemon.loop._save(boundary=True)  # closes in memory; the database doesn't take the snapshot
    failing.away = False
    daemon.turn(8)
    assert [row.close_reason for row in list_alerts(here.engine, AlertFilter())] == ["accepted"]
    assert any(here.progress()[number][2] > before[number][2] for number in before)


def test_an_acceptance_whose_commit_got_no_answer_is_recorded_once(here: World) -> None:
    here.send_fault()
    answers: list[str] = []
    failing = FailingProgress(here.engine, (answers.pop() if answers else "fine" for _ in repeat(None)))
    daemon = here.daemon(max_records=30, progress=failing)
    daemon.turn(40)  # all is read: the next snapshot moves no offset
    accept(here.engine, last_alert(here), "ann", here.clock.now())
    answers.append("after")
    daemon.loop._save(boundary=True)
    daemon.finish()
    [row] = list_alerts(here.engine, AlertFilter())
    events = [line.event for line in history(here.engine, row.id)]
    assert (events.count("accepted"), events.count("closed")) == (1, 1)


def test_a_time_out_of_range_is_a_dead_letter(here: World) -> None:
    for stamp in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        here.send_raw(0, b'{"device_id": "pump-0", "timestamp": "%s", "values": {"heat": 1}}' % stamp.encode())
    here.daemon().finish()
    assert len(here.rows("dead_letters")) == 2


def test_a_bundle_that_does_not_fit_is_refused_and_the_old_one_stays(here: World) -> None:
    here.send_day()
    daemon = here.daemon(max_records=30)
    daemon.turn(4)
    before = {shard.fleet.bundle.id for shard in daemon.loop.shards.values()}
    here.publish(packed(channels=("heat", "flow")))
    daemon.finish()
    assert {shard.fleet.bundle.id for shard in daemon.loop.shards.values()} == before
    assert b'sensord_refused_bundles_total{fleet="pumps"} 1.0' in daemon.loop._metrics.exposition()


def test_without_a_bundle_the_daemon_waits_and_says_what_to_do(here: World, capsys: pytest.CaptureFixture[str]) -> None:
    here.send_day()
    daemon = here.daemon()
    with here.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM bundles")
    daemon.turn(10)
    assert not daemon.loop.ready
    assert "sensord train" in capsys.readouterr().out
    here.publish(packed())
    daemon.finish()
    assert len(here.rows("alerts")) == 2


def test_a_damaged_state_page_stops_the_daemon(here: World) -> None:
    started(here)
    with here.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE state_pages SET data = substr(data, 1, 100)")
    with pytest.raises(StateUnreadable, match=r"cut short|damaged"):
        here.daemon().turn()
