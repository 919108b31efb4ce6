"""The test build of the daemon: `python -m tests.faults.build --config FILE run`.

It is `sensord` with some things more, most by an environment variable, all put around the product's classes from
outside. The product itself has no failpoint and pays nothing for them.

SENSORD_FAILPOINT=NAME[:NTH][:kill|freeze]  at the NTH time (1) that the point is reached, SIGKILL or SIGSTOP to itself
SENSORD_RATE=N                              at most about N readings a second, so that a fault finds work going on
SENSORD_CLOCK_OFF_S=N                       its wall clock is so many seconds ahead; the monotonic clock isn't
SENSORD_MUTATION=NAME                       one of `mutations`: a guard of the product taken out

Its connections say which process they belong to, which the test database's ledger notes down; its log says whenever it
becomes ready or unready.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, event

from sensord.cli.main import main
from sensord.clock import MICROSECONDS, SystemClock
from sensord.daemon.loop import Loop
from sensord.daemon.shard import Shard
from sensord.detection.fleet import Fleet
from sensord.settings import KafkaSettings
from sensord.store import database
from sensord.store.progress import Progress
from sensord.stream import kafka
from sensord.stream.kafka import KafkaSource
from tests.faults import mutations

P = ParamSpec("P")
R = TypeVar("R")

FETCH_BYTES = 32 << 10
READINESS = "became_ready"
ACTIONS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}
POINTS = (
    "after-poll",
    "after-score",
    "after-fence",
    "after-insert",
    "mid-snapshot",
    "before-commit",
    "commit-sent",
    "after-commit",
    "in-claim",
    "after-claim",
    "mid-replay",
    "mid-swap",
)
STATEMENTS = {  # what a statement begins with -> the point that is reached once it has run
    "UPDATE partition_progress": "after-fence",
    "INSERT INTO partition_progress": "in-claim",
    "INSERT INTO alert_events": "after-insert",
    "INSERT INTO state_pages": "mid-snapshot",
}


@dataclass(slots=True)
class Failpoint:
    """Where this process ends, or freezes."""

    name: str
    nth: int = 1
    sends: signal.Signals = signal.SIGKILL
    _seen: int = 0

    @classmethod
    def parse(cls, text: str) -> "Failpoint":
        name, *rest = text.split(":")
        if name and name not in POINTS:
            raise SystemExit(f"no failpoint is called {name}; there are {', '.join(POINTS)}")
        action = rest.pop() if rest and rest[-1] in ACTIONS else "kill"
        return cls(name, int(rest[0]) if rest else 1, ACTIONS[action])

    def reached(self, name: str) -> None:
        if name == self.name:
            self._seen += 1
            if self._seen == self.nth:
                os.kill(os.getpid(), self.sends)


def around(owner: type, method: str, wrap: Callable[[Callable[P, R]], Callable[P, R]]) -> None:
    """Put a wrapper around a method of a class of the product."""
    original = getattr(owner, method)
    setattr(owner, method, wraps(original)(wrap(original)))


def arm(point: Failpoint) -> None:
    """Reach failpoints from now on."""

    def after(name: str, when: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
        def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*arguments: Any, **named: Any) -> Any:
                due = when(*arguments)
                result = original(*arguments, **named)
                if due and result is not None:
                    point.reached(name)
                return result

            return wrapper

        return wrap

    around(Shard, "feed", after("after-score"))
    around(Shard, "feed", after("mid-replay", lambda shard, *_: shard.replaying))
    around(Progress, "commit", after("after-commit", lambda progress, marks, *_: bool(marks)))
    around(Progress, "claim", after("after-claim"))
    around(Fleet, "under", after("mid-swap"))
    event.listen(Engine, "after_cursor_execute", _statements(point))
    event.listen(Engine, "commit", _commits(point))


def _statements(point: Failpoint) -> Callable[..., None]:
    def executed(connection: Connection, cursor: object, statement: str, *_: object) -> None:
        for beginning, name in STATEMENTS.items():
            if statement.startswith(beginning):
                connection.info["advanced"] = name != "in-claim"
                point.reached(name)

    return executed


def _commits(point: Failpoint) -> Callable[[Connection], None]:
    """Only of transactions that move an offset: there are others."""

    def committing(connection: Connection) -> None:
        if connection.info.pop("advanced", False):
            point.reached("before-commit")
            if point.name == "commit-sent":
                postgres: Any = connection.connection.driver_connection
                postgres.pgconn.send_query(b"COMMIT")
                postgres.pgconn.flush()
                point.reached("commit-sent")

    return committing


def pace(point: Failpoint, per_s: float) -> None:
    """Slow polls down to so many readings a second; what a failpoint after a poll sees are polls that brought some."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def poll(source: KafkaSource, timeout_s: float) -> Any:
            batch = original(source, timeout_s)
            if readings := sum(map(len, batch.records.values())):
                time.sleep(readings / per_s)
                point.reached("after-poll")
            return batch

        return poll

    around(KafkaSource, "poll", wrap)


def set_clock(ahead_s: float) -> None:
    """Have the wall clock off by so much."""

    def wrap(original: Callable[..., int]) -> Callable[..., int]:
        return lambda clock: original(clock) + round(ahead_s * MICROSECONDS)

    if ahead_s:
        around(SystemClock, "now", wrap)


def tell_readiness() -> None:
    """Say after each turn of the loop whether it has become ready or unready, as whoever asks would be told from then
    on."""

    def wrap(original: Callable[[Loop], None]) -> Callable[[Loop], None]:
        told: list[bool] = []

        def turn(loop: Loop) -> None:
            original(loop)
            if told[-1:] != [loop.ready]:
                told.append(loop.ready)
                sys.stderr.write(json.dumps({READINESS: loop.ready, "at": time.time()}) + "\n")

        return turn

    around(Loop, "turn", wrap)


def fetch_little() -> None:
    """Have partitions progress side by side: a fetch as large as the product's would bring a test's partition whole."""
    original = kafka._group_config

    def config(settings: KafkaSettings, session_timeout_s: float, poll_limit_s: float) -> dict[str, Any]:
        return original(settings, session_timeout_s, poll_limit_s) | {"max_partition_fetch_bytes": FETCH_BYTES}

    kafka._group_config = config


def run() -> None:
    """Prepare this process by its environment, then be `sensord`, whose settings refuse variables they do not know."""
    point = Failpoint.parse(os.environ.pop("SENSORD_FAILPOINT", ""))
    mutations.apply(os.environ.pop("SENSORD_MUTATION", ""))
    arm(point)
    fetch_little()
    tell_readiness()
    pace(point, float(os.environ.pop("SENSORD_RATE", "1e9")))
    set_clock(float(os.environ.pop("SENSORD_CLOCK_OFF_S", "0")))
    database._POSTGRES_CONNECTION["application_name"] = f"sensord/{os.getpid()}"
    main()


if __name__ == "__main__":
    run()
