"""The demo's folder and processes: nobody's files are lost, and a failure says what it was."""

import os
from pathlib import Path

import click
import pytest

from sensord.cli.demo.processes import Daemon, StepFailed, command
from sensord.cli.demo.stage import Stage


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    work = tmp_path / "work.txt"
    work.write_text("mine")
    with pytest.raises(click.UsageError, match="holds other files"):
        Stage(tmp_path).clear()
    assert work.read_text() == "mine"


def test_an_earlier_demos_folder_is_emptied(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "demo")
    stage.clear()
    stage.path(stage.report).write_text("old")
    stage.clear()
    assert not stage.path(stage.report).exists()


def test_own_settings_in_the_environment_do_not_reach_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORD_STORE__URL", "postgresql://production/sensord")
    environment = Stage(tmp_path).environment()
    assert {name: value for name, value in environment.items() if name.startswith("SENSORD_")} == {
        "SENSORD_CONFIG": "sensord.toml"
    }


def test_a_command_that_fails_is_told_with_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"sensord simulate --out pumps\.txt ended with 2\n(.|\n)*name ends with"):
        command(Stage(tmp_path), "simulate", "--out", "pumps.txt")


def test_a_daemon_that_ends_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Daemon(Stage(tmp_path)) as daemon:
        os.waitid(os.P_PID, daemon.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(StepFailed, match=r"the daemon ended with 78; the end of .*daemon\.log:\n.*sensord\.toml"):
            daemon.must_live()
