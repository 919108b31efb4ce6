"""Several daemons under one command, to use several cores: `sensord run --workers`. Used by `cli`.

Each is a process of its own and a member of the consumer group; partitions spread over them as over hosts. They stand
and fall together, so that whoever starts and watches the command sees one service: TERM or INT drains all, and where
one ends unasked the others drain and the command ends with its code.
"""

import faulthandler
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType

import structlog

from sensord.daemon.supervisor import Supervisor
from sensord.errors import EXIT_FAILURE, EXIT_OK

log = structlog.get_logger()

LOOK_EVERY_S = 1.0


class Workers:
    """work: what each process calls with the arguments, and its number as --worker; it ends by SystemExit, and can be
    found by its name in a module."""

    def __init__(
        self, count: int, work: Callable[[Sequence[str]], None], arguments: Sequence[str], supervisor: Supervisor
    ) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share connections and the libraries' threads
        self._processes = [
            context.Process(target=_live, args=(number, work, arguments), name=f"worker-{number}")
            for number in range(count)
        ]
        self._supervisor = supervisor
        self._stopping = False

    def run(self) -> int:
        """Start them and wait until all have ended. Returns the first exit code that tells of trouble, else 0."""
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)
        for number in (signal.SIGUSR1, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # for a worker's first moment too; else it would end it
        for process in self._processes:
            process.start()
        signal.signal(signal.SIGUSR1, self._show)
        signal.signal(signal.SIGHUP, self._pass_on)
        self._supervisor.ready()
        self._supervisor.status(f"{len(self._processes)} workers")
        code = EXIT_OK
        while alive := [process for process in self._processes if process.exitcode is None]:
            ending = wait([process.sentinel for process in alive], LOOK_EVERY_S)
            self._supervisor.alive()  # each worker has a watchdog of its own, and ends where its loop hangs
            for process in alive:
                if process.sentinel in ending:
                    code = code or self._outcome(process)
        return code

    def _outcome(self, process: BaseProcess) -> int:
        """What a process's end means for the whole; it isn't all right that one ends unasked."""
        process.join()  # it has let go of its files; its exit code comes a moment later
        code = process.exitcode or EXIT_OK
        if self._stopping:
            return code if code > 0 else EXIT_OK if code in (0, -signal.SIGTERM) else EXIT_FAILURE
        log.error("a worker ended; the others drain", worker=process.name, exit_code=code)
        self._stop()
        return code if code > 0 else EXIT_FAILURE

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        """Drain; a second time: end at once."""
        self._stopping = True
        self._supervisor.stopping()
        self._send(signal.SIGTERM)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._send(signal.Signals(number))

    def _show(self, number: int, frame: FrameType | None) -> None:
        """All stacks of all of them."""
        faulthandler.dump_traceback(all_threads=True)
        self._send(signal.SIGUSR1)

    def _send(self, number: signal.Signals) -> None:
        for process in self._processes:
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, number)


def _live(number: int, work: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> None:
    """A worker's life. Ctrl-C reaches the parent alone, which passes it on; without the parent there is nobody to."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # until the daemon listens there is nothing to drain
    faulthandler.register(signal.SIGUSR1)
    os.setpgid(0, 0)
    structlog.contextvars.bind_contextvars(worker=number)
    threading.Thread(target=_follow_parent, name="follow-parent", daemon=True).start()
    work([*arguments, "--worker", str(number)])


def _follow_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
