"""A network that can fail: a TCP proxy that cuts, goes silent, delays, corrupts, and loses answers to COMMITs.

For `servers`.
"""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.services.process import free_port

CHUNK = 64 << 10
READING = b'"values"'  # is in every reading, and in nothing else that a broker sends
COMMIT = b"COMMIT\x00"  # the end of PostgreSQL's simple query, as psycopg sends it


@dataclass(slots=True, eq=False)
class _Connection:
    client: socket.socket
    server: socket.socket
    answer_lost: bool = False  # whatever the server says next ends the connection

    def close(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@dataclass(slots=True, eq=False)
class Proxy:
    """Forwards connections from its own port to a target port, both on 127.0.0.1. Every method may be called any time.

    delay_s: each chunk waits that long. cut_commits: the share of COMMITs that end their connection, drawn by a seed.
    cuts: how many did, before the server saw them and after it had applied them. corrupting: readings that a broker
    sends are changed on the way, and the record batch's checksum isn't; corrupted: how often that was.
    """

    target: int
    port: int = field(default_factory=free_port)
    delay_s: float = 0.0
    cut_commits: float = 0.0
    corrupting: bool = False
    corrupted: int = 0
    cuts: dict[str, int] = field(default_factory=lambda: {"before": 0, "after": 0})
    _dice: random.Random = field(default_factory=lambda: random.Random(0))
    _refusing: bool = False
    _flowing: threading.Event = field(default_factory=threading.Event)
    _connections: set[_Connection] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cut(self, refuse: bool = False) -> None:
        """End every connection; with refuse, every new one too until `mend`."""
        self._refusing = refuse
        with self._lock:
            connections, self._connections = self._connections, set()
        for connection in connections:
            connection.close()

    def black_hole(self) -> None:
        """Take everything and pass nothing on, until `mend`."""
        self._flowing.clear()

    def mend(self) -> None:
        """Be a cable again. What a black hole swallowed comes out of it, as it would of a router's buffer."""
        self._refusing, self.delay_s, self.cut_commits, self.corrupting = False, 0.0, 0.0, False
        self._flowing.set()

    @contextmanager
    def running(self) -> Iterator["Proxy"]:
        self._flowing.set()
        with socket.create_server(("127.0.0.1", self.port), backlog=64) as listener:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            try:
                yield self
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                self.mend()
                self.cut(refuse=True)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            connection = _Connection(client, server)
            with self._lock:
                self._connections.add(connection)
            if self._refusing:
                self.cut(refuse=True)
            for pump in (self._pump_requests, self._pump_answers):
                threading.Thread(target=self._until_closed, args=(pump, connection), daemon=True).start()

    def _until_closed(self, pump: object, connection: _Connection) -> None:
        with suppress(OSError):
            pump(connection)  # type: ignore[operator]
        connection.close()
        with self._lock:
            self._connections.discard(connection)

    def _pump_requests(self, connection: _Connection) -> None:
        while data := self._received(connection.client):
            if data.endswith(COMMIT) and self._due():
                if self.cuts["after"] >= self.cuts["before"]:
                    self.cuts["before"] += 1
                    return
                self.cuts["after"] += 1
                connection.answer_lost = True
            connection.server.sendall(data)

    def _pump_answers(self, connection: _Connection) -> None:
        while data := self._received(connection.server):
            if connection.answer_lost:
                return
            connection.client.sendall(self._corrupted(data) if self.corrupting else data)

    def _corrupted(self, data: bytes) -> bytes:
        """Change one reading in the middle of what is sent, to something that could be one."""
        place = data.find(READING, len(data) // 2)
        if place < 0:
            return data
        with self._lock:
            self.corrupted += 1
        return data[:place] + READING.swapcase() + data[place + len(READING) :]

    def _received(self, end: socket.socket) -> bytes:
        data = end.recv(CHUNK)
        if self.delay_s:
            time.sleep(self.delay_s)
        self._flowing.wait()
        return data

    def _due(self) -> bool:
        with self._lock:
            return self._dice.random() < self.cut_commits
