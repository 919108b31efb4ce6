"""Promises of the entry point: exit codes, one line for what went wrong, help that imports next to nothing."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from sensord.cli.main import COMMANDS
from sensord.cli.main import sensord as group
from sensord.errors import SensordError, Unreachable
from tests.cli.rows import Sensord

HEAVY = ("torch", "kafka", "sqlalchemy", "alembic", "pydantic", "numpy", "rich")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from sensord.cli.main import run; code = run(sys.argv[1:]);"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules]); sys.exit(code)"
    )
    ended = python(code, *arguments)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("LOADED []\n")


@pytest.mark.parametrize("arguments", [["alerts", "list"], ["model", "list"], ["devices", "list"], ["version"]])
def test_looking_at_rows_imports_neither_torch_nor_kafka(arguments: list[str]) -> None:
    code = (
        "import sys; from sensord.cli.main import run; run([*sys.argv[1:], '--help']);"
        "print('LOADED', [name for name in ('torch', 'kafka') if name in sys.modules])"
    )
    ended = python(code, *arguments)
    assert ended.stdout.endswith("LOADED []\n"), ended.stdout + ended.stderr


def test_help_lists_every_command_with_its_line(sensord: Sensord) -> None:
    listed = " ".join(sensord("--help").out.split())
    assert [name for name, entry in COMMANDS.items() if f"{name} {entry.help}" not in listed] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_is_listed_is_there(name: str) -> None:
    command = group.get_command(click.Context(group), name)
    assert isinstance(command, click.Command)
    assert command.name == name


def test_both_ways_to_run_the_module_are_the_command() -> None:
    for module in ("sensord", "sensord.cli"):
        ended = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout.split()[0]) == (0, "sensord")


@pytest.mark.parametrize(
    "arguments", [["--nonsense"], ["nonsense"], ["alerts", "list", "--limit", "0"], ["alerts", "show"]]
)
def test_a_command_line_that_makes_no_sense_exits_with_2(sensord: Sensord, arguments: list[str]) -> None:
    ended = sensord(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err


def test_a_misspelt_command_is_answered_with_the_nearest(sensord: Sensord) -> None:
    assert "the nearest is 'alerts'" in sensord("alert", "list").err


def test_a_misspelt_variable_exits_with_78_and_names_the_nearest(sensord: Sensord) -> None:
    ended = sensord("check-config", environ={"SENSORD_KAFKA__GROUPID": "x"})
    assert (ended.code, ended.out) == (78, "")
    assert ended.err.splitlines() == [
        "sensord: kafka.groupid (SENSORD_KAFKA__GROUPID): unknown setting; the nearest is SENSORD_KAFKA__GROUP_ID"
    ]


def test_an_unknown_key_in_the_named_file_exits_with_78(sensord: Sensord, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[fleets.pumps]\ntopics = ['a']\nalarm_buget = 1\n")
    ended = sensord("--config", str(file), "alerts", "list")
    assert ended.code == 78
    assert str(file) in ended.err
    assert ended.err.endswith("the nearest is fleets.pumps.alarm_budget\n")


def test_a_database_that_is_not_there_exits_with_78_and_the_remedy(sensord: Sensord, tmp_path: Path) -> None:
    ended = sensord("alerts", "list")
    assert ended.code == 78
    assert "sensord db upgrade" in ended.err
    assert list(tmp_path.iterdir()) == []


class _Command(click.Command):
    """A command that fails as it was told to."""

    def __init__(self, error: BaseException) -> None:
        super().__init__("version")
        self._error = error

    def invoke(self, ctx: click.Context) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "code"),
    [(SensordError("a\nb"), 1), (Unreachable("a\nb"), 69), (KeyboardInterrupt(), 130), (ZeroDivisionError("a"), 70)],
)
def test_what_went_wrong_has_an_exit_code(
    sensord: Sensord, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    monkeypatch.setattr(type(group), "get_command", lambda *_: _Command(error))
    ended = sensord("version")
    assert (ended.code, ended.out) == (code, "")
    if isinstance(error, SensordError):
        assert ended.err == "sensord: a\nsensord: b\n"


def test_a_traceback_is_shown_on_request_alone(sensord: Sensord, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" not in sensord("alerts", "list").err
    assert "Traceback" in sensord("--traceback", "alerts", "list").err
    assert "Traceback" in sensord("alerts", "list", environ={"SENSORD_LOG__LEVEL": "debug"}).err


def test_a_reader_that_leaves_is_no_error() -> None:
    code = "import os, sys; os.close(1); r, w = os.pipe(); os.close(r); from sensord.cli.main import main;"
    ended = python(f"{code} sys.stdout = open(w, 'w'); sys.argv[1:] = ['--version']; main()")
    assert ended.stderr == ""
