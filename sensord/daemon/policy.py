"""When to commit and when to snapshot: a frozen policy and its memory. Used by `loop`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How often; seconds on the monotonic clock."""

    commit_interval_s: float = 1.0
    snapshot_interval_s: float = 30.0
    retry_first_s: float = 0.25
    retry_most_s: float = 5.0


@dataclass(slots=True)
class Timer:
    """Due at once, then every interval_s after it was last reset."""

    interval_s: float
    _due_at: float = float("-inf")

    def due(self, now: float) -> bool:
        return now >= self._due_at

    def reset(self, now: float) -> None:
        self._due_at = now + self.interval_s


@dataclass(slots=True)
class Backoff:
    """Waits twice as long after every failure, up to a limit."""

    first_s: float
    most_s: float
    _wait_s: float = 0.0
    _due_at: float = float("-inf")

    def due(self, now: float) -> bool:
        return now >= self._due_at

    def fail(self, now: float) -> float:
        """Note a failure; returns the seconds until the next try."""
        self._wait_s = min(max(self.first_s, 2 * self._wait_s), self.most_s)
        self._due_at = now + self._wait_s
        return self._wait_s

    def succeed(self) -> None:
        self._wait_s, self._due_at = 0.0, float("-inf")
