"""Signals, turned into facts that the loop looks at between batches. Used by `cli`."""

import faulthandler
import os
import signal
import threading
from types import FrameType

from sensord.errors import EXIT_FAILURE, EXIT_OK


class Stop:
    """TERM or INT asks for a drain; the second one ends the process at once. USR1 writes all stacks to stderr.

    Before `hold` there is nothing to drain, and the first one ends the process too, in good order. A drain that takes
    longer than drain_timeout_s (a database that hangs, say) is cut short.
    """

    def __init__(self, drain_timeout_s: float) -> None:
        self.requested = False
        self._holding = False
        self._deadline = threading.Timer(drain_timeout_s, _end, [EXIT_FAILURE])
        self._deadline.daemon = True

    def listen(self) -> None:
        """Install the handlers; main thread only."""
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)
        faulthandler.register(signal.SIGUSR1)

    def hold(self) -> None:
        """From here on there is work that a signal has to let finish."""
        self._holding = True

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if not self._holding:
            _end(EXIT_OK)
        if self.requested:
            _end(EXIT_FAILURE)
        self.requested = True
        self._deadline.start()


def _end(code: int) -> None:
    """Leave at once. Nothing is lost: whoever comes next replays from the last commit."""
    os._exit(code)
