"""A search tries the settings in force first, keeps what it found, repeats itself, and says what it gains."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sensord.clock import ManualClock
from sensord.errors import BundleInvalid, HistoryUnusable, StudyUnusable
from sensord.model.bundle import Bundle
from sensord.trainer.fit import FitOptions
from sensord.trainer.history import History
from sensord.trainer.job import Report, TrainOptions
from sensord.trainer.offline import Recorded
from sensord.trainer.search import merit
from sensord.trainer.search.choice import RANGES, Choice
from sensord.trainer.search.found import Ended, Found, Tried
from sensord.trainer.search.merit import FEWEST_FAULTS, READINGS_FOR_A_FAULT, Duel, Figures, Rehearsal
from sensord.trainer.threshold import HELD_OUT
from tests import builders

study = pytest.importorskip("sensord.trainer.search.study")

BASE = TrainOptions("pumps", fit=FitOptions(hidden=2, steps=3))
GOOD = Figures(found=20, faults=30, alarms=0, allowed=0.5, device_days=10.0, error=0.4)


def history(readings: int = 2_000, devices: int = 6, seed: int = 0) -> History:
    rng = np.random.default_rng(seed)
    at = 1_700_000_000_000_000 + 60_000_000 * np.arange(readings)
    return History(
        ("heat", "flow"),
        tuple(
            Recorded(f"pump-{i}", at, rng.normal(size=(readings, 2)).astype(np.float32).cumsum(axis=0))
            for i in range(devices)
        ),
    )


class Rehearsals:
    """Stands in for training: the closer the smoothing is to 30, the more is found."""

    def __init__(self) -> None:
        self.seen: list[tuple[History, Choice]] = []
        self.before: Callable[[int, Report], None] = lambda number, report: None

    def __call__(self, seen: History, options: TrainOptions, report: Report) -> Rehearsal:
        choice = Choice.of(options)
        self.before(len(self.seen), report)
        self.seen.append((seen, choice))
        found = round(30 * np.exp(-abs(np.log(choice.smoothing / 30))))
        return Rehearsal(replace(GOOD, found=found, error=choice.learning_rate), builders.bundle())


@pytest.fixture
def rehearsals(monkeypatch: pytest.MonkeyPatch) -> Rehearsals:
    stand_in = Rehearsals()
    monkeypatch.setattr(study, "rehearse", stand_in)
    monkeypatch.setattr(study, "duel", lambda whole, mine, theirs, options: Duel(GOOD, GOOD, 0, 0))
    return stand_in


def search(trials: int, file: Path | None = None, base: TrainOptions = BASE, **limits: float) -> Found:
    opened = study.Study(history(), base, ("lstm", "gru"), ManualClock(), file)
    found = opened.run(study.Limits(trials, **limits))
    assert isinstance(found, Found)
    return found


# --- merit -----------------------------------------------------------------------------------------------------------


def test_merit_is_the_share_found_less_alarms_beyond_the_budget_and_the_error_breaks_ties() -> None:
    assert replace(GOOD, found=30, error=0.0).merit == 1.0
    assert replace(GOOD, alarms=3).merit == pytest.approx(GOOD.merit - 2.5 / 30)
    assert replace(GOOD, found=21, error=99.0).merit > GOOD.merit > replace(GOOD, error=0.41).merit
    assert replace(GOOD, allowed=5.0, alarms=5).merit == GOOD.merit


def test_a_history_without_room_for_faults_is_refused_and_told_what_it_takes() -> None:
    assert merit.parts_of(history(READINGS_FOR_A_FAULT, devices=FEWEST_FAULTS)).readings > 0
    for short in (history(READINGS_FOR_A_FAULT, FEWEST_FAULTS - 1), history(READINGS_FOR_A_FAULT - 30, 20)):
        with pytest.raises(HistoryUnusable, match=f"about {READINGS_FOR_A_FAULT:,} readings"):
            merit.parts_of(short)


# --- trials ----------------------------------------------------------------------------------------------------------


def test_the_first_trial_is_the_settings_in_force_and_no_trial_sees_the_last_part(rehearsals: Rehearsals) -> None:
    found = search(4)
    assert found.first.choice == Choice.of(BASE) == rehearsals.seen[0][1]
    assert BASE.fit.hidden < RANGES["hidden"].low
    for seen, _ in rehearsals.seen:
        assert [len(device.at) for device in seen.devices] == [round((1 - HELD_OUT) * 2_000)] * 6


def test_the_same_seed_gives_the_same_trials_and_another_one_others(rehearsals: Rehearsals) -> None:
    first, again = search(14), search(14)
    assert first == again
    other = search(14, base=replace(BASE, fit=replace(BASE.fit, seed=1)))
    assert [each.choice for each in other.tried[1:]] != [each.choice for each in first.tried[1:]]


def test_what_was_tried_can_be_written_down(rehearsals: Rehearsals) -> None:
    for tried in search(14).tried:
        assert tried.choice.rounded() == tried.choice


def test_a_search_learns_from_its_trials(rehearsals: Rehearsals) -> None:
    tried = search(40).tried
    late, early = ([abs(np.log(each.choice.smoothing / 30)) for each in part] for part in (tried[25:], tried[1:9]))
    assert np.mean(late) < np.mean(early) / 2


def test_a_resumed_study_is_as_if_it_had_never_stopped(rehearsals: Rehearsals, tmp_path: Path) -> None:
    file = tmp_path / "study"
    search(3, file)
    search(11, file)
    assert search(14, file) == search(14)


def test_an_interruption_keeps_what_was_found_and_costs_no_trial(rehearsals: Rehearsals, tmp_path: Path) -> None:
    def interrupt(number: int, report: Report) -> None:
        if number == 5:
            raise KeyboardInterrupt

    rehearsals.before = interrupt
    cut = search(14, tmp_path / "study")
    assert (len(cut.tried), cut.ended) == (5, Ended.INTERRUPTED)
    rehearsals.before = lambda number, report: None
    assert search(14, tmp_path / "study") == search(14)


def test_an_interruption_before_anything_was_found_is_one(rehearsals: Rehearsals) -> None:
    def interrupt(number: int, report: Report) -> None:
        raise KeyboardInterrupt

    rehearsals.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        search(3)


def test_time_ends_the_search_in_mid_trial_but_never_in_the_first(rehearsals: Rehearsals) -> None:
    clock = ManualClock()

    def work(number: int, report: Report) -> None:
        clock.advance(40)
        report("fit", 1, 2)

    rehearsals.before = work
    found = study.Study(history(), BASE, ("lstm",), clock).run(study.Limits(9, seconds=100.0))
    assert (len(found.tried), found.ended) == (2, Ended.TIME)
    found = study.Study(history(), BASE, ("lstm",), clock).run(study.Limits(9, seconds=1.0))
    assert (len(found.tried), found.ended) == (1, Ended.TIME)


def test_a_fit_that_runs_away_is_a_trial_without_figures_and_others_follow(rehearsals: Rehearsals) -> None:
    calls = []

    def run_away(number: int, report: Report) -> None:
        calls.append(number)
        if len(calls) == 3:
            raise BundleInvalid("not finite")

    rehearsals.before = run_away
    found = search(6)
    assert [each.figures is None for each in found.tried] == [False, False, True, False, False, False]
    assert len({each.choice for each in found.tried}) == 6
    assert found.best.figures is not None


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"hello\n", b'{"a": 1}\n', b"[1]\n", b"1\n", b"SQLite format 3\x00\n"])
def test_a_file_that_holds_no_study_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "study").write_bytes(content)
    with pytest.raises(StudyUnusable, match="give another file"):
        search(1, tmp_path / "study")
    assert (tmp_path / "study").read_bytes() == content


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyUnusable, match="No such file or directory"):
        search(1, tmp_path / "nowhere" / "study")


def test_a_study_of_something_else_is_refused_and_told_what_differs(rehearsals: Rehearsals, tmp_path: Path) -> None:
    file = tmp_path / "study"
    search(1, file)
    with pytest.raises(StudyUnusable, match="another alarm budget: give another file"):
        search(1, file, replace(BASE, alarm_budget=0.5))
    with pytest.raises(StudyUnusable, match="another seed: "):
        search(1, file, replace(BASE, fit=replace(BASE.fit, seed=5)))
    with pytest.raises(StudyUnusable, match="another history: "):
        study.Study(history(seed=1), BASE, ("lstm", "gru"), ManualClock(), file)
    with pytest.raises(StudyUnusable, match="another choice of cells or settings: "):
        study.Study(history(), BASE, ("rnn",), ManualClock(), file)


# --- the last judgement ----------------------------------------------------------------------------------------------


def found(mine: Figures, theirs: Figures) -> Found:
    tried = [Tried(0, Choice.of(BASE), GOOD), Tried(1, Choice.of(BASE), replace(GOOD, found=25))]
    return Found(tried, Ended.TRIALS, Duel(mine, theirs, 0, 0))


def test_only_what_does_better_on_unseen_history_gains() -> None:
    better = replace(GOOD, found=21)
    assert found(better, GOOD).gains
    assert not found(GOOD, GOOD).gains
    assert not found(GOOD, better).gains
    assert not Found([Tried(0, Choice.of(BASE), GOOD)], Ended.TRIALS, None).gains


def test_the_best_is_judged_with_the_bundle_of_its_trial_also_after_a_resumption(
    rehearsals: Rehearsals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    judged: list[tuple[Bundle, Bundle]] = []

    def duel(whole: History, mine: Bundle, theirs: Bundle, options: TrainOptions) -> Duel:
        assert [len(device.at) for device in whole.devices] == [2_000] * 6
        judged.append((mine, theirs))
        return Duel(GOOD, GOOD, 0, 0)

    monkeypatch.setattr(study, "duel", duel)
    first = search(5, tmp_path / "study")
    trained = len(rehearsals.seen)
    search(5, tmp_path / "study")
    assert [choice for _, choice in rehearsals.seen[trained:]] == [first.best.choice, first.first.choice]
    assert len(judged) == 2
