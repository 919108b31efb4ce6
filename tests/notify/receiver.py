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
    """plan: how the next requests are answered: a status, "reset", "hang", or "drip", which says a byte of its header
    now and then; 200 when it is empty. says: the answer's body."""

    url: str
    got: list[Got] = field(default_factory=list)
    plan: list[int | str] = field(default_factory=list)
    retry_after: str | None = None
    says: bytes = b"ok"

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
            for byte in b"HTTP/1.1 200 " + b"O" * 90 if answer == "drip" else b"":
                self.wfile.write(bytes([byte]))
                release.wait(0.1)
            if isinstance(answer, str):
                self.connection.close()
                return
            self.send_response(answer)
            if made.retry_after:
                self.send_header("Retry-After", made.retry_after)
            self.send_header("Content-Length", str(len(made.says)))
            self.end_headers()
            self.wfile.write(made.says)

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
