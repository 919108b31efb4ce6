import gc
import logging
import socket
import warnings
from collections.abc import Iterator

import pytest

from sensord.errors import Unreachable
from sensord.settings import KafkaSettings
from sensord.stream.cluster import Cluster, client_config
from sensord.stream.kafka import KafkaSource

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # kafka-python's, see leftovers
PASSWORD = "open-sesame"  # noqa: S105


@pytest.fixture(autouse=True)
def leftovers() -> Iterator[None]:
    """kafka-python leaves sockets that never connected to the garbage collector, which warns."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def silent() -> Iterator[str]:
    """A peer that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"127.0.0.1:{port}"


def test_an_unreachable_broker_is_named_with_the_cause(closed: str) -> None:
    with pytest.raises(Unreachable, match=rf"{closed}.*ECONNREFUSED"):
        KafkaSource(KafkaSettings(bootstrap_servers=closed), ["readings"], start_timeout_s=3)  # a busy machine is slow


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_a_peer_that_never_answers_does_not_hang_the_start(silent: str, protocol: str) -> None:
    settings = KafkaSettings.model_validate({"bootstrap_servers": silent, "security_protocol": protocol})
    with pytest.raises(Unreachable, match=silent):
        Cluster(settings, timeout_s=0.5)


def test_the_password_reaches_the_client_and_no_debug_log(caplog: pytest.LogCaptureFixture, closed: str) -> None:
    settings = KafkaSettings.model_validate(
        {
            "bootstrap_servers": closed,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_username": "sensord",
            "sasl_password": PASSWORD,
        }
    )
    caplog.set_level(logging.DEBUG)
    assert client_config(settings)["sasl_plain_password"] == PASSWORD
    with pytest.raises(Unreachable) as caught:
        Cluster(settings, timeout_s=0.3)
    assert PASSWORD not in caplog.text + str(caught.value) + repr(settings)


@pytest.mark.kafka
def test_a_missing_topic_is_named_once_the_time_out_is_over(kafka: str) -> None:
    with pytest.raises(Unreachable, match="no topic no-such-topic"):
        KafkaSource(KafkaSettings(bootstrap_servers=kafka), ["no-such-topic"], start_timeout_s=0.5)
