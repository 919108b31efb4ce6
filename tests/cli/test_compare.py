"""Promises of `sensord compare`."""

import json
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sensord.cli.compare import Gaps, compare
from sensord.errors import SensordError
from sensord.trainer.compare.long_gap import LongGap


@pytest.mark.parametrize(
    ("text", "gaps"),
    [("200", (200,)), ("50,200", (50, 200)), ("50..800", (50, 100, 200, 400, 800)), ("50..90", (50,))],
)
def test_gaps_are_one_several_or_a_doubling_range(text: str, gaps: tuple[int, ...]) -> None:
    assert Gaps().convert(text, None, None) == gaps


@pytest.mark.parametrize("text", ["", "x", "0", "-5", "90..50", "0..8", "50..", "1.5"])
def test_what_is_no_gap_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Gaps().convert(text, None, None)


def test_a_cell_that_does_not_exist_is_wrong_usage_that_names_those_that_do() -> None:
    result = CliRunner().invoke(compare, ["sine", "--cells", "abacus"])
    assert result.exit_code == 2
    assert "there are lstm, gru, rnn, transformer" in result.output


def test_sine_shows_losses_by_cell_and_draws_them(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["sine", "--cells", "rnn,lstm", "--steps", "100", "--json", "--out", str(tmp_path)]
    result = CliRunner().invoke(compare, arguments)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout.splitlines()[-1])
    assert list(figures) == ["rnn", "lstm"]
    assert list(figures["lstm"]["losses"]) == ["100"]
    assert (tmp_path / "sine.png").read_bytes().startswith(b"\x89PNG")


def test_long_gap_shows_the_mean_of_the_seeds_and_draws_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    found = LongGap({50: {"lstm": (1.0, 0.9), "t2": (0.5, 0.4)}, 100: {"lstm": (0.8, 0.8), "t2": (0.5, 0.5)}})
    monkeypatch.setattr("sensord.cli.compare.compare_long_gap", lambda *a, **k: found)
    result = CliRunner().invoke(compare, ["long-gap", "--gap", "50,100", "--json", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert ["lstm", "0.950", "0.800"] in [line.split() for line in result.stdout.splitlines()]
    assert json.loads(result.stdout.splitlines()[-1])["50"]["lstm"] == [1.0, 0.9]
    assert (tmp_path / "long-gap.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_a_picture_is_refused_before_the_work_and_the_remedy_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sensord.cli.compare_charts", raising=False)
    monkeypatch.delattr("sensord.cli.compare_charts", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    result = CliRunner().invoke(compare, ["long-gap", "--out", str(tmp_path / "new")])
    assert isinstance(result.exception, SensordError)
    assert "pip install 'sensord[plot]'" in str(result.exception)
    assert not (tmp_path / "new").exists()
