"""Ends the process when the loop hangs; a hung Kafka client can't be interrupted in any other way."""

import faulthandler
import os
import threading
from collections.abc import Callable

from sensord.clock import Clock
from sensord.errors import EXIT_SOFTWARE


def die() -> None:
    """Write all stacks and end at once; the next process replays from the last commit."""
    faulthandler.dump_traceback(all_threads=True)
    os._exit(EXIT_SOFTWARE)


class Watchdog:
    """Calls `die` when nobody has ticked for limit_s seconds. A thread of its own looks once a second."""

    def __init__(
        self,
        clock: Clock,
        limit_s: float,
        die: Callable[[], None] = die,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self.limit_s = limit_s
        self._die, self._on_tick = die, on_tick
        self._ticked_at = clock.monotonic()
        self._watched = False
        self._stopped = threading.Event()

    def tick(self) -> None:
        """The loop is alive."""
        self._ticked_at = self._clock.monotonic()
        self._on_tick()

    @property
    def age_s(self) -> float:
        """Seconds since the loop last ticked; 0 before it is watched."""
        return self._clock.monotonic() - self._ticked_at if self._watched else 0.0

    def start(self) -> None:
        """Watch from now on: what came before, waiting for Kafka say, was not the loop's time."""
        self.tick()
        self._watched = True
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(1.0):
            self.look()

    def look(self) -> None:
        """Judge once."""
        if self._clock.monotonic() - self._ticked_at > self.limit_s:
            self.give_up()

    def give_up(self) -> None:
        """End the process as after a hang: the loop turns, but the client under it reads no more."""
        self._die()
