"""A canary for every secret, and all that sensord ever says listened to, at DEBUG: it is never heard.

A failing SASL login on a real Kafka is in stream/test_secured_kafka.py.
"""

import json
import logging
import traceback
from pathlib import Path
from typing import Any

import click
import pytest
from sqlalchemy import make_url

from sensord.cli.main import sensord as group
from sensord.errors import SensordError, Unreachable
from sensord.logs import Censor
from sensord.settings import Settings, load, load_with_origins
from sensord.store.database import connect_within, open_engine
from sensord.stream.cluster import client_config
from tests.cli.conftest import sensord  # noqa: F401  # a fixture
from tests.cli.rows import Sensord
from tests.end_to_end.plant import Plant

KAFKA, STORE = 'canary-"kafka" \\ä/1', "canary:store@/%2"
SECRETS = (KAFKA, STORE)
NOBODY = "127.0.0.1:1"
ENVIRON = {
    "SENSORD_KAFKA__BOOTSTRAP_SERVERS": NOBODY,
    "SENSORD_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "SENSORD_KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
    "SENSORD_KAFKA__SASL_USERNAME": "sensord",
    "SENSORD_KAFKA__SASL_PASSWORD": KAFKA,
    "SENSORD_STORE__URL": f"postgresql://sensord@{NOBODY}/alerts",
    "SENSORD_STORE__PASSWORD": STORE,
    "SENSORD_LOG__LEVEL": "debug",
    "SENSORD_LOG__FORMAT": "json",
}


@pytest.fixture
def settings() -> Settings:
    return load(environ=ENVIRON)


def assert_not_heard(said: str) -> None:
    assert said
    for secret in SECRETS:
        assert secret not in said
        assert json.dumps(secret)[1:-1] not in said
    assert "canary" not in said  # nor a part of one


def test_settings_say_no_secret_however_they_are_shown(settings: Settings) -> None:
    shown = [repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump(mode="json"))]
    shown += [repr(settings.kafka), repr(settings.store), f"{settings.kafka.sasl_password}", settings.store.place]
    shown += [str(list(load_with_origins(environ=ENVIRON).entries()))]
    for text in shown:
        assert_not_heard(text)


def test_the_secrets_are_there_all_the_same(settings: Settings) -> None:
    assert set(SECRETS) <= settings.secrets()
    assert client_config(settings.kafka)["sasl_plain_password"] == KAFKA
    assert make_url(settings.store.full_url).password == STORE


def test_a_setting_that_is_refused_is_not_quoted() -> None:
    for name in ENVIRON:
        with pytest.raises(SensordError) as caught:
            load(environ=ENVIRON | {name: STORE + KAFKA, "SENSORD_KAFKA__MAX_POLL_RECORDS": KAFKA})
        assert_not_heard("".join(traceback.format_exception(caught.value)))


def test_secrets_from_a_directory_are_as_silent(tmp_path: Path) -> None:
    (tmp_path / "kafka__sasl_password").write_text(KAFKA)
    (tmp_path / "store__password").write_text(STORE)
    environ = {name: value for name, value in ENVIRON.items() if not name.endswith("PASSWORD")}
    loaded = load_with_origins(environ=environ | {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert KAFKA in loaded.settings.secrets()
    assert_not_heard(repr(loaded) + str(list(loaded.entries())))


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_check_config_says_none_in_any_form(
    sensord: Sensord,  # noqa: F811
    form: str,
) -> None:
    ended = sensord("check-config", "--format", form, environ=ENVIRON)
    assert ended.code == 0
    assert_not_heard(ended.out)
    assert "canary" not in ended.err


def test_a_real_database_that_refuses_gets_no_secret_said(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url = make_url(postgres_url)
    for wrong in (url.set(username="nobody", password=STORE), url.set(database="nothing", password=STORE)):
        engine = open_engine(wrong.render_as_string(hide_password=False))
        with pytest.raises(Unreachable, match="does not exist") as caught:
            connect_within(engine, 0.2)
        assert_not_heard("".join(traceback.format_exception(caught.value)) + caplog.text + repr(engine))
        engine.dispose()


@pytest.mark.parametrize("command", [("run",), ("check-config", "--connect", "--timeout-s", "0.5"), ("db", "check")])
def test_commands_that_fail_say_none_at_debug_with_tracebacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    plant = Plant(tmp_path, NOBODY, f"sqlite:///{tmp_path / 'sensord.db'}", "sensors.pumps")
    for name, value in (ENVIRON | {"SENSORD_DAEMON__START_TIMEOUT_S": "1"}).items():
        monkeypatch.setenv(name, value)
    said = plant.sensord("--traceback", *command, code=69)
    plant.close()
    assert "Traceback" in said
    assert_not_heard(said)


class _Telling(click.Command):
    """A command that puts a secret into an error, as a library might."""

    def __init__(self, error: Exception) -> None:
        super().__init__("version")
        self._error = error

    def invoke(self, ctx: click.Context) -> None:
        ctx.find_root().obj = load(environ=ENVIRON)
        raise self._error


@pytest.mark.parametrize("kind", [Unreachable, ZeroDivisionError])
@pytest.mark.parametrize("options", [(), ("--traceback",)])
def test_an_error_that_holds_a_secret_is_said_without_it(
    sensord: Sensord,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    options: tuple[str, ...],
) -> None:
    told = kind(f"tried {KAFKA} and {STORE!r}")
    monkeypatch.setattr(type(group), "get_command", lambda *_: _Telling(told))
    ended = sensord(*options, "version")
    assert ended.err.count("***") >= 2
    assert_not_heard(ended.err)


def test_a_censor_knows_every_spelling() -> None:
    censor = Censor(SECRETS)
    for secret in SECRETS:
        for form in (secret, repr(secret), json.dumps(secret), repr({"a": secret}), json.dumps(repr([secret]))):
            assert "canary" not in censor(form), form
