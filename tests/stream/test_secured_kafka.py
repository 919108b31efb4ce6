"""TLS and SCRAM towards a real Apache Kafka: the right settings work, the wrong ones are refused by name, in time."""

import gc
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import ACL, ACLOperation, ACLPermissionType, KafkaAdminClient, ResourcePattern, ResourceType

from sensord.errors import EXIT_NEEDS_A_PERSON, EXIT_OK, EXIT_UNREACHABLE, AccessRefused, SensordError, Unreachable
from sensord.settings import KafkaSettings
from sensord.store.registry import Registry
from sensord.stream.cluster import Cluster
from sensord.stream.inquiry import Inquiry
from sensord.stream.kafka import KafkaSource
from tests.builders import START, packed
from tests.conftest import missing
from tests.end_to_end.plant import Plant, wait_for
from tests.services import SecuredServer, ServerUnavailable, secured_kafka

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning")]
PASSWORD = "canary-Of-The-Mine-7"  # noqa: S105
WRONG = "canary-Of-Another-Mine-8"  # as secret: most often it is a right one with a slip
TOPIC = "sensors.pumps"
START_TIMEOUT_S = 12.0
PATIENCE_S = 45.0  # the start time-out with a process around it, on a busy machine

Wrong = Callable[[SecuredServer], dict[str, Any]]
MISTAKES: dict[str, tuple[Wrong, type[SensordError], int, str]] = {
    "authority": (
        lambda broker: {"ssl_cafile": broker.other_cafile},
        AccessRefused,
        EXIT_NEEDS_A_PERSON,
        r"certificate that isn't trusted: unable to get local issuer certificate; kafka\.ssl_cafile",
    ),
    "host name": (
        lambda broker: {"bootstrap_servers": broker.stranger},
        AccessRefused,
        EXIT_NEEDS_A_PERSON,
        r"Hostname mismatch, certificate is not valid for 'localhost'; .*kafka\.bootstrap_servers",
    ),
    "password": (
        lambda broker: {"sasl_password": WRONG},
        AccessRefused,
        EXIT_NEEDS_A_PERSON,
        r"refuses user 'sensord' with SCRAM-SHA-512; check kafka\.sasl_username and kafka\.sasl_password",
    ),
    "user": (
        lambda broker: {"sasl_username": "nobody"},
        AccessRefused,
        EXIT_NEEDS_A_PERSON,
        r"refuses user 'nobody'",
    ),
    "protocol": (
        lambda broker: {"security_protocol": "SASL_PLAINTEXT", "ssl_cafile": None},
        Unreachable,
        EXIT_UNREACHABLE,
        r"does this listener speak kafka\.security_protocol SASL_PLAINTEXT\?",
    ),
}


@pytest.fixture(scope="module")
def broker() -> Iterator[SecuredServer]:
    try:
        with secured_kafka(PASSWORD) as server:
            admin = KafkaAdminClient(bootstrap_servers=server.unsecured)
            admin.create_topics({TOPIC: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
            admin.close()
            yield server
    except ServerUnavailable as error:
        missing(str(error))


@pytest.fixture(autouse=True)
def leftovers() -> Iterator[None]:
    """kafka-python leaves connections that were refused to the garbage collector, which warns."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def given(broker: SecuredServer, **changes: Any) -> dict[str, Any]:
    return {
        "bootstrap_servers": broker.address,
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": broker.username,
        "sasl_password": broker.password,
        "ssl_cafile": broker.cafile,
    } | changes


def test_with_the_right_settings_a_record_comes_through(broker: SecuredServer) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.unsecured)
    producer.send(TOPIC, b"reading").get(10)
    producer.close()
    source = KafkaSource(KafkaSettings.model_validate(given(broker)), [TOPIC], START_TIMEOUT_S)
    values: list[bytes | None] = []
    while not values:
        batch = source.poll(0.3)
        for partition in batch.arrived:
            source.start(partition, 0)
        values = [record.value for records in batch.records.values() for record in records]
    source.close()
    assert values[0] == b"reading"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_setting_is_refused_by_name_in_time_and_without_the_password(
    broker: SecuredServer, caplog: pytest.LogCaptureFixture, mistake: str
) -> None:
    wrong, kind, code, message = MISTAKES[mistake]
    settings = KafkaSettings.model_validate(given(broker) | wrong(broker))
    caplog.set_level(logging.DEBUG)
    begun = time.monotonic()
    with pytest.raises(kind, match=message) as caught:
        Cluster(settings, START_TIMEOUT_S)
    assert time.monotonic() - begun < START_TIMEOUT_S + 2
    assert caught.value.exit_code == code
    assert settings.bootstrap_servers in str(caught.value)
    assert not [word for word in (PASSWORD, WRONG) if word in caplog.text + str(caught.value) + repr(settings)]


def test_what_this_user_may_not_read_is_told(broker: SecuredServer) -> None:
    admin = KafkaAdminClient(bootstrap_servers=broker.unsecured)
    admin.create_topics({"locked": {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    locked = [ResourcePattern(ResourceType.TOPIC, "locked"), ResourcePattern(ResourceType.GROUP, "locked")]
    rule = "User:somebody", "*", ACLOperation.ALL, ACLPermissionType.ALLOW
    admin.create_acls([ACL(*rule, resource) for resource in locked])
    admin.close()
    with Inquiry(KafkaSettings.model_validate(given(broker)), START_TIMEOUT_S) as inquiry:
        topics = inquiry.topics(["locked", TOPIC])
        assert (topics["locked"].allowed, topics[TOPIC].allowed) == (False, True)
        assert {"READ", "DESCRIBE"} <= (topics[TOPIC].rights or set())
        assert (inquiry.group("locked").allowed, inquiry.group("sensord").allowed) == (False, True)


# --- as processes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def plant(broker: SecuredServer, tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path, broker.unsecured, f"sqlite:///{tmp_path / 'sensord.db'}", TOPIC)
    made.sensord("db", "upgrade")
    model = packed(fleet=made.fleet)
    registry = Registry(made.engine)
    registry.publish(made.fleet, model.bundle_id, model.manifest, model.weights, model.sha256, START, "ann")
    registry.promote(made.fleet, model.bundle_id, START, "ann")
    yield made
    made.close()


def set_up(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    """As environment variables, which win over the plant's file; None: not set."""
    for name, value in settings.items():
        if value is not None:
            monkeypatch.setenv(f"SENSORD_KAFKA__{name.upper()}", str(value))
    monkeypatch.setenv("SENSORD_DAEMON__START_TIMEOUT_S", "15")
    monkeypatch.setenv("SENSORD_LOG__LEVEL", "debug")


def test_a_daemon_reads_and_commits_over_tls(
    broker: SecuredServer, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(monkeypatch, given(broker))
    producer = KafkaProducer(bootstrap_servers=broker.unsecured)
    producer.send(TOPIC, b"poison").get(10)
    producer.close()
    with plant.daemon() as daemon:
        wait_for(lambda: plant.committed() == plant.ends(), [daemon], "everything committed")
        assert daemon.stop() == EXIT_OK
        assert PASSWORD not in daemon.log
    assert plant.dead_letters()


CHECK = ("check-config", "--connect", "--timeout-s", "15")


@pytest.mark.parametrize(
    ("mistake", "command"),
    [*((mistake, ("run",)) for mistake in ("authority", "host name", "password")), ("password", CHECK)],
)
def test_a_command_with_a_wrong_setting_ends_with_its_code_and_no_password(
    broker: SecuredServer, plant: Plant, monkeypatch: pytest.MonkeyPatch, mistake: str, command: tuple[str, ...]
) -> None:
    wrong, _, code, _ = MISTAKES[mistake]
    set_up(monkeypatch, given(broker) | wrong(broker))
    begun = time.monotonic()
    said = plant.sensord("--traceback", *command, code=code)
    assert time.monotonic() - begun < PATIENCE_S
    assert "sensord: Kafka at" in said
    assert not [word for word in (PASSWORD, WRONG) if word in said]
