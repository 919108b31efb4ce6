"""Tells sinks: a thread for each, so that one that doesn't answer keeps no other waiting. Built by `cli`.

At least once: a notice is marked after the sink has taken it, and sent again, under the same key, where the process
ended in between. In order: what can't be delivered now is tried again, and what comes after it waits.
"""

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from sensord.clock import Clock
from sensord.errors import StoreUnavailable
from sensord.metrics import NotifierMetrics
from sensord.notify.message import Message
from sensord.notify.sinks import Forgetful, NotTaken, Refused, Sink
from sensord.store import Engine
from sensord.store.incidents import IncidentRow, Notice, incident, list_incidents
from sensord.store.notices import NoticeRow, Outcome, Wanted, delivered, waiting
from sensord.store.schema import instant

log = structlog.get_logger()

AT_ONCE = 100
FIRST_RETRY_S, MOST_RETRY_S = 1.0, 300.0
LOOK_EVERY_S = 1.0
NOT_TAKEN = "not_taken"
OUTCOMES = (Outcome.DELIVERED.value, Outcome.REFUSED.value, NOT_TAKEN)


@dataclass(slots=True)
class Dispatcher:
    """One sink's notices on their way.

    group_wait_s: of a notice that opens an incident. resend_s: how often a sink that forgets is reminded of what is
    open. wait: sleep so many seconds; returns True where it is to end.
    """

    engine: Engine
    wanted: Wanted
    sink: Sink
    group_wait_s: float
    clock: Clock
    wait: Callable[[float], bool]
    resend_s: float = 60.0
    metrics: NotifierMetrics = field(default_factory=NotifierMetrics)
    jitter: Callable[[], float] = random.random
    _retry_s: float = 0.0
    _reminded_at: float = float("-inf")

    def run(self) -> None:
        """Until `wait` says that it is to end; whatever goes wrong, it goes on: nobody else would tell this sink."""
        while True:
            try:
                pause_s = self.turn()
            except Exception as error:
                log.exception("a sink fails by a fault of sensord's own", sink=self.wanted.sink)
                pause_s = self._not_taken("unknown", NotTaken(f"{type(error).__name__}, see the log"))
            if self.wait(pause_s):
                return

    def turn(self) -> float:
        """Send what waits, in order; returns how long to wait before the next turn, seconds."""
        try:
            due = self._due()
            for number, notice in enumerate(due):
                self._waits(due[number:])
                if (pause_s := self._send(notice)) is not None:
                    return pause_s
            self._waits(due[len(due) :])
            self._remind()
        except StoreUnavailable as error:
            log.error("database unavailable", cause=str(error))
            return self._later()
        except NotTaken as error:
            return self._not_taken("reminder", error)
        except Refused as error:
            log.error("a sink refuses to be reminded", sink=self.wanted.sink, answer=str(error))
        self._retry_s = 0.0
        return LOOK_EVERY_S

    def _due(self) -> Sequence[NoticeRow]:
        before = self._now() - timedelta(seconds=self.group_wait_s)
        return waiting(self.engine, self.wanted, before, AT_ONCE)

    def _send(self, notice: NoticeRow) -> float | None:
        """None where the next one may follow; else how long to wait."""
        message = self._message(notice)
        try:
            self.sink.send(message, self._now())
        except NotTaken as error:
            return self._not_taken(message.key, error)
        except Refused as error:
            log.error("notice refused", sink=self.wanted.sink, notice=message.key, answer=str(error))
            self._mark(notice, Outcome.REFUSED, str(error))
            return None
        self._mark(notice, Outcome.DELIVERED, "")
        log.info("told", sink=self.wanted.sink, notice=message.key, what=message.title)
        return None

    def _mark(self, notice: NoticeRow, outcome: Outcome, detail: str) -> None:
        delivered(self.engine, self.wanted.sink, notice.sequence, outcome, detail, self._now())
        self.metrics.tried(self.wanted.sink, outcome.value)
        self._retry_s = 0.0

    def _not_taken(self, what: str, error: NotTaken) -> float:
        pause_s = max(self._later(), error.retry_after_s or 0.0)
        self.metrics.tried(self.wanted.sink, NOT_TAKEN)
        log.warning("not taken", sink=self.wanted.sink, notice=what, cause=str(error), retry_in_s=round(pause_s, 1))
        return pause_s

    def _later(self) -> float:
        """Twice as long as before, up to a limit, give or take: sinks that come back are not run over."""
        self._retry_s = min(max(FIRST_RETRY_S, 2 * self._retry_s), MOST_RETRY_S)
        return self._retry_s * (0.75 + self.jitter() / 2)

    def _remind(self) -> None:
        now = self.clock.monotonic()
        if isinstance(self.sink, Forgetful) and now >= self._reminded_at + self.resend_s:
            rows = [row for row in list_incidents(self.engine, open_only=True) if self.wanted.concerns(row)]
            self.sink.remind([self._message(_standing(row)) for row in rows], self._now())
            self._reminded_at = now

    def _waits(self, notices: Sequence[NoticeRow]) -> None:
        longest = self._now() - notices[0].recorded_at if notices else timedelta(0)
        self.metrics.waits(self.wanted.sink, len(notices), longest.total_seconds())

    def _message(self, notice: NoticeRow) -> Message:
        row, alerts = incident(self.engine, notice.incident_id)
        return Message(notice, row, alerts)

    def _now(self) -> datetime:
        return instant(self.clock.now())


def _standing(row: IncidentRow) -> NoticeRow:
    """What there is to say of an incident that goes on."""
    return NoticeRow(0, row.id, row.fleet, Notice.OPENED, row.severity, row.opened_at, row.opened_at)


def start(dispatchers: Sequence[Dispatcher]) -> list[threading.Thread]:
    """Have each run on a thread of its own."""
    threads = [threading.Thread(target=each.run, name=f"sink-{each.wanted.sink}", daemon=True) for each in dispatchers]
    for thread in threads:
        thread.start()
    return threads
