"""What a daemon would commit, with a default for everything; name only what matters."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from sensord.detection.alerts import Alert, AlertChange, ChannelShare, Evidence, Kind, Severity, Status
from sensord.readings import DeadLetter, Partition
from sensord.store.devices import DeviceSeen
from sensord.store.progress import Checkpoint, Claim, LaterSnapshot

SECOND = 1_000_000
NOW = 1_764_000_000 * SECOND
P0, P1, P2 = (Partition("sensors.pumps", number) for number in range(3))

_ALERT = Alert(
    id=UUID(int=0),
    fleet="pumps",
    device_id="pump-7",
    kind=Kind.ANOMALY,
    status=Status.OPEN,
    severity=Severity.WARNING,
    opened_at=NOW,
    last_seen_at=NOW,
    closed_at=None,
    score_first=4.0,
    score_peak=4.0,
    score_last=4.0,
    threshold=3.0,
    readings=1,
    top_channels=(ChannelShare("temperature", "°C", 90.5, 71.25, 0.75), ChannelShare("current", "A", None, 3.0, 0.25)),
    evidence=Evidence(
        channels=("temperature", "current"),
        at=(NOW - SECOND, NOW),
        observed=((71.0, 3.0), (90.5, None)),
        expected=((71.0, 3.0), (71.25, 3.0)),
    ),
    model_id="pumps-1",
    run="live",
    topic="sensors.pumps",
    partition=0,
    first_offset=40,
    last_offset=40,
    close_reason=None,
)
_LETTER = DeadLetter(P0, 41, 0, "malformed", "no JSON", b"pump-7", b"\x00\xff{", NOW // 1000)


def alert(**fields: Any) -> Alert:
    """An open alert under an id of its own."""
    return replace(_ALERT, **{"id": uuid4()} | fields)


def opened(one: Alert | None = None) -> AlertChange:
    """A new alert."""
    return AlertChange(one or alert(), is_new=True, events=("opened",))


def moved(one: Alert, *events: str) -> AlertChange:
    """A known alert whose figures moved on."""
    return AlertChange(one, is_new=False, events=events)


def letter(**fields: Any) -> DeadLetter:
    """A dead letter of the first partition."""
    return replace(_LETTER, **fields)


def checkpoint(claim: Claim, next_offset: int = 100, **fields: Any) -> Checkpoint:
    """The next commit of whoever made this claim, with nothing in it."""
    empty = Checkpoint(claim.fleet, claim.partition, claim.epoch, claim.owner, claim.next_offset, next_offset, (), ())
    return replace(empty, **fields)


def later(claim: Claim, state_offset: int, **fields: Any) -> LaterSnapshot:
    """A snapshot beside the commits, by whoever made this claim, of one page and one device."""
    stands = claim.epoch, claim.owner, claim.state_offset, state_offset
    one = LaterSnapshot(claim.fleet, claim.partition, *stands, {0: b"new"}, (DeviceSeen("pump-8", NOW, NOW),))
    return replace(one, **fields)
