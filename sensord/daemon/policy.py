"""When to commit, snapshot, look and give up: frozen policies and their memory. Used by `loop` and `shard`."""

from collections import deque
from dataclasses import dataclass, field

from sensord.readings import Partition


@dataclass(frozen=True, slots=True)
class Pace:
    """How often; seconds on the monotonic clock."""

    commit_interval_s: float = 1.0
    snapshot_interval_s: float = 30.0
    inspection_interval_s: float = 30.0  # of the log: does it still hold what we are about to read?
    standstill_s: float = 120.0
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


SAMPLE = 1_000  # readings that a share is judged by
MOST_BAD = 0.5


@dataclass(slots=True)
class Quality:
    """Whether most of the latest readings could be read.

    Where they can't, something is wrong with all of them: a producer's new schema, say, of which nothing may be lost.
    """

    _batches: deque[tuple[int, int]] = field(default_factory=deque)  # (bad, of), the latest last
    _bad: int = 0
    _of: int = 0

    def spoilt_by(self, bad: int, of: int) -> bool:
        """Note a batch; True when more than `MOST_BAD` of the latest `SAMPLE` readings and more are bad."""
        self._batches.append((bad, of))
        self._bad, self._of = self._bad + bad, self._of + of
        while self._of - self._batches[0][1] >= SAMPLE:
            gone_bad, gone = self._batches.popleft()
            self._bad, self._of = self._bad - gone_bad, self._of - gone
        return self._of >= SAMPLE and self._bad > MOST_BAD * self._of


@dataclass(slots=True)
class Standstill:
    """Whether a partition is read no further although its log grows: the client hangs, and doesn't know."""

    limit_s: float
    _seen: dict[Partition, tuple[int, int, float]] = field(default_factory=dict)  # position, end, moving until

    def look(self, partition: Partition, position: int, end: int, now: float) -> bool:
        """Note where a partition stands; True when that has been so for limit_s."""
        last = self._seen.get(partition)
        stuck = last is not None and position == last[0] and end > max(position, last[1])
        waiting = last is not None and position == last[0] and position < end == last[1]
        since = last[2] if last is not None and (stuck or waiting) else now
        self._seen[partition] = position, end, since
        return stuck and now - since >= self.limit_s

    def forget(self) -> None:
        """Nobody was reading: start to count anew."""
        self._seen.clear()
