"""An HTTP server that answers as it is told to, and remembers what it was sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """plan: how the next requests are answered: a status, "reset" or "hang"; 200 when it is empty."""

    url: str
    got: list[Got] = field(default_factory=list)
    plan: list[int | str] = field(default_factory=list)
    retry_after: str | None = None

    @property
    def keys(self) -> list[str]:
        return [one.headers["Idempotency-Key"] for one in self.got]


@contextmanager
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.got.append(Got(self.path, dict(self.headers), body))
            answer = made.plan.pop(0) if made.plan else 200
            if answer == "hang":
                release.wait(5)
            if isinstance(answer, str):
                self.connection.close()
                return
            self.send_response(answer)
            if made.retry_after:
                self.send_header("Retry-After", made.retry_after)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass

    release = threading.Event()
    with Server(("127.0.0.1", 0), Handler) as server:
        made = Receiver(f"http://127.0.0.1:{server.server_port}/hook/s3cret-token")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            release.set()
            server.shutdown()
            thread.join()
