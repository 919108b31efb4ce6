"""Promises of `db`, `check-config` and `version`."""

import json
import subprocess
import sys
from pathlib import Path

from sensord import __version__
from tests.cli.rows import Sensord

SECRET = "hunter2-of-the-sea"  # noqa: S105


def test_an_upgraded_database_passes_its_check(sensord: Sensord) -> None:
    assert sensord("db", "check").code == 78
    assert sensord("db", "upgrade").code == 0
    assert sensord("db", "upgrade").code == 0
    assert sensord("db", "check").code == 0


def test_an_empty_file_is_a_schema_that_is_behind(sensord: Sensord, tmp_path: Path) -> None:
    (tmp_path / "sensord.db").touch()
    ended = sensord("alerts", "list")
    assert ended.code == 78
    assert "sensord db upgrade" in ended.err


def test_the_settings_in_force_are_shown_with_their_origin_and_without_secrets(
    sensord: Sensord, tmp_path: Path
) -> None:
    (tmp_path / "sensord.toml").write_text("[fleets.pumps]\ntopics = ['sensors.pumps']\n")
    environ = {"SENSORD_STORE__URL": f"postgresql://me:{SECRET}@db/sensord"}
    ended = sensord("check-config", "--format", "json", environ=environ)
    rows = {row["key"]: (row["value"], row["origin"]) for row in json.loads(ended.out)}
    assert (ended.code, ended.err) == (0, "")
    assert rows["fleets.pumps.topics"] == (["sensors.pumps"], "sensord.toml")
    assert rows["store.url"] == ("postgresql://me@db/sensord", "SENSORD_STORE__URL")
    assert rows["kafka.group_id"] == ("sensord", "default")
    assert SECRET not in ended.out + sensord("check-config").out


def test_settings_without_a_fleet_are_pointed_out(sensord: Sensord) -> None:
    assert "[fleets.pumps]" in sensord("check-config").err


def test_connecting_names_everything_that_is_wrong_and_never_the_password(tmp_path: Path) -> None:
    """In a process of its own: kafka-python leaves sockets to the garbage collector when it can't connect."""
    config = tmp_path / "sensord.toml"
    config.write_text(
        f"[store]\nurl = 'postgresql://me:{SECRET}@127.0.0.1:1/sensord'\n[kafka]\nbootstrap_servers = '127.0.0.1:2'\n"
    )
    command = [
        sys.executable,
        "-m",
        "sensord",
        "--config",
        str(config),
        "check-config",
        "--connect",
        "--timeout-s",
        "0.2",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 69
    assert "127.0.0.1:1" in ended.stderr
    assert "127.0.0.1:2" in ended.stderr
    assert SECRET not in ended.stdout + ended.stderr


def test_versions_are_those_of_the_installation(sensord: Sensord) -> None:
    parts = {row["part"]: row["version"] for row in json.loads(sensord("version", "--format", "json").out)}
    assert parts["sensord"] == __version__
    assert {"schema", "python", "torch", "kafka-python"} <= parts.keys()
