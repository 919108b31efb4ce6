"""Time, injected: wall time stamps rows, monotonic time paces the loop; event time comes with the readings."""

import time
from dataclasses import dataclass
from typing import Protocol

MICROSECONDS = 1_000_000


class Clock(Protocol):
    """What the daemon may ask about time."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def now(self) -> int:
        """Wall time, microseconds since the epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> int:
        return time.time_ns() // 1_000


@dataclass(slots=True)
class ManualClock:
    """A clock that moves when it is told to; for tests."""

    seconds: float = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> int:
        return int(self.seconds * MICROSECONDS)

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
