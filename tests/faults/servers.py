"""A broker and a database that can be killed, frozen and started again, each with a proxy before it. For `stage`."""

import os
import signal
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.proxy import Proxy
from tests.services import kafka, postgres
from tests.services.process import free_port, temporary_folder


@dataclass(slots=True)
class Restartable:
    """A server process that keeps its port and its data from one start to the next."""

    proxy: Proxy
    pid: int = 0
    _stack: ExitStack = field(default_factory=ExitStack)

    def serving(self) -> AbstractContextManager[int]:
        raise NotImplementedError

    def start(self) -> None:
        """Return when it answers; nothing where it runs."""
        if not self.pid:
            self.pid = self._stack.enter_context(self.serving())

    def stop(self) -> None:
        """End it in good order."""
        self._stack.close()
        self.pid = 0

    def kill(self) -> None:
        """SIGKILL, or for a database what comes next to it."""
        os.kill(self.pid, self.death)
        self.stop()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    @property
    def death(self) -> signal.Signals:
        return signal.SIGKILL


@dataclass(slots=True)
class Broker(Restartable):
    """One Apache Kafka."""

    address: str = ""
    settings: Path = Path()

    def serving(self) -> AbstractContextManager[int]:
        return kafka.serving(self.settings, self.address)

    def crash_losing(self, topic: str, partition: int, offset: int) -> int:
        """Crash, and come back without a partition's batches from an offset on; returns where its log ends then."""
        self.kill()
        data = self.settings.with_name("data")
        log = data / f"{topic}-{partition}"
        (segment,) = log.glob("*.log")
        end = _cut(segment, offset)
        derived = [each for form in ("*index", "*.snapshot", "leader-epoch-checkpoint") for each in log.glob(form)]
        for each in (*derived, data / "recovery-point-offset-checkpoint"):  # they know how much there was
            each.unlink(missing_ok=True)
        self.start()
        return end


@dataclass(slots=True)
class Postgres(Restartable):
    """One PostgreSQL. Its children would outlive a SIGKILL, so it dies by SIGQUIT: at once, with a recovery after."""

    port: int = 0
    data: Path = Path()
    user: str | None = None

    def serving(self) -> AbstractContextManager[int]:
        return postgres.serving(self.data, self.port, self.user)

    @property
    def death(self) -> signal.Signals:
        return signal.SIGQUIT


@contextmanager
def broker() -> Iterator[Broker]:
    with temporary_folder() as folder:
        address, second = f"127.0.0.1:{free_port()}", free_port()
        with Proxy(target=second).running() as proxy:
            settings = kafka.formatted(
                folder, address, kafka.Listener("PLAINTEXT", f"127.0.0.1:{second}", proxy.address)
            )
            made = Broker(proxy, address=address, settings=settings)
            with _ending(made):
                yield made


@contextmanager
def database() -> Iterator[Postgres]:
    user = postgres.unprivileged_user()
    with temporary_folder(user) as folder:
        port = free_port()
        with Proxy(target=port).running() as proxy:
            made = Postgres(proxy, port=port, data=postgres.initialised(folder, user), user=user)
            with _ending(made):
                yield made


def _cut(segment: Path, offset: int) -> int:
    """Cut a segment of a log before the first batch that begins at an offset or later; returns where that began."""
    data, place = segment.read_bytes(), 0
    while place < len(data):
        begins, length = struct.unpack_from(">qi", data, place)
        if begins >= offset:
            os.truncate(segment, place)
            return int(begins)
        place += struct.calcsize(">qi") + length
    raise LookupError(f"{segment} holds no batch from {offset} on")


@contextmanager
def _ending(server: Restartable) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()
