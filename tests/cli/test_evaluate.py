"""`sensord evaluate` as a user runs it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.cli.rows import Sensord

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A recording of one device with one channel, and its labels."""
    values = np.random.default_rng(1).normal(20, 1, 700).round(3)
    values[500:560] += 9
    lines = [f"{(NOON + timedelta(seconds=n)).isoformat()},{value}" for n, value in enumerate(values)]
    recording, labels = tmp_path / "pump-1.csv", tmp_path / "labels.csv"
    recording.write_text("\n".join(["timestamp,heat", *lines]) + "\n")
    start, end = ((NOON + timedelta(seconds=n)).isoformat() for n in (500, 559))
    labels.write_text(f"device_id,start,end,kind\npump-1,{start},{end},leak\n")
    return recording, labels


def test_a_labelled_recording_gives_figures_for_people_and_programs_and_a_page(
    sensord: Sensord, files: tuple[Path, Path], tmp_path: Path
) -> None:
    recording, labels = map(str, files)
    told_to = ("--labels", labels, "--history-rows", "400", "--report", "report.html", "--json")
    ended = sensord("evaluate", "recording", recording, *told_to)
    assert ended.code == 0, ended.err
    assert "1 of 1 fault found" in ended.out
    assert "Asked: 0.05 false alarms per device-day" in ended.out
    assert "The recurrent state" in ended.out
    told = json.loads(ended.out.splitlines()[-1])
    assert told["events"]["found"] == 1
    assert told["f1"] > 0.7
    assert set(told["baselines"]) == {"untrained", "ewma", "var1", "t2"}
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "either --labels or --label-column"),
        (("--labels", "labels.csv", "--label-column", "x"), "either --labels or --label-column"),
        (("--labels", "labels.csv", "--history-rows", "9", "--history-share", ".5"), "only one of --history-rows"),
        (("--labels", "labels.csv", "--alarm-budget", "1", "--row-share", ".1"), "only one of --alarm-budget"),
        (("--label-column", "truth"), "no column 'truth'"),
        (("--labels", "labels.csv", "--history-rows", "700"), "no device has both history and readings to judge"),
    ],
)
def test_what_can_t_be_judged_is_refused_with_a_reason(
    sensord: Sensord, files: tuple[Path, Path], arguments: tuple[str, ...], said: str
) -> None:
    ended = sensord("evaluate", "recording", "pump-1.csv", *arguments)
    assert ended.code != 0
    assert said in ended.err


def test_a_folder_without_files_is_refused(sensord: Sensord, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no .csv file" in sensord("evaluate", "skab", "empty").err
