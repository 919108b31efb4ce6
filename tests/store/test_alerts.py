"""What people see of alerts and say about them, on both databases."""

from dataclasses import fields, replace
from uuid import UUID

import pytest

from sensord.detection.alerts import Alert, AlertChange, Kind, Severity, Status
from sensord.errors import NotFound
from sensord.store import Engine
from sensord.store.alerts import (
    AlertFilter,
    Feedback,
    accept,
    acknowledge,
    episodes,
    feedback,
    history,
    list_alerts,
    show,
)
from sensord.store.progress import Progress
from sensord.store.schema import instant
from tests.store.rows import NOW, P0, SECOND, alert, checkpoint, opened


def store(engine: Engine, *several: Alert) -> None:
    progress = Progress(engine)
    claim = progress.claim("pumps", P0, "test", "T1", NOW)
    progress.commit([checkpoint(claim, 100, alerts=[opened(one) for one in several])], NOW + 7)


def test_row_reads_as_the_alert_that_was_committed(engine: Engine) -> None:
    one = alert(
        opened_at=NOW + 1,
        last_seen_at=NOW + 999_999,
        closed_at=NOW + 999_999,
        status=Status.CLOSED,
        score_peak=0.1 + 0.2,
    )
    store(engine, one)

    row = show(engine, str(one.id))

    times = {"opened_at", "last_seen_at", "closed_at"}
    for field in fields(Alert):
        wanted = getattr(one, field.name)
        assert getattr(row, field.name) == (instant(wanted) if field.name in times else wanted), field.name
    assert row.detected_at == row.updated_at == instant(NOW + 7)
    assert (row.acknowledged_by, row.feedback, row.schema_version) == (None, None, 1)


def test_an_alert_that_is_committed_in_steps_reads_as_one_committed_at_once(engine: Engine) -> None:
    """What began as a spike and goes on is an anomaly, with that detector's figures but for the first, whenever commits
    were due."""
    began = alert(kind=Kind.SPIKE)
    became = replace(
        began,
        kind=Kind.ANOMALY,
        severity=Severity.CRITICAL,
        last_seen_at=NOW + SECOND,
        score_peak=7.0,
        score_last=6.0,
        threshold=3.0,
        readings=40,
        top_channels=(),
        last_offset=140,
    )
    progress = Progress(engine)
    claim = progress.claim("pumps", P0, "test", "T1", NOW)
    progress.commit([checkpoint(claim, 100, alerts=[opened(began)])], NOW + 7)
    change = AlertChange(became, False, ("escalated",))
    progress.commit([checkpoint(claim, 200, previous_offset=100, alerts=[change])], NOW + 8)

    row = show(engine, str(began.id))

    times = {"opened_at", "last_seen_at", "closed_at"}
    for field in fields(Alert):
        wanted = getattr(became, field.name)
        assert getattr(row, field.name) == (instant(wanted) if field.name in times and wanted else wanted), field.name


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (AlertFilter(), "cba"),
        (AlertFilter(fleet="motors"), "b"),
        (AlertFilter(device="pump-1"), "a"),
        (AlertFilter(device="pump-?"), "a"),
        (AlertFilter(device="*1*"), "cba"),
        (AlertFilter(device="pump_1"), ""),
        (AlertFilter(since=instant(NOW + SECOND)), "cb"),
        (AlertFilter(open_only=True), "cb"),
        (AlertFilter(severity=Severity.CRITICAL), "b"),
        (AlertFilter(kind=Kind.SPIKE), "c"),
        (AlertFilter(run="replay", fleet="pumps"), "c"),
        (AlertFilter(run="replay", fleet="motors"), ""),
    ],
)
def test_filter_lets_through_what_it_says_the_last_opened_first(
    engine: Engine, filters: AlertFilter, found: str
) -> None:
    named = {
        "a": alert(device_id="pump-1", closed_at=NOW, status=Status.CLOSED),
        "b": alert(device_id="motor-1", fleet="motors", severity=Severity.CRITICAL, opened_at=NOW + SECOND),
        "c": alert(device_id="pump-10", kind=Kind.SPIKE, run="replay", opened_at=NOW + 2 * SECOND),
    }
    store(engine, *named.values())

    assert [row.id for row in list_alerts(engine, filters)] == [named[name].id for name in found]
    assert len(list_alerts(engine, filters, limit=1)) == min(1, len(found))


def test_alert_is_found_by_the_beginning_of_its_id_if_no_other_begins_so(engine: Engine) -> None:
    one, other = alert(id=UUID("aa" + "0" * 30)), alert(id=UUID("ab" + "f" * 30))
    store(engine, one, other)

    assert show(engine, "AA").id == one.id
    assert show(engine, "abffffff-ff").id == other.id
    for name, said in (
        ("a", "several"),
        ("b", "no alert"),
        ("pump-7", "no alert"),
        ("", "no alert"),
        ("a" * 33, "no alert"),
    ):
        with pytest.raises(NotFound, match=said):
            show(engine, name)


def test_last_word_of_feedback_counts_and_all_of_it_is_kept(engine: Engine) -> None:
    one = alert()
    store(engine, one)
    name = str(one.id)[:8]

    assert acknowledge(engine, name, "Ada", NOW + 10).acknowledged_at == instant(NOW + 10)
    feedback(engine, name, Feedback.REAL, "Ada", NOW + 20, "bearing")
    row = feedback(engine, name, Feedback.FALSE_ALARM, "Bob", NOW + 30)

    assert (row.acknowledged_by, row.feedback, row.feedback_by) == ("Ada", Feedback.FALSE_ALARM, "Bob")
    assert (row.feedback_at, row.feedback_comment, row.updated_at) == (instant(NOW + 30), None, instant(NOW + 30))
    assert [(line.event, line.by, line.comment) for line in history(engine, one.id)] == [
        ("opened", None, None),
        ("acknowledged", "Ada", None),
        ("feedback", "Ada", "bearing"),
        ("feedback", "Bob", None),
    ]


def test_nobody_can_answer_an_alert_that_is_not_there(engine: Engine) -> None:
    with pytest.raises(NotFound):
        acknowledge(engine, "abc", "Ada", NOW)


@pytest.mark.parametrize(
    ("one", "verdict", "found"),
    [
        (alert(), None, [False]),
        (alert(), Feedback.REAL, [True]),
        (alert(), Feedback.FALSE_ALARM, []),
        (alert(run="shadow"), None, []),
        (alert(fleet="motors"), None, []),
        (alert(kind=Kind.SILENT), None, []),
    ],
    ids=["unanswered", "real", "false alarm", "other run", "other fleet", "silence"],
)
def test_episodes_are_those_that_nothing_should_be_learned_from(
    engine: Engine, one: Alert, verdict: Feedback | None, found: list[bool]
) -> None:
    store(engine, one)
    feedback(engine, str(one.id), verdict, "ann", NOW)
    assert [each.real for each in episodes(engine, "pumps")] == found


def test_what_is_accepted_or_like_a_false_alarm_may_be_learned_but_what_is_real_may_not(engine: Engine) -> None:
    first, accepted, again = alert(), alert(), alert()
    store(engine, first, accepted)
    accept(engine, str(accepted.id), "ann", NOW)
    feedback(engine, str(first.id), Feedback.FALSE_ALARM, "ann", NOW)
    progress = Progress(engine)
    claim = progress.claim("pumps", P0, "test", "T1", NOW)
    progress.commit([checkpoint(claim, 200, alerts=[opened(again)])], NOW)
    assert episodes(engine, "pumps") == []
    feedback(engine, str(accepted.id), Feedback.REAL, "ann", NOW)
    assert [each.real for each in episodes(engine, "pumps")] == [True]


def test_an_episode_ends_where_it_closed_or_was_last_seen(engine: Engine) -> None:
    going = alert(last_seen_at=NOW + 5)
    over = alert(opened_at=NOW + 1, last_seen_at=NOW + 5, closed_at=NOW + 7, status=Status.CLOSED)
    store(engine, going, over)
    assert [each.ended_at for each in episodes(engine, "pumps")] == [instant(NOW + 5), instant(NOW + 7)]
