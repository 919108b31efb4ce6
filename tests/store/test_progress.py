"""What the daemon may rely on when it claims and commits, on both databases."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
from psycopg.pq import Format
from sqlalchemy import Table, event, func, select, update

from sensord.detection.alerts import Reason, Status
from sensord.errors import PartitionLost
from sensord.readings import Partition
from sensord.store import Engine
from sensord.store.alerts import AlertFilter, Feedback, acknowledge, feedback, history, list_alerts, show
from sensord.store.dead_letters import count_dead_letters, list_dead_letters
from sensord.store.devices import DeviceSeen, list_devices
from sensord.store.progress import PAGES_AT_ONCE, Claim, Progress, Snapshot
from sensord.store.schema import (
    alert_events,
    alerts,
    dead_letters,
    devices,
    gaps,
    instant,
    microseconds,
    state_pages,
)
from sensord.store.schema import partition_progress as progress_rows
from tests.store.conditions import blocked, wait_until
from tests.store.rows import NOW, P0, P1, P2, SECOND, alert, checkpoint, later, letter, moved, opened


@pytest.fixture
def progress(engine: Engine) -> Progress:
    return Progress(engine)


def claim(progress: Progress, partition: Partition = P0, owner: str = "first", topic_id: str = "T1") -> Claim:
    return progress.claim("pumps", partition, owner, topic_id, NOW)


def count(engine: Engine, table: Table) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


# --- claim -----------------------------------------------------------------------------------------------------------


def test_first_claim_of_a_partition_finds_nothing(progress: Progress) -> None:
    assert claim(progress) == Claim("pumps", P0, 1, "first", None, None, "T1", None, {})


def test_next_claim_raises_the_epoch_and_finds_what_was_committed(progress: Progress) -> None:
    first = claim(progress)
    progress.commit([checkpoint(first, 100, snapshot=Snapshot("pumps-1", {0: b"\x00a", 1: b"b"}))], NOW)
    progress.commit([checkpoint(first, 130, previous_offset=100, epoch=2)], NOW)

    assert claim(progress, owner="second") == Claim(
        "pumps", P0, 3, "second", 130, 100, "T1", "pumps-1", {0: b"\x00a", 1: b"b"}, NOW
    )


def test_claim_tells_the_stored_topic_id_when_the_topic_was_recreated(progress: Progress) -> None:
    progress.commit([checkpoint(claim(progress, topic_id="T1"), 100)], NOW)
    assert claim(progress, topic_id="T2").topic_id == "T1"
    assert claim(progress, topic_id="T2").topic_id == "T1"


def test_topic_recreated_before_anything_was_read_goes_by_its_new_id(progress: Progress) -> None:
    claim(progress, topic_id="T1")
    assert claim(progress, topic_id="T2").topic_id == "T2"


def test_topic_id_is_learned_as_soon_as_the_broker_can_tell(progress: Progress) -> None:
    assert claim(progress, topic_id="").topic_id == ""
    assert claim(progress, topic_id="T1").topic_id == "T1"
    assert claim(progress, topic_id="").topic_id == "T1"


def test_fleets_that_share_a_topic_progress_apart(progress: Progress) -> None:
    pumps = claim(progress)
    progress.claim("motors", P0, "first", "T1", NOW)
    progress.commit([checkpoint(pumps, 100)], NOW)

    assert [(row.fleet, row.next_offset) for row in progress.partitions()] == [("motors", None), ("pumps", 100)]


def test_claims_at_the_same_time_get_epochs_of_their_own(progress: Progress) -> None:
    with ThreadPoolExecutor(4) as threads:
        claims = threads.map(lambda n: claim(progress, owner=f"owner-{n}"), range(8))
        assert sorted(one.epoch for one in claims) == list(range(1, 9))


def test_claim_waits_for_the_commit_under_way_and_sees_its_outcome(postgres: Engine) -> None:
    progress = Progress(postgres)
    first = claim(progress)
    with ThreadPoolExecutor(1) as thread, postgres.begin() as under_way:
        under_way.execute(update(progress_rows).where(progress_rows.c.epoch == first.epoch).values(next_offset=100))
        second = thread.submit(claim, progress, owner="second")
        wait_until(lambda: blocked(postgres) == 1)
        under_way.commit()
        assert second.result(10).next_offset == 100


# --- the fence -------------------------------------------------------------------------------------------------------


def everything(one: Claim) -> dict[str, object]:
    """One of all that a commit can bring."""
    return {
        "alerts": [opened()],
        "dead_letters": [letter(partition=one.partition)],
        "snapshot": Snapshot("pumps-1", {0: b"state"}),
        "devices": [DeviceSeen("pump-7", NOW, NOW)],
    }


def assert_nothing_was_written(engine: Engine) -> None:
    tables = (alerts, alert_events, dead_letters, devices, state_pages, gaps)
    assert {table.name: count(engine, table) for table in tables} == dict.fromkeys((t.name for t in tables), 0)


def test_commit_of_a_superseded_owner_writes_nothing(engine: Engine, progress: Progress) -> None:
    first = claim(progress, owner="first")
    claim(progress, owner="second")

    with pytest.raises(PartitionLost) as lost:
        progress.commit([checkpoint(first, 100, **everything(first))], NOW)

    assert lost.value.partitions == (P0,)
    assert_nothing_was_written(engine)
    assert [(row.owner, row.next_offset) for row in progress.partitions()] == [("second", None)]


@pytest.mark.parametrize("held", [None, 90, 110])
def test_commit_from_another_offset_than_the_stored_one_writes_nothing(
    engine: Engine, progress: Progress, held: int | None
) -> None:
    mine = claim(progress)
    progress.commit([checkpoint(mine, 100)], NOW)

    with pytest.raises(PartitionLost):
        progress.commit([checkpoint(mine, 120, previous_offset=held, **everything(mine))], NOW)

    assert_nothing_was_written(engine)
    assert [row.next_offset for row in progress.partitions()] == [100]


def test_commit_that_is_sent_twice_is_written_once(engine: Engine, progress: Progress) -> None:
    mine = claim(progress)
    sent = checkpoint(mine, 100, **everything(mine))
    progress.commit([sent], NOW)

    with pytest.raises(PartitionLost):
        progress.commit([sent], NOW)

    assert count(engine, dead_letters) == 1


def test_partitions_that_are_lost_take_the_others_back_with_them(engine: Engine, progress: Progress) -> None:
    claims = [claim(progress, partition) for partition in (P0, P1, P2)]
    for partition in (P0, P2):
        claim(progress, partition, owner="second")
    marks = [checkpoint(one, 100, **everything(one)) for one in claims]

    with pytest.raises(PartitionLost) as lost:
        progress.commit(marks, NOW)

    assert set(lost.value.partitions) == {P0, P2}
    assert_nothing_was_written(engine)
    progress.commit([mark for mark in marks if mark.partition not in lost.value.partitions], NOW)
    assert [row.next_offset for row in progress.partitions()] == [None, 100, None]
    assert count(engine, alerts) == 1


def test_commits_lock_partitions_in_one_order_so_that_none_deadlocks(postgres: Engine) -> None:
    progress = Progress(postgres)
    marks = [checkpoint(claim(progress, partition), 100) for partition in (P1, P0)]
    touch = update(progress_rows).values(topic_id="other")
    with ThreadPoolExecutor(1) as thread, postgres.begin() as other:
        other.execute(touch.where(progress_rows.c.partition == P0.number))
        commit = thread.submit(progress.commit, marks, NOW)
        wait_until(lambda: blocked(postgres) == 1)
        other.execute(touch.where(progress_rows.c.partition == P1.number))
        other.commit()
        assert commit.result(10).conflicts == 0


# --- what a commit writes --------------------------------------------------------------------------------------------


def test_commit_without_a_snapshot_leaves_the_state_offset(progress: Progress) -> None:
    mine = claim(progress)
    progress.commit([checkpoint(mine, 100, snapshot=Snapshot("pumps-1", {0: b"old", 1: b"kept"}))], NOW)
    progress.commit([checkpoint(mine, 200, previous_offset=100, epoch=mine.epoch + 1)], NOW)
    assert claim(progress).state_offset == 100

    mine = claim(progress)
    progress.commit([checkpoint(mine, 300, snapshot=Snapshot("pumps-2", {0: b"new"}))], NOW)
    after = claim(progress)
    assert (after.next_offset, after.state_offset, after.model_id) == (300, 300, "pumps-2")
    assert after.pages == {0: b"new", 1: b"kept"}


def begun(progress: Progress) -> Claim:
    """A claim on a partition that has a state at 100 and is committed up to 200."""
    mine = claim(progress)
    progress.commit([checkpoint(mine, 100, snapshot=Snapshot("pumps-1", {0: b"old", 1: b"kept"}))], NOW)
    mine = claim(progress)
    progress.commit([checkpoint(mine, 200)], NOW)
    return mine


def test_a_later_snapshot_moves_the_state_alone(engine: Engine, progress: Progress) -> None:
    mine = begun(progress)
    progress.store(later(mine, 150))
    progress.commit([checkpoint(mine, 300, previous_offset=200)], NOW)
    after = claim(progress)
    assert (after.epoch, after.next_offset, after.state_offset, after.model_id) == (mine.epoch + 1, 300, 150, "pumps-1")
    assert after.pages == {0: b"new", 1: b"kept"}
    assert [device.device_id for device in list_devices(engine)] == ["pump-8"]


@pytest.mark.parametrize(
    "fields",
    [{"epoch": 1}, {"owner": "second"}, {"previous_state_offset": 50}, {"previous_state_offset": None}],
    ids=["epoch", "owner", "state", "no state"],
)
def test_a_later_snapshot_of_who_holds_something_else_writes_nothing(
    engine: Engine, progress: Progress, fields: dict[str, Any]
) -> None:
    mine = begun(progress)
    with pytest.raises(PartitionLost) as lost:
        progress.store(later(mine, 150, **fields))
    assert lost.value.partitions == (P0,)
    after = claim(progress)
    assert (after.state_offset, after.pages, list_devices(engine)) == (100, {0: b"old", 1: b"kept"}, [])


def test_a_later_snapshot_of_what_was_never_committed_writes_nothing(progress: Progress) -> None:
    with pytest.raises(PartitionLost):
        progress.store(later(begun(progress), 201))
    assert claim(progress).pages == {0: b"old", 1: b"kept"}


def test_commits_go_on_while_a_later_snapshot_is_written(postgres: Engine) -> None:
    progress, mine, written, go_on = Progress(postgres), begun(Progress(postgres)), Event(), Event()

    @event.listens_for(postgres, "after_cursor_execute")
    def wait(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO state_pages"):
            written.set()
            assert go_on.wait(20)

    with ThreadPoolExecutor(1) as thread:
        snapshot = thread.submit(progress.store, later(mine, 200))
        assert written.wait(20)
        progress.commit([checkpoint(mine, 300, previous_offset=200)], NOW)
        go_on.set()
        snapshot.result(20)
    after = claim(progress)
    assert (after.next_offset, after.state_offset) == (300, 200)


def test_a_later_snapshot_that_a_claim_overtakes_writes_nothing(postgres: Engine) -> None:
    """As by a zombie that froze in the midst of it: its heir reads the old state, and only then may it try."""
    progress, mine = Progress(postgres), begun(Progress(postgres))
    heirs: list[Claim] = []

    @event.listens_for(postgres, "after_cursor_execute")
    def overtake(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO state_pages"):
            heirs.append(claim(progress, owner="heir"))

    with pytest.raises(PartitionLost):
        progress.store(later(mine, 200))
    assert [(heir.state_offset, heir.pages) for heir in heirs] == [(100, {0: b"old", 1: b"kept"})]
    assert claim(progress).pages == {0: b"old", 1: b"kept"}


def test_a_snapshot_of_many_pages_is_written_whole(progress: Progress) -> None:
    pages = {number: b"page %d" % number for number in range(2 * PAGES_AT_ONCE + 3)}
    mine = claim(progress)
    progress.commit([checkpoint(mine, 100, snapshot=Snapshot("pumps-1", pages))], NOW)
    assert claim(progress).pages == pages


def test_postgresql_keeps_and_sends_pages_as_they_are(postgres: Engine) -> None:
    """Neither compressed, which hardly gains anything, nor spelled out in digits: a million devices are 3 GB."""
    progress, seen = Progress(postgres), []
    progress.commit([checkpoint(claim(progress), 100, snapshot=Snapshot("pumps-1", {0: bytes(100_000)}))], NOW)

    @event.listens_for(postgres, "after_cursor_execute")
    def note(_connection: object, cursor: Any, statement: str, *_: object) -> None:
        if "state_pages.data" in statement:
            seen.append(cursor.format)

    assert claim(progress).pages == {0: bytes(100_000)}
    assert seen == [Format.BINARY]
    with postgres.connect() as connection:
        assert connection.scalar(select(func.pg_column_size(state_pages.c.data))) == 100_000


def test_an_epoch_that_is_given_out_twice_lets_only_its_owner_commit(engine: Engine, progress: Progress) -> None:
    """As after a failover to a standby that never received the first one's claim."""
    first = claim(progress, owner="first")
    with engine.begin() as connection:
        connection.execute(update(progress_rows).values(epoch=progress_rows.c.epoch - 1))
    second = claim(progress, owner="second")
    assert second.epoch == first.epoch
    with pytest.raises(PartitionLost):
        progress.commit([checkpoint(first, 100)], NOW)
    with pytest.raises(PartitionLost):
        progress.accept_gap(first, 0, 10, "T1", "gone", NOW)
    progress.commit([checkpoint(second, 100)], NOW)


def test_snapshot_that_moves_no_offset_is_not_written_twice(progress: Progress) -> None:
    mine = claim(progress)
    first = checkpoint(mine, 100, snapshot=Snapshot("pumps-1", {0: b"old"}))
    progress.commit([first], NOW)
    again = replace(first, previous_offset=100, epoch=first.epoch_after, snapshot=Snapshot("pumps-2", {0: b"new"}))
    progress.commit([again], NOW)

    with pytest.raises(PartitionLost):
        progress.commit([again], NOW)
    assert claim(progress).epoch == again.epoch_after + 1


def test_new_alert_that_is_there_already_is_counted_and_changes_nothing(engine: Engine, progress: Progress) -> None:
    mine, one, other = claim(progress), alert(), alert()
    assert progress.commit([checkpoint(mine, 100, alerts=[opened(one)])], NOW).conflicts == 0

    again = [opened(replace(one, score_peak=9.0)), opened(other)]
    assert progress.commit([checkpoint(mine, 200, previous_offset=100, alerts=again)], NOW).conflicts == 1

    assert show(engine, str(one.id)).score_peak == one.score_peak
    assert [line.event for line in history(engine, one.id)] == ["opened"]
    assert [line.event for line in history(engine, other.id)] == ["opened"]


def test_episode_that_goes_on_keeps_what_people_said_and_what_it_brings_no_more(
    engine: Engine, progress: Progress
) -> None:
    mine, one = claim(progress), alert()
    progress.commit([checkpoint(mine, 100, alerts=[opened(one)])], NOW)
    acknowledge(engine, str(one.id), "Ada", NOW)
    feedback(engine, str(one.id), Feedback.REAL, "Ada", NOW, "bearing")
    before = show(engine, str(one.id))

    ends = NOW + 5 * SECOND
    going = replace(
        one, last_seen_at=ends, score_peak=9.0, readings=5, last_offset=44, top_channels=None, evidence=None
    )
    closed = replace(going, status=Status.CLOSED, closed_at=ends, close_reason=Reason.CLEARED, evidence=one.evidence)
    progress.commit([checkpoint(mine, 200, previous_offset=100, alerts=[moved(going), opened()])], NOW)
    later = NOW + SECOND
    progress.commit([checkpoint(mine, 300, previous_offset=200, alerts=[moved(closed, "closed")])], later)

    assert show(engine, str(one.id)) == replace(
        before,
        status=Status.CLOSED,
        last_seen_at=instant(ends),
        closed_at=instant(ends),
        score_peak=9.0,
        readings=5,
        last_offset=44,
        close_reason="cleared",
        updated_at=instant(later),
    )
    told = [(line.event, line.by, microseconds(line.at)) for line in history(engine, one.id)]
    assert told == [
        ("opened", None, NOW),
        ("acknowledged", "Ada", NOW),
        ("feedback", "Ada", NOW),
        ("closed", None, ends),
    ]


def test_figures_that_are_no_numbers_read_as_absent(engine: Engine, progress: Progress) -> None:
    one = alert()
    assert one.top_channels is not None
    odd = replace(one, top_channels=(replace(one.top_channels[0], observed=math.nan, expected=math.inf),))
    progress.commit([checkpoint(claim(progress), alerts=[opened(odd)])], NOW)

    (channel,) = show(engine, str(odd.id)).top_channels
    assert (channel.observed, channel.expected) == (None, None)


def test_dead_letter_keeps_every_byte_and_text_that_no_database_takes(engine: Engine, progress: Progress) -> None:
    letters = [letter(detail="key \0 \ud800", timestamp_ms=-1, key=None), letter(offset=42, position=3, reason="far")]
    progress.commit([checkpoint(claim(progress), dead_letters=letters)], NOW)

    last, first = list_dead_letters(engine)
    assert (first.payload, first.key, first.timestamp_ms, first.detail) == (
        b"\x00\xff{",
        None,
        -1,
        "key \N{REPLACEMENT CHARACTER} ?",
    )
    assert (last.record_offset, last.position, last.key, last.recorded_at) == (42, 3, b"pump-7", instant(NOW))
    assert [row.reason for row in list_dead_letters(engine, "pumps", "far")] == ["far"]
    assert count_dead_letters(engine) == {"malformed": 1, "far": 1}


def test_device_is_first_seen_once_and_last_seen_at_its_latest_reading(engine: Engine, progress: Progress) -> None:
    mine = claim(progress)
    seen = [DeviceSeen("pump-7", NOW, NOW + 5), DeviceSeen("pump-8", NOW, NOW)]
    progress.commit([checkpoint(mine, 100, devices=seen, alerts=[opened()])], NOW)
    seen = [DeviceSeen("pump-7", NOW + 1, NOW + 2), DeviceSeen("pump-8", NOW - 1, NOW + 9)]
    progress.commit([checkpoint(mine, 200, previous_offset=100, devices=seen)], NOW)

    rows = [
        (row.device_id, microseconds(row.first_seen) - NOW, microseconds(row.last_seen) - NOW, row.open_alerts)
        for row in list_devices(engine)
    ]
    assert rows == [("pump-7", 0, 5, 1), ("pump-8", -1, 9, 0)]
    assert [row.device_id for row in list_devices(engine, "pumps", "*8")] == ["pump-8"]


def test_a_device_that_left_and_came_back_is_there_once(engine: Engine, progress: Progress) -> None:
    name = 'pümp "7"\\ {}, NULL\n\u2028'
    seen = [DeviceSeen(name, NOW + 3, NOW + 4), DeviceSeen("other", NOW, NOW), DeviceSeen(name, NOW + 7, NOW + 9)]
    progress.commit([checkpoint(claim(progress), 100, devices=seen)], NOW)
    [row] = [row for row in list_devices(engine) if row.device_id == name]
    assert (microseconds(row.first_seen), microseconds(row.last_seen)) == (NOW + 3, NOW + 9)


# --- gaps ------------------------------------------------------------------------------------------------------------


def test_accepted_gap_is_recorded_and_starts_the_partition_cold(engine: Engine, progress: Progress) -> None:
    first, one, elsewhere = claim(progress), alert(), alert(partition=1)
    mark = checkpoint(first, 100, alerts=[opened(one), opened(elsewhere)], snapshot=Snapshot("pumps-1", {0: b"state"}))
    progress.commit([mark], NOW)
    mine = claim(progress)

    after = progress.accept_gap(mine, 100, 500, "T2", "retention overrun", NOW)

    assert after == Claim("pumps", P0, mine.epoch, mine.owner, 500, None, "T2", None, {}, NOW)
    assert claim(progress, topic_id="T2") == replace(after, epoch=mine.epoch + 1)
    with engine.connect() as connection:
        (gap,) = connection.execute(select(gaps.c.from_offset, gaps.c.to_offset, gaps.c.reason)).all()
    assert tuple(gap) == (100, 500, "retention overrun")
    assert [row.id for row in list_alerts(engine, AlertFilter(open_only=True))] == [elsewhere.id]
    assert (show(engine, str(one.id)).close_reason, history(engine, one.id)[-1].event) == ("gap", "closed")


def test_gap_is_not_accepted_by_a_superseded_owner(engine: Engine, progress: Progress) -> None:
    first = claim(progress)
    claim(progress, owner="second")

    with pytest.raises(PartitionLost):
        progress.accept_gap(first, None, 500, "T1", "retention overrun", NOW)
    assert_nothing_was_written(engine)
