"""A daemon that was killed is back as soon as its host starts it again, whatever Kafka believes."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaProducer

from sensord.settings import KafkaSettings
from sensord.stream.cluster import Cluster
from tests.builders import START
from tests.end_to_end.plant import Plant

DEVICES = 10_000
SESSION_S = 45.0


@pytest.fixture
def plant(tmp_path: Path, kafka: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    monkeypatch.setenv("SENSORD_KAFKA__SESSION_TIMEOUT_S", str(SESSION_S))
    made = Plant(tmp_path, kafka, postgres_url, f"readings-{uuid4().hex[:8]}")
    with Cluster(KafkaSettings(bootstrap_servers=kafka)) as cluster:
        cluster.create(made.topic, partitions=4)
    made.sensord("db", "upgrade")
    made.promote()
    yield made
    made.close()


def send(plant: Plant, second: int) -> None:
    """One reading of every device."""
    producer = KafkaProducer(bootstrap_servers=plant.kafka, linger_ms=20)
    at = datetime.fromtimestamp(START / 1e6 + second, UTC).isoformat()
    for device in range(DEVICES):
        message = {"device_id": f"pump-{device}", "timestamp": at, "values": {"heat": 0.0, "noise": 0.0}}
        producer.send(plant.topic, json.dumps(message).encode(), partition=device % 4)
    producer.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_daemon_that_is_started_again_does_not_wait_for_the_dead_ones_session(plant: Plant) -> None:
    with plant.daemon() as victim:
        send(plant, 0)
        plant.wait_until_committed([victim])
        victim.kill()
    send(plant, 1)
    began = time.monotonic()
    with plant.daemon() as heir:
        plant.wait_until_committed([heir])
        took_s = time.monotonic() - began
        assert heir.stop() == 0
    assert took_s < SESSION_S - 5
