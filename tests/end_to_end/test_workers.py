"""`sensord run --workers`: several processes that are one service to whoever starts it."""

import http.client
import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from kafka import KafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from sensord.daemon.owner import Owner
from sensord.settings import KafkaSettings
from sensord.store.progress import Progress
from sensord.stream.cluster import Cluster
from tests.builders import START
from tests.end_to_end.plant import DaemonProcess, Plant, wait_for

PARTITIONS = 4

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def plant(tmp_path: Path, kafka: str, postgres_url: str) -> Iterator[Plant]:
    made = Plant(tmp_path, kafka, postgres_url, f"readings-{uuid4().hex[:8]}", extra="[http]\nport = 0")
    with Cluster(KafkaSettings(bootstrap_servers=kafka)) as cluster:
        cluster.create(made.topic, partitions=PARTITIONS)
    made.sensord("db", "upgrade")
    made.promote()
    yield made
    made.close()


def send(plant: Plant, second: int) -> None:
    producer = KafkaProducer(bootstrap_servers=plant.kafka)
    at = datetime.fromtimestamp(START / 1e6 + second, UTC)
    for device in range(40):
        message = {"device_id": f"pump-{device}", "timestamp": at, "values": {"heat": 0.0, "noise": 0.0}}
        producer.send(plant.topic, msgspec.json.encode(message), partition=device % PARTITIONS)
    producer.close()


def owners(plant: Plant) -> dict[int, int]:
    """The process that each partition belongs to."""
    found = [(each.partition, Owner.parse(each.owner)) for each in Progress(plant.engine).partitions()]
    return {number: owner.pid for number, owner in found if owner is not None}


def shared(plant: Plant, daemon: DaemonProcess) -> set[int]:
    """The two workers, once each has its half of the partitions."""

    def halves() -> list[int]:
        pids = list(owners(plant).values())
        return sorted(pids.count(pid) for pid in set(pids) if alive(pid))

    wait_for(lambda: halves() == [PARTITIONS // 2] * 2, [daemon], "two workers with half of the partitions each")
    return set(owners(plant).values())


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def asked(daemon: DaemonProcess, path: str) -> list[tuple[int, str]]:
    """What each worker answers over HTTP."""
    lines = [json.loads(line) for line in daemon.log.splitlines() if line.startswith("{")]
    answers = []
    for port in [line["port"] for line in lines if line["event"] == "listening"]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        answers.append((answer.status, answer.read().decode()))
        connection.close()
    return answers


def sampled(exposition: str, name: str) -> float:
    """A metric's value, summed over its labels."""
    families = text_string_to_metric_families(exposition)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def test_workers_share_the_partitions_and_drain_together(plant: Plant) -> None:
    send(plant, 0)
    with plant.daemon("--workers", "2") as daemon:
        workers = shared(plant, daemon)
        daemon.process.send_signal(signal.SIGUSR1)
        send(plant, 1)
        plant.wait_until_committed([daemon])
        assert daemon.process.pid not in workers
        assert asked(daemon, "/livez") == [(200, "alive\n")] * 2
        wait_for(lambda: asked(daemon, "/readyz") == [(200, "ready\n")] * 2, [daemon], "both are ready")
        wait_for(
            lambda: sum(sampled(told, "sensord_devices") for _, told in asked(daemon, "/metrics")) == 40,
            [daemon],
            "the metrics tell of all devices",
        )
        assert sum(sampled(told, "sensord_partitions") for _, told in asked(daemon, "/metrics")) == PARTITIONS
        assert sum(sampled(told, "sensord_lag_records") for _, told in asked(daemon, "/metrics")) == 0
        assert daemon.stop() == 0
        assert not any(map(alive, workers))
    assert daemon.log.count('"drained"') == 2
    assert daemon.log.count("Current thread") == 3, "USR1 shows the stacks of all of them"
    assert all(f'"worker": {number}' in daemon.log for number in (0, 1))


def test_when_a_worker_dies_the_others_drain_and_the_command_fails(plant: Plant) -> None:
    with plant.daemon("--workers", "2") as daemon:
        send(plant, 0)
        victim, heir = shared(plant, daemon)
        os.kill(victim, signal.SIGKILL)
        assert daemon.ended(30) == 1
        assert not alive(heir)
    assert daemon.log.count('"drained"') == 1, daemon.log
    assert "a worker ended" in daemon.log


def test_workers_do_not_outlive_the_command(plant: Plant) -> None:
    with plant.daemon("--workers", "2") as daemon:
        send(plant, 0)
        workers = shared(plant, daemon)
        daemon.process.kill()
        daemon.process.wait()
        wait_for(lambda: not any(map(alive, workers)), [], "the workers end")
    assert daemon.log.count('"drained"') == 2


def test_one_sqlite_file_is_for_one_worker(tmp_path: Path, kafka: str) -> None:
    plant = Plant(tmp_path, kafka, f"sqlite:///{tmp_path / 'sensord.db'}", "readings")
    said = plant.sensord("run", "--workers", "2", code=78)
    assert "--workers needs PostgreSQL" in said
    plant.close()
