"""Signals, turned into facts that the loop looks at between batches. Used by `cli`."""

import faulthandler
import os
import signal
import socket
import threading
from types import FrameType

from sensord.errors import EXIT_FAILURE, EXIT_OK


class Stop:
    """TERM or INT asks for a drain; the second one ends the process at once. HUP asks to reload. USR1 writes all stacks
    to stderr.

    Before `hold` there is nothing to drain, and the first one ends the process too, in good order. A drain that takes
    longer than drain_timeout_s (a database that hangs, say) is cut short, and writes all stacks too.

    A thread of its own acts on them: a handler would have to wait for the main one, which may be in native code for
    long.
    """

    def __init__(self, drain_timeout_s: float) -> None:
        self.requested = False
        self._reload = False
        self._holding = False
        self._drain_timeout_s = drain_timeout_s
        self._coming, self._noted = socket.socketpair()
        self._noted.setblocking(False)

    def listen(self) -> None:
        """Install the handlers; main thread only."""
        threading.Thread(target=self._follow, name="signals", daemon=True).start()
        signal.set_wakeup_fd(self._noted.fileno())  # a byte for each one, at once
        signal.signal(signal.SIGTERM, _go_on)
        signal.signal(signal.SIGINT, _go_on)
        signal.signal(signal.SIGHUP, _go_on)
        faulthandler.register(signal.SIGUSR1)

    def hold(self) -> None:
        """From here on there is work that a signal has to let finish."""
        self._holding = True

    def take_reload(self) -> bool:
        """Whether to reload, since it was last asked."""
        asked, self._reload = self._reload, False
        return asked

    def _follow(self) -> None:
        while self._coming.recv(1)[0] == signal.SIGHUP:
            self._reload = True
        if not self._holding:
            _end(EXIT_OK)
        self.requested = True
        # a daemon thread, as this one is: the end of the process waits for neither
        threading.Timer(self._drain_timeout_s, _cut_short).start()
        while self._coming.recv(1)[0] == signal.SIGHUP:
            pass  # too late
        _end(EXIT_FAILURE)


def _go_on(number: int, frame: FrameType | None) -> None:
    """Only so that Python notes the signal."""


def _cut_short() -> None:
    faulthandler.dump_traceback(all_threads=True)
    _end(EXIT_FAILURE)


def _end(code: int) -> None:
    """Leave at once. Nothing is lost: whoever comes next replays from the last commit."""
    os._exit(code)
