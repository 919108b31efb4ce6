"""A daemon that can't start says why, what to do about it, and nothing that is secret."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import column, table, update

from sensord.errors import EXIT_NEEDS_A_PERSON, EXIT_OK, EXIT_UNREACHABLE
from sensord.store.database import VERSION_TABLE
from sensord.store.registry import Registry
from tests.builders import START, packed
from tests.end_to_end.plant import Plant

START_TIMEOUT_S = 1.0
PATIENCE_S = 20.0  # for the start time-out with all that a process needs around it, on a busy machine
NOBODY = "127.0.0.1:1"  # refuses
PASSWORD, SPELT = "s3cret/ p@ss", "s3cret%2F%20p%40ss"


@pytest.fixture(scope="module")
def ready(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """All that a daemon needs but its topic."""
    folder = tmp_path_factory.mktemp("bad-starts")
    plant = Plant(folder, kafka, f"sqlite:///{folder / 'sensord.db'}", "bad-starts.no-such-topic")
    plant.sensord("db", "upgrade")
    model = packed(fleet=plant.fleet)
    registry = Registry(plant.engine)
    registry.publish(plant.fleet, model.bundle_id, model.manifest, model.weights, model.sha256, START, "ann")
    registry.promote(plant.fleet, model.bundle_id, START, "ann")
    yield plant
    plant.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORD_DAEMON__START_TIMEOUT_S", str(START_TIMEOUT_S))


@pytest.fixture
def empty(kafka: str, tmp_path: Path) -> Iterator[Plant]:
    """A plant whose database was never made."""
    plant = Plant(tmp_path, kafka, f"sqlite:///{tmp_path / 'sensord.db'}", "sensors.pumps")
    yield plant
    plant.close()


@contextmanager
def silence() -> Iterator[str]:
    """The address of something that takes connections and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def refused(plant: Plant, code: int, *options: str) -> str:
    """What `sensord run` said before it ended with this code, in good time."""
    begun = time.monotonic()
    said = plant.sensord(*options, "run", code=code)
    assert time.monotonic() - begun < PATIENCE_S
    if "--traceback" not in options:
        assert "Traceback" not in said
    return said


# --- settings --------------------------------------------------------------------------------------------------------


def test_unknown_settings_are_named_with_the_nearest_right_ones(
    ready: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSORD_KAFKA__GROUPID", "mine")
    misspelt = Plant(tmp_path, ready.kafka, ready.store_url, ready.topic, extra="alarm_buget = 1")
    said = refused(misspelt, EXIT_NEEDS_A_PERSON)
    misspelt.close()
    (in_file,) = [line for line in said.splitlines() if "alarm_buget" in line]
    assert "fleets.pumps.alarm_budget" in in_file
    assert str(misspelt.settings) in in_file
    (in_variable,) = [line for line in said.splitlines() if "SENSORD_KAFKA__GROUPID" in line]
    assert "SENSORD_KAFKA__GROUP_ID" in in_variable


# --- what isn't there ------------------------------------------------------------------------------------------------


def test_a_missing_topic_is_named(ready: Plant) -> None:
    said = refused(ready, EXIT_UNREACHABLE)
    assert f"Kafka at {ready.kafka} has no topic {ready.topic}" in said


def test_a_broker_that_refuses_is_named_with_the_cause(ready: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORD_KAFKA__BOOTSTRAP_SERVERS", NOBODY)
    said = refused(ready, EXIT_UNREACHABLE)
    assert NOBODY in said
    assert "refused" in said.lower()


def test_a_broker_that_never_answers_is_named(ready: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    with silence() as address:
        monkeypatch.setenv("SENSORD_KAFKA__BOOTSTRAP_SERVERS", address)
        said = refused(ready, EXIT_UNREACHABLE)
    assert f"Kafka at {address}: " in said


def test_a_database_that_refuses_is_named_with_the_cause(ready: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORD_STORE__URL", f"postgresql://sensord@{NOBODY}/alerts")
    said = refused(ready, EXIT_UNREACHABLE)
    assert f"sensord@{NOBODY}/alerts" in said
    assert "refused" in said.lower()


def test_a_database_that_never_answers_is_named_with_the_cause(ready: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    with silence() as address:
        monkeypatch.setenv("SENSORD_STORE__URL", f"postgresql://sensord@{address}/alerts")
        said = refused(ready, EXIT_UNREACHABLE)
    assert f"sensord@{address}/alerts" in said
    assert "timeout" in said.lower()


def test_a_signal_ends_a_daemon_that_still_waits(ready: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORD_DAEMON__START_TIMEOUT_S", "60")
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        monkeypatch.setenv("SENSORD_KAFKA__BOOTSTRAP_SERVERS", f"127.0.0.1:{server.getsockname()[1]}")
        server.settimeout(PATIENCE_S)
        with ready.daemon() as daemon, closing(server.accept()[0]):
            begun = time.monotonic()
            assert daemon.stop() == EXIT_OK
            assert time.monotonic() - begun < 5


# --- schema and bundle -----------------------------------------------------------------------------------------------


def test_a_schema_that_is_behind_is_mended_by_the_command_that_is_told(empty: Plant) -> None:
    assert "run `sensord db upgrade`" in refused(empty, EXIT_NEEDS_A_PERSON)
    empty.sensord("db", "upgrade")
    assert "schema" not in refused(empty, EXIT_NEEDS_A_PERSON)


def test_a_schema_that_is_ahead_asks_for_a_newer_sensord(empty: Plant) -> None:
    empty.sensord("db", "upgrade")
    with empty.engine.begin() as connection:
        connection.execute(update(table(VERSION_TABLE, column("version_num"))).values(version_num="9999"))
    said = refused(empty, EXIT_NEEDS_A_PERSON)
    assert "9999" in said
    assert "upgrade sensord" in said


def test_without_a_bundle_the_command_that_makes_one_is_told(empty: Plant) -> None:
    empty.sensord("db", "upgrade")
    assert "sensord train --fleet pumps --promote" in refused(empty, EXIT_NEEDS_A_PERSON)


# --- secrets ---------------------------------------------------------------------------------------------------------

SASL = {
    "SENSORD_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "SENSORD_KAFKA__SASL_MECHANISM": "PLAIN",
    "SENSORD_KAFKA__SASL_USERNAME": "sensord",
    "SENSORD_KAFKA__SASL_PASSWORD": PASSWORD,
}


@pytest.mark.parametrize(
    ("environ", "code"),
    [
        pytest.param(SASL, EXIT_UNREACHABLE, id="SASL towards a broker without"),
        pytest.param(
            {"SENSORD_STORE__URL": f"postgresql://sensord:{SPELT}@{NOBODY}/alerts"}, EXIT_UNREACHABLE, id="url"
        ),
        pytest.param(
            {"SENSORD_STORE__URL": f"postgresql://sensord@{NOBODY}/alerts", "SENSORD_STORE__PASSWORD": PASSWORD},
            EXIT_UNREACHABLE,
            id="password beside the url",
        ),
        pytest.param(
            {"SENSORD_STORE__URL": f"postgresql://sensord:{PASSWORD}@{NOBODY}/alerts"},
            EXIT_NEEDS_A_PERSON,
            id="url that is none",
        ),
    ],
)
def test_no_password_is_ever_said(
    ready: Plant, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], code: int
) -> None:
    for name, value in (environ | {"SENSORD_LOG__LEVEL": "debug"}).items():
        monkeypatch.setenv(name, value)
    said = refused(ready, code, "--traceback")
    assert len(said.splitlines()) > 1
    for form in (PASSWORD, SPELT, json.dumps(PASSWORD)[1:-1], "s3cret", "p@ss"):
        assert form not in said
