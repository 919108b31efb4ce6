"""Backtest: recorded readings through the daemon's own scoring code, as if a bundle had been current all along.

Used by `sensord replay --model`. A device's alerts follow from its own readings alone, so that devices are shared out
among cores, and how many there are makes no difference. Silence isn't judged: it is other devices that tell it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sensord.clock import MICROSECONDS
from sensord.detection.alerts import Alert, Reason, Run, Status
from sensord.detection.chronicle import Origin
from sensord.detection.fleet import Fleet, Limits, Outcome
from sensord.detection.reorder import Reorder
from sensord.model.bundle import Bundle
from sensord.readings import Partition, Readings
from sensord.trainer.offline import take_alerts
from sensord.trainer.tapes import EVER, Span, Tape
from sensord.trainer.threads import threaded

RUN = Run.REPLAY.value
DEVICES_AT_ONCE = 64  # of one worker, at most: they share what a bundle is prepared to


@dataclass(frozen=True, slots=True)
class Terms:
    """What a backtest takes from the fleet's settings: seconds of event time, as there."""

    max_gap_s: float = 300.0
    max_episode_s: float = 86_400.0
    allowed_lateness_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Scored:
    """alerts: as they stood in the end, by opening; none is open. readings: those that counted. late: those that came
    after a later one of their device, and were dropped."""

    bundle: Bundle
    alerts: list[Alert]
    readings: int
    late: int

    @property
    def device_days(self) -> float:
        """At the bundle's own pace."""
        return self.readings * self.bundle.manifest.period_s / 86_400


def score(
    bundle: Bundle,
    tapes: Sequence[Tape],
    span: Span = EVER,
    terms: Terms = Terms(),
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Scored:
    """Every tape under a bundle. workers: cores to use, all where None. progress: (readings done, of).

    Raises RecordingUnreadable where a channel is missing.
    """
    workers = workers or len(os.sched_getaffinity(0))
    shares = _shares(tapes, workers)
    total, done = sum(map(len, tapes)), 0
    alerts: list[Alert] = []
    readings = late = 0
    for held, part in threaded(partial(_scored, bundle, span, terms), shares, workers):
        alerts += part.alerts
        readings, late = readings + part.readings, late + part.late
        done += held
        progress(done, total)
    alerts.sort(key=lambda alert: (alert.opened_at, alert.device_id, alert.id))
    return Scored(bundle, alerts, readings, late)


def _shares(tapes: Sequence[Tape], workers: int) -> list[list[Tape]]:
    """Tapes of one partition each, so many shares that none of the workers is idle for long."""
    size = max(1, min(DEVICES_AT_ONCE, len(tapes) // (4 * workers)))
    of_partition: dict[Partition, list[Tape]] = {}
    for tape in tapes:
        of_partition.setdefault(tape.partition, []).append(tape)
    return [mine[first : first + size] for mine in of_partition.values() for first in range(0, len(mine), size)]


def _scored(bundle: Bundle, span: Span, terms: Terms, tapes: Sequence[Tape]) -> tuple[int, Scored]:
    """One device after another; and how many readings they have."""
    partition = tapes[0].partition
    origin = Origin(bundle.manifest.fleet, partition, "", RUN, f"{RUN}/{bundle.id}")
    fleet = Fleet(bundle, origin, Limits(terms.max_gap_s, terms.max_episode_s))
    reorder = Reorder(partition, len(bundle.channels), round(terms.allowed_lateness_s * MICROSECONDS))
    alerts: dict[object, Alert] = {}
    readings = late = 0
    for tape in tapes:
        for batch in _in_order(tape.readings(bundle, span), reorder):
            seen = fleet.observe(batch)
            take_alerts(fleet, alerts)
            dropped = seen.count(Outcome.LATE)
            readings, late = readings + len(batch) - dropped, late + dropped
    return sum(map(len, tapes)), Scored(bundle, list(map(_ended, alerts.values())), readings, late)


def _in_order(batches: Iterable[Readings], reorder: Reorder) -> Iterator[Readings]:
    """A device's readings as the daemon would hand them out."""
    for batch in batches:
        yield reorder.take(batch)
    yield reorder.rest()


def _ended(alert: Alert) -> Alert:
    """Closed with its recording where it is still open."""
    if alert.status is Status.CLOSED:
        return alert
    return replace(alert, status=Status.CLOSED, closed_at=alert.last_seen_at, close_reason=Reason.ENDED)
