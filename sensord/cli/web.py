"""`sensord web`, and what `sensord run --web` serves beside its probes: the page."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
import structlog

from sensord.cli.context import engine_of, settings_of
from sensord.clock import SystemClock
from sensord.daemon.signals import Stop
from sensord.daemon.supervisor import Supervisor
from sensord.errors import SensordError, SettingsInvalid
from sensord.settings import Settings, supervisor_socket
from sensord.store import Engine
from sensord.store.database import check
from sensord.web.access import Access
from sensord.web.site import Probe, Site
from sensord.web.standing import Standing, standing

log = structlog.get_logger()

KAFKA_S, KEPT_S = 2.0, 5.0  # how long a page waits for Kafka, and for how long all pages have one answer
DRAIN_S, TURN_S = 5.0, 0.5
TEXT = "text/plain; charset=utf-8"


@click.command("web")
@click.option("--host", help="Address to listen at, instead of web.host.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port, instead of web.port; 0: any, see the log.")
@click.pass_context
def web(ctx: click.Context, host: str | None, port: int | None) -> None:
    """Serve the page: fleets by health, alerts and why, devices, bundles, status.

    It asks the database and Kafka, not the daemons, and may run anywhere. At another address than this machine's own it
    needs web.token, or web.public = true; with the token people answer alerts on it.
    """
    settings = settings_of(ctx, {"web.host": host, "web.port": port})
    supervisor, stop = Supervisor(supervisor_socket(), SystemClock()), Stop(DRAIN_S)
    stop.listen()
    with (
        engine_of(settings.store, settings.daemon.start_timeout_s) as engine,
        served(settings, engine, _probe(engine), settings.web.host, settings.web.port) as page,
    ):
        click.echo(f"http://{_spelt(settings.web.host)}:{page.port}/", err=True)
        supervisor.ready()
        stop.hold()
        while not stop.requested:
            if not page.thread.is_alive():
                raise SensordError("the page's server has ended; the lines above say why")
            supervisor.alive()
            time.sleep(TURN_S)
        supervisor.stopping()


@dataclass(frozen=True, slots=True)
class Served:
    """Where the page is, and who serves it."""

    port: int
    thread: threading.Thread


@contextmanager
def served(settings: Settings, engine: Engine, probe: Probe, host: str, port: int) -> Iterator[Served]:
    """The page on a thread of its own, as long as this is entered. Raises SettingsInvalid where the
    address can't be had, or would show the page to whoever comes by."""
    import uvicorn  # noqa: PLC0415  # with starlette .3 s, where a page is served

    from sensord.web.app import build  # noqa: PLC0415

    if not settings.web.readable(host):
        raise SettingsInvalid(
            f"web: at {host} everybody could read the page: set web.token, or web.public = true if they may"
        )
    token = None if settings.web.token is None else settings.web.token.get_secret_value()
    loopback = settings.web.token is None and not settings.web.public
    access = Access(token, settings.web.public, SystemClock())
    ask = _kept(lambda: standing(settings, engine, KAFKA_S))
    site = Site(engine, settings.fleets, access, SystemClock(), ask, probe, loopback)
    with _listening(host, port) as listener:
        config = uvicorn.Config(
            build(site), log_config=None, access_log=False, lifespan="off", server_header=False, date_header=True,
            timeout_keep_alive=15, timeout_graceful_shutdown=3, proxy_headers=False,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="page", daemon=True)
        thread.start()
        log.info("listening", host=host, port=listener.getsockname()[1], page=True)
        try:
            yield Served(listener.getsockname()[1], thread)
        finally:
            server.should_exit = True
            thread.join(DRAIN_S)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(128)
        except (OSError, OverflowError) as error:
            raise SettingsInvalid(f"port {port} of {host} can't be had: {error}") from error
        yield listener


def _probe(engine: Engine) -> Probe:
    """Of a page that stands alone: it lives, and is ready when its database is."""

    def answer(path: str) -> tuple[int, bytes, str] | None:
        if path == "/livez":
            return 200, b"alive\n", TEXT
        if path != "/readyz":
            return None
        try:
            check(engine)
        except SensordError as error:
            return 503, f"{error}\n".encode(), TEXT
        return 200, b"ready\n", TEXT

    return answer


def _kept(ask: Callable[[], Standing]) -> Callable[[], Standing]:
    """The same answer for a few seconds: however many look, Kafka and the database are asked by one."""
    lock, kept = threading.Lock(), list[tuple[float, Standing]]()

    def answer() -> Standing:
        with lock:
            if not kept or kept[0][0] < time.monotonic() - KEPT_S:
                kept[:] = [(time.monotonic(), ask())]
            return kept[0][1]

    return answer


def _spelt(host: str) -> str:
    return f"[{host}]" if ":" in host else host
