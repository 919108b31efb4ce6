"""Which alerts people aren't told of, and that taking it back leaves what would be there without it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest
from sqlalchemy import event, func, select, update

from sensord.detection.alerts import Alert, AlertChange, ChannelShare, Kind, Reason, Severity, Status
from sensord.errors import NotFound
from sensord.store import Engine
from sensord.store.alerts import AlertFilter, Feedback, acknowledge, feedback, history, list_alerts, show
from sensord.store.devices import DeviceSeen, list_devices
from sensord.store.progress import Progress
from sensord.store.schema import alert_events, alerts, instant
from sensord.store.suppression import add_window, hold, remove_window
from sensord.store.windows import Window, WindowKind, list_windows
from tests.store.conditions import blocked, wait_until
from tests.store.rows import NOW, P0, SECOND, alert, checkpoint, moved, opened

HOUR = 3_600 * SECOND
OTHER = (ChannelShare("current", "A", 9.0, 3.0, 1.0),)


@dataclass
class Daemon:
    """Who commits alerts, each commit a second after the one before."""

    engine: Engine
    at: int = NOW
    next: int = 100
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        self.progress = Progress(self.engine)
        self.claim = self.progress.claim("pumps", P0, "test", "T1", NOW)

    def commit(self, *changes: AlertChange) -> None:
        before = None if self.next == 100 else self.next - 1
        self.progress.commit([checkpoint(self.claim, self.next, previous_offset=before, alerts=changes)], self.at)
        self.next, self.at = self.next + 1, self.at + SECOND

    def say(self, one: Alert, verdict: Feedback | None) -> None:
        """A person answers, between two commits."""
        feedback(self.engine, str(one.id), verdict, "ann", self.at)

    def window(self, first: int = NOW - HOUR, last: int = NOW + HOUR, device: str | None = None) -> Window:
        span = instant(first), instant(last)
        return add_window(self.engine, "pumps", device, *span, WindowKind.MAINTENANCE, "oil", "ann", self.at)[0]

    def shown(self, at: int = NOW) -> set[UUID]:
        return {row.id for row in list_alerts(self.engine, AlertFilter(run="live", shown_at=instant(at)))}

    def events(self, one: Alert) -> list[str]:
        return [line.event for line in history(self.engine, one.id) if line.by is None]

    def rows(self) -> list[tuple[object, ...]]:
        """All alerts, as they stand; but for when they were last written."""
        columns = [column for column in alerts.c if column.name != "updated_at"]
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(select(*columns).order_by(alerts.c.id))]


@pytest.fixture
def daemon(engine: Engine) -> Daemon:
    return Daemon(engine)


def false_alarm(daemon: Daemon) -> Alert:
    """One that a person called so."""
    first = alert()
    daemon.commit(opened(first))
    daemon.say(first, Feedback.FALSE_ALARM)
    return first


def closed(one: Alert, at: int = NOW + SECOND) -> AlertChange:
    over = replace(one, status=Status.CLOSED, closed_at=at, last_seen_at=at, close_reason=Reason.CLEARED)
    return moved(replace(over, top_channels=None, evidence=None), "closed")


# --- false alarms ----------------------------------------------------------------------------------------------------


def test_what_is_like_a_false_alarm_is_hidden_and_nobody_is_told(daemon: Daemon) -> None:
    first, again = false_alarm(daemon), alert()
    daemon.commit(opened(again))
    daemon.commit(closed(again))

    assert daemon.shown() == {first.id}
    assert (show(daemon.engine, str(again.id)).suppressed_like, daemon.events(again)) == (first.id, [])
    assert daemon.events(first) == ["opened"]


@pytest.mark.parametrize(
    "other",
    [
        alert(device_id="pump-8"),
        alert(fleet="motors"),
        alert(top_channels=OTHER),
        alert(kind=Kind.STUCK),
        alert(severity=Severity.CRITICAL),
        alert(score_peak=9.0),
    ],
    ids=["device", "fleet", "channels", "kind", "severity", "peak"],
)
def test_what_differs_is_told_as_ever(daemon: Daemon, other: Alert) -> None:
    first = false_alarm(daemon)
    daemon.commit(opened(other))

    assert daemon.shown() == {first.id, other.id}
    assert daemon.events(other) == ["opened"]


def test_what_was_there_before_stays_as_it_is(daemon: Daemon) -> None:
    before = alert()
    daemon.commit(opened(before))
    first = false_alarm(daemon)
    daemon.commit(moved(before, "escalated"))

    assert daemon.shown() == {first.id, before.id}
    assert daemon.events(before) == ["opened", "escalated"]


@pytest.mark.parametrize(
    "worse",
    [{"score_peak": 9.0}, {"severity": Severity.CRITICAL}, {"top_channels": OTHER}, {"kind": Kind.STUCK}],
    ids=["peak", "severity", "channels", "kind"],
)
def test_what_outgrows_the_false_alarm_is_told_then_and_from_then_on(daemon: Daemon, worse: dict[str, object]) -> None:
    first, again = false_alarm(daemon), alert()
    daemon.commit(opened(again))
    daemon.commit(moved(replace(again, readings=9, top_channels=None, evidence=None)))
    assert daemon.events(again) == []

    grown = replace(again, **({"top_channels": None} | worse))  # type: ignore[arg-type]
    daemon.commit(moved(grown, "escalated"))
    assert daemon.shown() == {first.id, again.id}
    assert daemon.events(again) == ["opened"]
    [line] = history(daemon.engine, again.id)
    assert line.severity is grown.severity
    daemon.commit(closed(grown))
    assert daemon.events(again) == ["opened", "closed"]


def test_a_word_taken_back_leaves_the_rows_that_would_be_there_without_it(engine: Engine, daemon: Daemon) -> None:
    """The same alerts with and without a false alarm that is undone in the end."""
    first, grown, over, still = (alert(id=UUID(int=n)) for n in range(1, 5))
    steps = [[opened(grown), opened(over), opened(still)], [moved(replace(grown, score_peak=9.0))], [closed(over)]]

    daemon.commit(opened(first))
    daemon.say(first, Feedback.FALSE_ALARM)
    for step in steps:
        daemon.commit(*step)
    assert daemon.shown() == {first.id, grown.id}
    daemon.say(first, None)
    undone = daemon.rows(), [daemon.events(one) for one in (first, grown, over, still)]

    with engine.begin() as connection:
        connection.execute(alert_events.delete())
        connection.execute(alerts.delete())
    daemon.at = NOW
    daemon.commit(opened(first))
    for step in steps:
        daemon.commit(*step)
    assert undone == (daemon.rows(), [daemon.events(one) for one in (first, grown, over, still)])


@pytest.mark.parametrize("verdict", [None, Feedback.REAL])
def test_another_false_alarm_that_was_called_before_takes_over_and_none_that_was_called_after(
    daemon: Daemon, verdict: Feedback | None
) -> None:
    first, second = alert(), alert()
    daemon.commit(opened(first), opened(second))
    daemon.say(first, Feedback.FALSE_ALARM)
    daemon.commit(opened(early := alert()))
    daemon.say(second, Feedback.FALSE_ALARM)
    daemon.commit(opened(late := alert()))

    daemon.say(first, verdict)
    assert show(daemon.engine, str(late.id)).suppressed_like == second.id
    assert daemon.shown() == {first.id, second.id, early.id}
    assert (daemon.events(early), daemon.events(late)) == (["opened"], [])


def test_a_false_alarm_that_was_suppressed_itself_is_judged_again_with_the_rest(daemon: Daemon) -> None:
    first = false_alarm(daemon)
    daemon.commit(opened(second := alert()))
    daemon.say(second, Feedback.FALSE_ALARM)
    daemon.commit(opened(third := alert()))
    daemon.say(first, None)
    assert daemon.shown() == {first.id, second.id}
    assert show(daemon.engine, str(third.id)).suppressed_like == second.id


def test_what_a_person_calls_real_is_shown_whatever_it_is_like(daemon: Daemon) -> None:
    first = false_alarm(daemon)
    daemon.commit(opened(again := alert()))
    before = daemon.rows()
    daemon.say(again, Feedback.REAL)
    assert daemon.shown() == {first.id, again.id}
    daemon.say(again, None)
    assert daemon.rows() == before

    daemon.say(again, Feedback.REAL)
    daemon.commit(closed(again))
    assert daemon.events(again) == ["opened", "closed"]


def test_other_answers_change_no_mark(daemon: Daemon) -> None:
    first = false_alarm(daemon)
    daemon.commit(opened(again := alert()))
    acknowledge(daemon.engine, str(again.id), "ann", daemon.at, "on my way")
    daemon.say(first, Feedback.FALSE_ALARM)
    assert daemon.shown() == {first.id}
    assert [line.comment for line in history(daemon.engine, again.id)] == ["on my way"]


def test_other_runs_neither_teach_nor_are_suppressed(daemon: Daemon) -> None:
    shadow = alert(run="shadow")
    daemon.commit(opened(shadow))
    daemon.say(shadow, Feedback.FALSE_ALARM)
    daemon.commit(opened(live := alert()))
    daemon.say(live, Feedback.FALSE_ALARM)
    daemon.window()
    daemon.commit(opened(another := alert(run="shadow")))
    assert [show(daemon.engine, str(one.id)).suppressed_like for one in (live, another)] == [None, None]
    assert show(daemon.engine, str(another.id)).suppressed_window is None


@pytest.mark.parametrize("odd", [None, {}, [1], [{"channel": "heat", "share": None}], "x", []])
def test_an_explanation_that_makes_no_sense_is_like_nothing_and_stops_no_commit(daemon: Daemon, odd: object) -> None:
    false_alarm(daemon)
    daemon.commit(opened(hidden := alert()))
    with daemon.engine.begin() as connection:
        connection.execute(update(alerts).values(top_channels=odd))
    daemon.commit(opened(again := alert()), moved(replace(hidden, top_channels=None), "escalated"))
    assert [mark[1:] for mark in _marks(daemon)] == [(None, None)] * 3
    assert daemon.events(again) == daemon.events(hidden) == ["opened"]


# --- windows ---------------------------------------------------------------------------------------------------------


def test_what_opens_in_a_window_is_hidden_whichever_came_first(daemon: Daemon) -> None:
    before, after = alert(), alert()
    daemon.commit(opened(before))
    window = daemon.window()
    daemon.commit(opened(after))

    assert daemon.shown() == set()
    assert [row[1:] for row in _marks(daemon)] == [(window.id, None)] * 2
    assert (daemon.events(before), daemon.events(after)) == (["opened"], [])
    assert remove_window(daemon.engine, window.id, daemon.at) == 2
    assert daemon.shown() == {before.id, after.id}
    assert daemon.events(before) == daemon.events(after) == ["opened"]
    assert list_windows(daemon.engine) == []


def _marks(daemon: Daemon) -> list[tuple[object, ...]]:
    with daemon.engine.connect() as connection:
        a = alerts.c
        return [tuple(row) for row in connection.execute(select(a.id, a.suppressed_window, a.suppressed_like))]


@pytest.mark.parametrize(
    ("device", "first", "last", "inside"),
    [
        (None, 0, 1, True),
        ("pump-7", 0, 1, True),
        ("pump-?", 0, 1, True),
        ("*7", 0, 1, True),
        ("pump", 0, 1, False),
        ("pump-8", 0, 1, False),
        ("pump_7", 0, 1, False),
        (None, 1, HOUR, False),
        (None, -HOUR, 0, False),
        (None, -HOUR, HOUR, True),
    ],
)
def test_a_window_holds_what_it_names_from_its_beginning_to_before_its_end(
    daemon: Daemon, device: str | None, first: int, last: int, inside: bool
) -> None:
    daemon.commit(opened())
    daemon.window(NOW + first, NOW + last, device)
    daemon.commit(opened())
    assert len(daemon.shown()) == (0 if inside else 2)


def test_what_outlasts_a_window_is_told_then(daemon: Daemon) -> None:
    daemon.window(NOW, NOW + HOUR)
    daemon.commit(opened(one := alert()))
    daemon.commit(moved(one := replace(one, last_seen_at=NOW + HOUR - 1)))
    assert (daemon.shown(), daemon.events(one)) == (set(), [])
    daemon.commit(moved(replace(one, last_seen_at=NOW + HOUR)))
    assert (daemon.shown(), daemon.events(one)) == ({one.id}, ["opened"])

    daemon.window(NOW, NOW + HOUR)
    assert daemon.shown() == {one.id}


def silence(since: int, **fields: object) -> Alert:
    """Missed after 300 seconds."""
    one = alert(kind=Kind.SILENT, top_channels=(), threshold=300.0, score_peak=301.0, readings=0)
    return replace(one, opened_at=since, last_seen_at=since, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("since", "hidden"), [(-301, False), (-300, True), (100, True), (3_300, False)])
def test_a_silence_is_in_the_window_in_which_the_device_was_missed(daemon: Daemon, since: int, hidden: bool) -> None:
    daemon.commit(opened(silence(NOW + since * SECOND)))
    daemon.window(NOW, NOW + HOUR)
    daemon.commit(opened(silence(NOW + since * SECOND)))
    assert len(daemon.shown()) == (0 if hidden else 2)


def test_a_silence_that_outlasts_its_window_is_seen_as_soon_as_that_is_over(daemon: Daemon) -> None:
    daemon.window(NOW, NOW + HOUR)
    daemon.commit(opened(one := silence(NOW)))
    assert daemon.shown(NOW + HOUR - 1) == set()
    assert daemon.shown(NOW + HOUR) == {one.id}
    over = replace(one, status=Status.CLOSED, closed_at=NOW + HOUR, close_reason=Reason.RETURNED)
    daemon.commit(moved(over, "closed"))
    assert (daemon.shown(), daemon.events(one)) == ({one.id}, ["opened", "closed"])


def test_a_silence_that_ends_in_its_window_stays_hidden(daemon: Daemon) -> None:
    daemon.window(NOW, NOW + HOUR)
    daemon.commit(opened(one := silence(NOW)))
    over = replace(one, status=Status.CLOSED, closed_at=NOW + HOUR - 1, close_reason=Reason.RETURNED)
    daemon.commit(moved(over, "closed"))
    assert (daemon.shown(NOW + 2 * HOUR), daemon.events(one)) == (set(), [])


def test_a_silence_is_no_pattern(daemon: Daemon) -> None:
    daemon.commit(opened(first := silence(NOW)))
    daemon.say(first, Feedback.FALSE_ALARM)
    daemon.commit(opened(again := silence(NOW + HOUR)))
    assert daemon.shown() == {first.id, again.id}


def test_of_windows_that_overlap_another_one_takes_over(daemon: Daemon) -> None:
    first, second = daemon.window(), daemon.window(device="pump-7")
    daemon.commit(opened(one := alert()))
    daemon.commit(closed(one))
    assert [mark[1] for mark in _marks(daemon)] == [first.id]
    assert remove_window(daemon.engine, first.id, daemon.at) == 0
    assert [mark[1] for mark in _marks(daemon)] == [second.id]
    assert remove_window(daemon.engine, second.id, daemon.at) == 1
    assert daemon.events(one) == ["opened", "closed"]
    with pytest.raises(NotFound, match=f"no window has the id {first.id}"):
        remove_window(daemon.engine, first.id, daemon.at)


def test_what_is_suppressed_twice_stays_so_until_both_are_gone(daemon: Daemon) -> None:
    first, window = false_alarm(daemon), daemon.window()
    daemon.commit(opened(one := alert()))
    assert next(row[1:] for row in _marks(daemon) if row[0] == one.id) == (window.id, first.id)
    daemon.say(first, None)
    assert (daemon.shown(), daemon.events(one)) == (set(), [])
    remove_window(daemon.engine, window.id, daemon.at)
    assert (daemon.shown(), daemon.events(one)) == ({first.id, one.id}, ["opened"])


def test_what_was_told_before_its_window_came_is_not_told_twice(daemon: Daemon) -> None:
    daemon.commit(opened(one := alert()))
    window = daemon.window()
    daemon.commit(moved(one := replace(one, severity=Severity.CRITICAL), "escalated"))
    daemon.commit(closed(one))
    assert daemon.events(one) == ["opened"]
    remove_window(daemon.engine, window.id, daemon.at)
    assert daemon.events(one) == ["opened", "escalated", "closed"]
    assert [line.at for line in history(daemon.engine, one.id)][-1] == instant(NOW + SECOND)


def test_a_suppressed_alert_of_a_partition_that_is_given_up_is_closed_in_silence(daemon: Daemon) -> None:
    window = daemon.window()
    daemon.commit(opened(one := alert()))
    daemon.progress.accept_gap(daemon.claim, 100, 500, "T2", "retention overrun", daemon.at)
    assert daemon.events(one) == []
    remove_window(daemon.engine, window.id, daemon.at)
    assert daemon.events(one) == ["opened", "closed"]


def test_a_device_s_open_alerts_are_those_that_are_shown(daemon: Daemon) -> None:
    daemon.commit(opened(), opened(alert(run="shadow")))
    daemon.progress.commit(
        [
            checkpoint(
                daemon.claim, 999, previous_offset=100, devices=[DeviceSeen("pump-7", NOW, NOW)], alerts=[opened()]
            )
        ],
        NOW,
    )
    assert [row.open_alerts for row in list_devices(daemon.engine)] == [2]
    daemon.window()
    assert [row.open_alerts for row in list_devices(daemon.engine)] == [0]


# --- at the same time ------------------------------------------------------------------------------------------------


def test_a_word_taken_back_during_a_commit_waits_for_it_and_misses_nothing(postgres: Engine) -> None:
    daemon = Daemon(postgres)
    first = false_alarm(daemon)
    one = alert()
    with ThreadPoolExecutor(1) as thread, postgres.begin() as under_way:
        hold(under_way, ["pumps"])  # a commit that has read what is called false, and not yet written
        answer = thread.submit(daemon.say, first, None)
        wait_until(lambda: blocked(postgres) == 1)
        row = under_way.execute(select(alerts).where(alerts.c.id == first.id)).one()._mapping
        under_way.execute(alerts.insert(), dict(row) | {"id": one.id, "feedback": None, "suppressed_like": first.id})
        under_way.commit()
        answer.result(10)
    assert daemon.shown() == {first.id, one.id}
    assert daemon.events(one) == ["opened"]


def test_a_commit_waits_for_a_word_and_heeds_it(postgres: Engine) -> None:
    daemon = Daemon(postgres)
    first = alert()
    daemon.commit(opened(first))
    with ThreadPoolExecutor(1) as thread, postgres.begin() as under_way:
        hold(under_way, ["pumps"], alone=True)
        commit = thread.submit(daemon.commit, opened(again := alert()))
        wait_until(lambda: blocked(postgres) == 1)
        called = {"feedback": "false_alarm", "feedback_at": instant(daemon.at)}
        under_way.execute(update(alerts).where(alerts.c.id == first.id).values(called))
        under_way.commit()
        commit.result(10)
    assert daemon.shown() == {first.id}
    assert show(postgres, str(again.id)).suppressed_like == first.id


def test_daemons_and_people_at_once_lose_no_mark_and_lock_nobody_out(postgres: Engine) -> None:
    """Many rows, written by commits and marked by people in the order that each of them likes."""
    daemon = Daemon(postgres)
    first, many = alert(), [alert() for _ in range(40)]
    daemon.commit(opened(first), *map(opened, many))

    def work() -> None:
        for step in range(20):
            daemon.commit(*(moved(replace(one, readings=step)) for one in reversed(many)), opened())

    def talk() -> None:
        for n in range(10):
            feedback(postgres, str(first.id), (Feedback.FALSE_ALARM, None)[n % 2], "ann", daemon.at)
            remove_window(postgres, daemon.window().id, daemon.at)

    with ThreadPoolExecutor(3) as threads:
        done = [threads.submit(each) for each in (work, talk, talk)]
        for each in done:
            each.result(60)
    daemon.say(first, None)
    assert {row[1:] for row in _marks(daemon)} == {(None, None)}
    with postgres.connect() as connection:
        told = select(alert_events.c.alert_id).where(alert_events.c.event == "opened")
        events = connection.execute(told).scalars().all()
        assert connection.scalar(select(func.count()).select_from(alerts)) == len(events) == len(set(events))


def test_a_commit_without_alerts_asks_nothing_more(daemon: Daemon) -> None:
    said: list[str] = []
    event.listen(daemon.engine, "before_cursor_execute", lambda *call: said.append(str(call[2])))
    daemon.commit()
    assert not any("alerts" in statement or "windows" in statement for statement in said)
    said.clear()
    daemon.commit(moved(alert()))
    about = [s for s in said if s.lstrip().startswith("SELECT") and "FROM" in s]
    assert len(about) == 1  # what of the open ones is suppressed; an index of its own holds just these
