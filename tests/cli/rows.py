"""Rows that the commands' tests find in their database, and what running a command gives."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from sensord.clock import MICROSECONDS
from sensord.detection.alerts import Alert, AlertChange, ChannelShare, Evidence, Kind, Reason, Severity, Status
from sensord.readings import DeadLetter, Partition
from sensord.store.database import open_engine, upgrade
from sensord.store.devices import DeviceSeen
from sensord.store.progress import Checkpoint, Progress

NOON = 1_795_435_200 * MICROSECONDS  # 2026-11-23T12:00:00Z
FIRST, SECOND = UUID(int=0xAAAA << 112 | 1), UUID(int=0xBBBB << 112 | 2)
PARTITION = Partition("sensors.pumps", 0)
HOSTILE = "pump-\x1b[2J\u202e7"


@dataclass(frozen=True, slots=True)
class Ended:
    """A finished command."""

    code: int
    out: str
    err: str


Sensord = Callable[..., Ended]


def fill(url: str) -> None:
    """Two alerts, two devices and a dead letter, written as the daemon does."""
    engine = open_engine(url)
    upgrade(engine)
    progress = Progress(engine)
    claim = progress.claim("pumps", PARTITION, "test", "", NOON)
    later = NOON + MICROSECONDS
    first = alert(FIRST, "pump-1", Status.OPEN, Severity.CRITICAL, NOON)
    second = alert(SECOND, HOSTILE, Status.CLOSED, Severity.WARNING, later)
    checkpoint = Checkpoint(
        fleet="pumps",
        partition=PARTITION,
        epoch=claim.epoch,
        owner=claim.owner,
        previous_offset=None,
        next_offset=100,
        alerts=[AlertChange(first, True, ("opened", "escalated")), AlertChange(second, True, ("opened", "closed"))],
        dead_letters=[DeadLetter(PARTITION, 7, 0, "malformed", "not JSON", b"key", b"{oops", 1_795_435_200_000)],
        devices=[DeviceSeen("pump-1", NOON, NOON), DeviceSeen(HOSTILE, NOON, later)],
    )
    progress.commit([checkpoint], later + MICROSECONDS)
    engine.dispose()


def alert(alert_id: UUID, device_id: str, status: Status, severity: Severity, at: int) -> Alert:
    """An alert as detection would draft it."""
    closed = status is Status.CLOSED
    return Alert(
        id=alert_id,
        fleet="pumps",
        device_id=device_id,
        kind=Kind.ANOMALY,
        status=status,
        severity=severity,
        opened_at=at,
        last_seen_at=at + MICROSECONDS,
        closed_at=at + MICROSECONDS if closed else None,
        score_first=1.5,
        score_peak=4.25,
        score_last=2.0,
        threshold=1.0,
        readings=9,
        top_channels=(
            ChannelShare("vibration", "mm/s", 7.5, 2.5, 0.75),
            ChannelShare("temperature", "°C", None, 71.5, 0.25),
        ),
        evidence=Evidence(
            ("temperature", "vibration"),
            (at - MICROSECONDS, at),
            ((71.0, 2.5), (None, 7.5)),
            ((71.0, 2.5), (71.5, 2.5)),
        ),
        model_id="pumps-0123456789ab",
        run="live",
        topic=PARTITION.topic,
        partition=PARTITION.number,
        first_offset=40,
        last_offset=60,
        close_reason=Reason.CLEARED if closed else None,
    )
