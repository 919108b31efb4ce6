"""Commands, run as a user would, on a database with a few rows."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from sensord.cli.main import run
from sensord.settings import sources
from tests.cli.rows import Ended, Sensord, fill


@pytest.fixture
def sensord(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sensord:
    """Runs `sensord ARGUMENTS` in an empty folder, with no settings but those in environ."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "ETC", tmp_path / "etc")
    monkeypatch.setattr(sources, "SECRETS", tmp_path / "run")

    def command(*arguments: str, environ: Mapping[str, str] | None = None) -> Ended:
        for name, value in (environ or {}).items():
            monkeypatch.setenv(name, value)
        code = run(arguments)
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return command


@pytest.fixture
def on_rows(sensord: Sensord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sensord:
    """As `sensord`, on an SQLite database with two alerts, two devices and a dead letter."""
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    monkeypatch.setenv("SENSORD_STORE__URL", url)
    fill(url)
    return sensord
