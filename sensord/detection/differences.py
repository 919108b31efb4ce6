"""Two bundles' alerts on the same readings, held against each other: which both raise, and which only one.

Pure; used by `sensord replay --against` and `sensord model diff`.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sensord.clock import MICROSECONDS
from sensord.detection.alerts import BESIDE_EPISODES, Alert, Kind

SLACK_READINGS = 5  # so far apart may two alerts be that are taken for one: no more than it takes to open one

Pair = tuple[Alert, Alert]  # the first's and the second's


@dataclass(frozen=True, slots=True)
class Differences:
    """same: alerts of both, as pairs. outdated: of the first alone. new: of the second alone. Each by opening."""

    same: tuple[Pair, ...]
    outdated: tuple[Alert, ...]
    new: tuple[Alert, ...]


def slack_us(period_s: float) -> int:
    """How far apart the same alert may be at one reading every period_s."""
    return round(SLACK_READINGS * period_s * MICROSECONDS)


def compare(first: Sequence[Alert], second: Sequence[Alert], slack_us: int = 0) -> Differences:
    """Match the alerts of each device that overlap in time, one to one, those that share most of it first.

    An alert lasts until it was closed, or last seen while it is open. slack_us: so far may the end of one be before the
    beginning of the other. A silence goes with a silence alone: it may stand beside another alert of its device. The
    order of the alerts doesn't matter, and the other way round is the mirror image.
    """
    pairs = sorted(_candidates(first, second, slack_us), key=_preference)
    taken_first: set[object] = set()
    taken_second: set[object] = set()
    same = []
    for one, other in pairs:
        if one.id not in taken_first and other.id not in taken_second:
            same.append((one, other))
            taken_first.add(one.id)
            taken_second.add(other.id)
    return Differences(
        tuple(sorted(same, key=lambda pair: _place(pair[0]))),
        tuple(sorted((alert for alert in first if alert.id not in taken_first), key=_place)),
        tuple(sorted((alert for alert in second if alert.id not in taken_second), key=_place)),
    )


def end_of(alert: Alert) -> int:
    """When it was closed, or last seen; microseconds UTC."""
    return alert.last_seen_at if alert.closed_at is None else alert.closed_at


def _candidates(first: Sequence[Alert], second: Sequence[Alert], slack_us: int) -> Iterator[Pair]:
    """All that may be the same."""
    of_device: dict[tuple[str, Kind | None], list[Alert]] = defaultdict(list)
    for other in second:
        of_device[_track(other)].append(other)
    for one in first:
        for other in of_device.get(_track(one), ()):
            if _shared(one, other) >= -slack_us:
                yield one, other


def _track(alert: Alert) -> tuple[str, Kind | None]:
    return alert.device_id, alert.kind if alert.kind in BESIDE_EPISODES else None


def _shared(one: Alert, other: Alert) -> int:
    """How long both last together; less than 0: so long after the end of one the other begins."""
    return min(end_of(one), end_of(other)) - max(one.opened_at, other.opened_at)


def _preference(pair: Pair) -> tuple[object, ...]:
    one, other = pair
    apart = abs(one.opened_at - other.opened_at)
    return -_shared(one, other), apart, *sorted((_place(one), _place(other)))


def _place(alert: Alert) -> tuple[int, str, str]:
    return alert.opened_at, alert.device_id, str(alert.id)
