"""What the daemon answers over HTTP, and when."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from sensord.clock import ManualClock
from sensord.daemon.health import Health, HealthServer
from sensord.daemon.watchdog import Watchdog
from sensord.errors import SettingsInvalid
from sensord.metrics import CONTENT_TYPE, Metrics

LIMIT_S = 60.0
HOST = "127.0.0.1"


@dataclass
class Asked:
    """A served health, and the clock that its watchdog looks at."""

    health: Health
    clock: ManualClock
    port: int

    def get(self, path: str, method: str = "GET") -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path)
        answer = connection.getresponse()
        found = answer.status, answer.headers["Content-Type"], answer.read().decode()
        connection.close()
        return found


@contextmanager
def served(port: int = 0, worker: int = 0) -> Iterator[Asked]:
    clock = ManualClock(0)
    watchdog = Watchdog(clock, LIMIT_S, die=lambda: None)
    health = Health(watchdog, Metrics())
    with HealthServer(health, HOST, port, worker) as server:
        assert server.port
        yield Asked(health, clock, server.port)
    watchdog.stop()


@pytest.fixture
def here() -> Iterator[Asked]:
    with served() as asked:
        yield asked


def test_its_metrics_say_ready_when_it_does(here: Asked) -> None:
    assert (here.get("/readyz")[0], "sensord_ready 0.0" in here.get("/metrics")[2]) == (503, True)
    here.health.obstacles = lambda: ()
    assert (here.get("/readyz")[0], "sensord_ready 1.0" in here.get("/metrics")[2]) == (200, True)


def test_it_is_alive_while_its_loop_turns(here: Asked) -> None:
    here.clock.advance(10 * LIMIT_S)
    assert here.get("/livez")[0] == 200, "before there is a loop, it may take its time"
    here.health.watchdog.start()
    here.clock.advance(LIMIT_S - 1)
    assert here.get("/livez") == (200, "text/plain; charset=utf-8", "alive\n")
    here.clock.advance(2)
    status, _, told = here.get("/livez")
    assert (status, told) == (503, "the main loop turned 61 s ago, 60 are allowed\n")
    here.health.watchdog.tick()
    assert here.get("/livez")[0] == 200


def test_it_is_ready_when_nothing_is_in_the_way(here: Asked) -> None:
    status, _, told = here.get("/readyz")
    assert status == 503
    assert "starting" in told
    here.health.obstacles = lambda: ("Kafka does not answer", "held: readings[3]")
    assert here.get("/readyz") == (503, "text/plain; charset=utf-8", "Kafka does not answer\nheld: readings[3]\n")
    here.health.obstacles = lambda: ()
    assert here.get("/readyz")[::2] == (200, "ready\n")


def test_it_shows_its_metrics(here: Asked) -> None:
    metrics = here.health.metrics
    assert isinstance(metrics, Metrics)
    metrics.rebalanced()
    status, kind, told = here.get("/metrics?name=x")
    assert (status, kind) == (200, CONTENT_TYPE)
    assert "sensord_rebalances_total 1.0" in told


def test_head_brings_no_body_and_other_paths_are_named(here: Asked) -> None:
    assert here.get("/livez", "HEAD")[::2] == (200, "")
    status, _, told = here.get("/")
    assert status == 404
    assert "/readyz" in told
    assert here.get("/livez", "POST")[0] == 501


def test_without_a_port_nobody_listens() -> None:
    health = Health(Watchdog(ManualClock(0), LIMIT_S), Metrics())
    with HealthServer(health, HOST, None) as server:
        assert server.port is None


def test_a_port_that_is_taken_is_named() -> None:
    with served() as first, pytest.raises(SettingsInvalid, match=rf"http\.port: port {first.port} .* can't be had"):
        HealthServer(first.health, HOST, first.port)


def test_each_worker_takes_the_next_port() -> None:
    with served() as first:
        free = first.port
    with served(free - 1, worker=1) as second:
        assert second.port == free
