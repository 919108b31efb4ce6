"""A daemon under a supervisor: what it tells it, and what a reload does."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from sensord.settings import KafkaSettings
from sensord.stream.cluster import Cluster
from tests.end_to_end.plant import Plant, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


@pytest.fixture
def plant(tmp_path: Path, kafka: str) -> Iterator[Plant]:
    store = f"sqlite:///{tmp_path / 'sensord.db'}"
    made = Plant(tmp_path, kafka, store, f"readings-{uuid4().hex[:8]}", extra="[model]\nprobation_s = 0")
    made.settings.write_text(made.settings.read_text().replace("snapshot_interval_s = 2", "snapshot_interval_s = 600"))
    with Cluster(KafkaSettings(bootstrap_servers=kafka)) as cluster:
        cluster.create(made.topic, partitions=1)
    made.sensord("db", "upgrade")
    made.promote()
    yield made
    made.close()


def test_a_supervisor_is_told_and_a_reload_takes_up_what_is_new(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(plant.folder / "notify"))
    heard.settimeout(60)
    monkeypatch.setenv("NOTIFY_SOCKET", str(plant.folder / "notify"))

    def hears(text: str) -> None:
        while not heard.recv(1_000).decode().startswith(text):
            pass

    with heard, plant.daemon() as daemon:
        hears("READY=1")
        hears("STATUS=ready: 1 partitions")
        hears("WATCHDOG=1")
        good = plant.settings.read_text()

        plant.settings.write_text(good + "\n[log]\nlevel = 'loud'\n")
        daemon.process.send_signal(signal.SIGHUP)
        hears("RELOADING=1")
        hears("READY=1")
        assert "not reloaded, the old settings stay" in daemon.log
        assert "log.level" in daemon.log

        new = plant.promote(seed=3)
        plant.settings.write_text(
            good.replace("start_timeout_s = 20", "start_timeout_s = 21") + "\n[log]\nlevel = 'debug'\n"
        )
        daemon.process.send_signal(signal.SIGHUP)
        hears("RELOADING=1")
        wait_for(lambda: f'"new": "{new}"' in daemon.log, [daemon], "the new bundle scores, long before a snapshot")
        assert '"only_after_a_restart": ["daemon"], "event": "reloaded"' in daemon.log

        daemon.process.send_signal(signal.SIGTERM)
        hears("STOPPING=1")
        assert daemon.ended(16) == 0
