"""A broker and a database that can be killed, frozen and started again, each with a proxy before it. For `stage`."""

import os
import signal
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


@contextmanager
def _ending(server: Restartable) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()
