"""What whoever watches the daemon asks over HTTP: /livez, /readyz, /metrics. Built by `cli`.

Alive is whose main loop turns, whatever Kafka and the database do: a restart mends neither. Ready is who reads all that
is assigned to it. Answers come from threads of their own, so that a loop that hangs can still be asked.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import structlog

from sensord import __version__
from sensord.daemon.watchdog import Watchdog
from sensord.errors import SettingsInvalid
from sensord.metrics import CONTENT_TYPE, Catalogue

log = structlog.get_logger()

TEXT = "text/plain; charset=utf-8"
PATIENCE_S = 10.0  # with a client that says nothing


def _starting() -> Sequence[str]:
    return ("starting: waiting for Kafka and the database, or compiling",)


@dataclass(slots=True)
class Health:
    """The answers. obstacles: why not all that is assigned is read; none: ready."""

    watchdog: Watchdog
    metrics: Catalogue
    obstacles: Callable[[], Sequence[str]] = _starting

    def __post_init__(self) -> None:
        self.metrics.ready.set_function(lambda: not self.obstacles())

    def answer(self, path: str) -> tuple[HTTPStatus, bytes, str] | None:
        """What is said to whoever asks for a path: status, body and kind; None where it is none of these."""
        if path == "/metrics":
            return HTTPStatus.OK, self.metrics.exposition(), CONTENT_TYPE
        asked = {"/livez": self.alive, "/readyz": self.ready}
        if path not in asked:
            return None
        status, text = asked[path]()
        return status, text.encode(), TEXT

    def alive(self) -> tuple[HTTPStatus, str]:
        age, limit = self.watchdog.age_s, self.watchdog.limit_s
        if age > limit:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"the main loop turned {age:.0f} s ago, {limit:g} are allowed\n"
        return HTTPStatus.OK, "alive\n"

    def ready(self) -> tuple[HTTPStatus, str]:
        if obstacles := self.obstacles():
            return HTTPStatus.SERVICE_UNAVAILABLE, "".join(f"{obstacle}\n" for obstacle in obstacles)
        return HTTPStatus.OK, "ready\n"


class HealthServer:
    """Serves them as long as it is entered; nowhere where no port is set. Raises SettingsInvalid where it is taken.

    worker: which of several daemons with the same settings this is; each takes the port after the last one's.
    setting: what the port is called.
    """

    def __init__(
        self, health: Health, host: str, port: int | None, worker: int = 0, setting: str = "http.port"
    ) -> None:
        wanted = port and port + worker  # 0 stays: any
        self._server = None if wanted is None else _server(health, host, wanted, setting)

    @property
    def port(self) -> int | None:
        """Where it listens: the one that was asked for, or any where that was 0."""
        return None if self._server is None else self._server.server_port

    def __enter__(self) -> Self:
        if self._server is not None:
            threading.Thread(target=self._server.serve_forever, name="http", daemon=True).start()
            log.info("listening", host=self._server.server_address[0], port=self.port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def _server(health: Health, host: str, port: int, setting: str) -> ThreadingHTTPServer:
    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE_S
        server_version = f"sensord/{__version__}"
        sys_version = ""

        def do_GET(self) -> None:
            nothing = HTTPStatus.NOT_FOUND, b"there are /livez, /readyz and /metrics\n", TEXT
            self._answer(*(health.answer(self.path.partition("?")[0]) or nothing))

        do_HEAD = do_GET  # noqa: N815  # the library's way of naming

        def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
            log.debug("asked", client=self.client_address[0], request=format % args)

    try:
        return Server((host, port), Handler)
    except (OSError, OverflowError) as error:
        raise SettingsInvalid(f"{setting}: port {port} of {host} can't be had: {error}") from error
