"""`sensord tune` tells what trials found, what the best is worth, and how to train with it; and publishes nothing."""

import json
import re
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from sensord.cli import tune_telling
from sensord.settings import load
from sensord.trainer.history import History
from sensord.trainer.job import TrainOptions
from sensord.trainer.search.choice import RANGES, Choice, Within
from sensord.trainer.search.found import Ended, Found, Tried
from sensord.trainer.search.merit import Duel, Figures
from tests.cli.rows import Sensord
from tests.cli.test_train import swinging, write

QUICK = {"SENSORD_TRAINER__STEPS": "2", "SENSORD_TRAINER__HIDDEN": "4"}
READINGS = 2_400
FIRST = Choice("lstm", 32, 600, 0.02, 15.0, 200.0)
BEST = Choice("gru", 16, 250, 0.013, 24.0, 310.0)
FIGURES = Figures(found=20, faults=30, alarms=0, allowed=0.5, device_days=10.0, error=0.4)
BETTER = replace(FIGURES, found=25)


def found(unseen: Duel | None, ended: Ended = Ended.TRIALS) -> Found:
    best = FIGURES if unseen is None else BETTER
    tried = [Tried(0, FIRST, FIGURES), Tried(1, FIRST, None), Tried(2, BEST, best)]
    return Found(tried, ended, unseen)


@pytest.fixture
def told(sensord: Sensord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sensord:
    """As `sensord`, with a history in pumps.csv and a search that comes to its end at once."""
    write(tmp_path / "pumps.csv", swinging(seed=1, n=100))
    outcome = found(Duel(BETTER, FIGURES, 7, 2))

    def search(history: History, options: TrainOptions, *rest: object) -> Found:
        return outcome

    monkeypatch.setattr("sensord.cli.tune._search", lambda *limits: search)
    return sensord


@pytest.mark.slow
def test_settings_found_come_to_the_trials_figures_when_they_are_given_to_train(
    on_rows: Sensord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.setitem(RANGES, "steps", Within(2, 4))
    monkeypatch.setitem(RANGES, "hidden", Within(4, 6))
    write(tmp_path / "pumps.csv", swinging(seed=1, n=READINGS, devices=6))
    command = ("tune", "pumps.csv", "--fleet", "pumps", "--trials", "2", "--study", "study", "--format", "json")
    ended = on_rows(*command, environ=QUICK)
    assert ended.code == 0, ended.err
    outcome = json.loads(ended.out)
    assert outcome["trials"][0]["settings"]["trainer.hidden"] == 4
    assert json.loads(on_rows("model", "list", "--format", "json").out) == []
    assert on_rows(*command).out == ended.out

    trial = outcome["trials"][1]
    variables = {name.upper().replace(".", "__"): str(value) for name, value in trial["settings"].items()}
    seen = str(round(0.75 * READINGS))
    environ = {f"SENSORD_{name}": value for name, value in variables.items()}
    trained = on_rows(
        "train", "pumps.csv", "--fleet", "pumps", "--history-rows", seen, "--promote", "--force", environ=environ
    )
    assert trained.code == 0, trained.err
    figures = trial["figures"]
    assert f"it finds {figures['found']} of {figures['faults']} planted faults" in trained.out
    assert (
        f"gate: passed: {figures['alarms']} alarms in {figures['device_days']:.3g} held-out device-days" in trained.out
    )
    assert re.search(rf"^ *model +{figures['error']:.4f} *$", trained.out, re.MULTILINE)


def test_trials_are_shown_beside_the_settings_in_force(told: Sensord) -> None:
    ended = told("tune", "pumps.csv", "--fleet", "pumps")
    assert ended.code == 0, ended.err
    rows = [line.split() for line in ended.out.splitlines()]
    assert rows[0] == ["trial", *FIRST.settings(), "found", "alarms", "error", "merit"]
    assert rows[1][:8] == ["0", "lstm", "32", "600", "0.02", "15", "200", "20"]
    assert rows[2][:8] == ["2", "gru", "16", "250", "0.013", "24", "310", "25"]
    assert rows[3][:2] == ["1", "lstm"]
    assert "3 trials; trial 0 are the settings in force" in ended.out
    assert ["trial", "0", "20", "of", "30"] in [row[:5] for row in rows]


def test_the_settings_shown_are_settings_and_the_command_shown_trains_with_them(
    told: Sensord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ("pumps.csv", "--channels", "heat,flow", "--fleet", "pumps", "--until", "2030-01-01", "--seed", "3")
    ended = told("tune", *wanted)
    shown = ended.out[ended.out.index("[trainer]") : ended.out.index("or for once")]
    (tmp_path / "found.toml").write_text(shown)
    trainer = load(tmp_path / "found.toml", environ={}).trainer
    assert tomllib.loads(shown) == {"trainer": BEST.settings()}
    assert {name: getattr(trainer, name) for name in BEST.settings()} == BEST.settings()

    words = ended.out.splitlines()[-1].split()
    variables = dict(word.split("=") for word in words if word.startswith("SENSORD_"))
    arguments = words[words.index("sensord") + 1 :]
    assert arguments[:2] == ["train", "pumps.csv"]
    heard: list[TrainOptions] = []

    def learn(history: History, options: TrainOptions, *rest: object) -> None:
        heard.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("sensord.cli.train.learn", learn)
    told(*arguments, "--keep-alerts", environ=variables)  # or it would ask a database what to leave out
    assert [Choice.of(options) for options in heard] == [BEST]
    assert heard[0].fit.seed == 3


def test_programs_get_all_of_it(told: Sensord) -> None:
    outcome = json.loads(told("tune", "pumps.csv", "--fleet", "pumps", "--format", "json").out)
    assert [trial["number"] for trial in outcome["trials"]] == [0, 1, 2]
    assert outcome["trials"][1]["figures"] is outcome["trials"][1]["merit"] is None
    assert outcome["best"] == 2
    assert outcome["settings"]["trainer.cell"] == "gru"
    assert outcome["command"].endswith(" sensord train pumps.csv --fleet pumps")
    assert outcome["unseen"]["best"]["found"] == 25
    assert outcome["unseen"]["in_force"]["merit"] == FIGURES.merit
    assert (outcome["unseen"]["won"], outcome["unseen"]["lost"], outcome["gains"]) == (7, 2, True)


@pytest.mark.parametrize(
    ("unseen", "said"),
    [
        (None, "tuning gains nothing: no trial does better than the settings in force"),
        (Duel(FIGURES, FIGURES, 1, 1), "tuning gains nothing: trial 2 does no better there"),
        (Duel(FIGURES, BETTER, 0, 5), "tuning gains nothing: trial 2 does no better there"),
        (Duel(BETTER, FIGURES, 7, 2), "trial 2 does better there than the settings in force: it finds 7 planted"),
    ],
)
def test_where_tuning_gains_nothing_it_is_said(unseen: Duel | None, said: str) -> None:
    assert tune_telling.worth(found(unseen)).startswith(said)


def test_what_may_be_chance_is_called_so() -> None:
    loud = replace(FIGURES, alarms=5)
    for lucky in (Duel(BETTER, FIGURES, 7, 2), Duel(BETTER, replace(FIGURES, alarms=4), 0, 0)):
        assert tune_telling.worth(found(lucky)).endswith("which may be chance")
    for able in (Duel(BETTER, FIGURES, 7, 0), Duel(BETTER, loud, 0, 0), Duel(BETTER, loud, 3, 1)):
        assert tune_telling.worth(found(able)).endswith("which is more than chance")


def test_trials_are_drawn(told: Sensord, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name, magic in (("trials.png", b"\x89PNG"), ("trials.svg", b"<?xml")):
        ended = told("tune", "pumps.csv", "--fleet", "pumps", "--plot", name)
        assert ended.code == 0, ended.err
        assert f"drawn: {name}" in ended.err
        assert (tmp_path / name).read_bytes().startswith(magic)


@pytest.mark.parametrize("name", ["trials.pdf", "trials", "nowhere/trials.png"])
def test_a_picture_that_cannot_be_drawn_is_wrong_usage(told: Sensord, name: str) -> None:
    assert told("tune", "pumps.csv", "--fleet", "pumps", "--plot", name).code == 2


def test_without_optuna_the_remedy_is_named_before_anything_is_read(
    sensord: Sensord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sensord.trainer.search.study", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    (tmp_path / "history.csv").write_text("no history")
    ended = sensord("tune", "history.csv", "--fleet", "pumps")
    assert ended.code == 1
    assert "pip install 'sensord[tune]'" in ended.err
    assert sensord("tune", "--help").code == 0


def test_without_matplotlib_a_picture_is_refused_before_the_work(
    told: Sensord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sensord.cli.tune_charts", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = told("tune", "pumps.csv", "--fleet", "pumps", "--plot", "trials.png")
    assert ended.code == 1
    assert "pip install 'sensord[plot]'" in ended.err
