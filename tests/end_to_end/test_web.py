"""The page as people start it: by itself, and on a daemon's port; never where everybody could read it."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from sensord.errors import EXIT_FAILURE, EXIT_NEEDS_A_PERSON
from sensord.settings import KafkaSettings
from sensord.stream.cluster import Cluster
from tests.end_to_end.plant import DaemonProcess, Plant, wait_for

pytestmark = pytest.mark.slow
TOKEN = "canary-of-the-page-1"  # noqa: S105  # of tests


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Plant]:
    """A database that nobody writes to, and no Kafka."""
    extra = f'[web]\nport = 0\ntoken = "{TOKEN}"'
    made = Plant(tmp_path, "127.0.0.1:1", f"sqlite:///{tmp_path / 'sensord.db'}", "readings", extra=extra)
    made.sensord("db", "upgrade")
    made.promote()
    yield made
    made.close()


def get(port: str, path: str, token: str | None = TOKEN) -> tuple[int, str]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", headers=headers), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def port_of(log: str) -> str:
    found = re.findall(r'"port": ?(\d+)', log)
    return str(found[-1])


def test_it_stands_alone_beside_no_daemon_and_ends_in_good_order(alone: Plant) -> None:
    log = alone.folder / "web.log"
    command = [sys.executable, "-m", "sensord", "--config", str(alone.settings), "web"]
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as process:
        web = DaemonProcess(process, log)
        try:
            wait_for(lambda: "http://127.0.0.1:" in web.log, [web], "it listens")
            port = port_of(web.log)
            assert [get(port, path)[0] for path in ("/", "/alerts", "/models", "/livez", "/readyz")] == [200] * 5
            assert "Kafka at 127.0.0.1:1" in get(port, "/status")[1]
            assert get(port, "/", None)[1].count("<h1>Log in</h1>") == 1
            assert get(port, "/", "guess-guess-guess-guess")[0] == 401
            process.send_signal(signal.SIGTERM)
            assert web.ended(20) == 0
        finally:
            process.kill()
    assert TOKEN not in web.log
    assert "guess" not in web.log


def test_where_everybody_could_read_it_it_does_not_start(alone: Plant) -> None:
    alone.settings.write_text(alone.settings.read_text().replace(f'token = "{TOKEN}"', ""))
    told = alone.sensord("web", "--host", "0.0.0.0", code=EXIT_NEEDS_A_PERSON)  # noqa: S104  # that is the point
    assert "set web.token, or web.public = true" in told
    told = alone.sensord("run", "--web", code=EXIT_NEEDS_A_PERSON)
    assert "--web: set http.port" in told


def test_a_server_that_has_ended_ends_the_command(alone: Plant) -> None:
    """Else whoever watches the process would be told that it lives."""
    program = (
        "import sys, uvicorn; uvicorn.Server.run = lambda *_, **__: None; "
        f"from sensord.cli.main import run; sys.exit(run(['--config', {str(alone.settings)!r}, 'web']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == EXIT_FAILURE
    assert "the page's server has ended" in done.stderr


def test_without_torch_it_is_small(alone: Plant) -> None:
    """The page needs no network: it starts at once, and beside a small notifier."""
    program = (
        "import sys; import sensord.cli.web, sensord.web.app; "
        "print([name for name in ('torch', 'numba', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.timeout(200)
def test_a_daemon_serves_it_beside_its_probes(tmp_path: Path, kafka: str) -> None:
    extra = f'[http]\nport = 0\n[web]\ntoken = "{TOKEN}"'
    plant = Plant(tmp_path, kafka, f"sqlite:///{tmp_path / 'sensord.db'}", f"readings-{uuid4().hex[:8]}", extra=extra)
    with Cluster(KafkaSettings(bootstrap_servers=kafka)) as cluster:
        cluster.create(plant.topic, partitions=1)
    plant.sensord("db", "upgrade")
    plant.promote()
    with plant.daemon("--web") as daemon:
        wait_for(lambda: '"listening"' in daemon.log, [daemon], "it listens")
        port = port_of(daemon.log)
        wait_for(lambda: get(port, "/readyz", None) == (200, "ready\n"), [daemon], "it is ready")
        assert get(port, "/livez", None) == (200, "alive\n")
        assert "sensord_ready 1.0" in get(port, "/metrics", None)[1]
        assert "<h1>Fleets</h1>" in get(port, "/")[1]
        wait_for(lambda: f"{plant.topic}</td>" in get(port, "/status")[1], [daemon], "its partition is shown")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.ended(30) == 0
    plant.close()
