"""What detection says to the rest of the house: alerts and what changed about them.

Made by `episodes`, stored by `store`, shown by `cli`.
"""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Kind(StrEnum):
    """What sort of thing happened."""

    ANOMALY = "anomaly"
    SPIKE = "spike"
    OUT_OF_RANGE = "out_of_range"
    STUCK = "stuck"
    SILENT = "silent"
    DRIFT = "drift"


class Status(StrEnum):
    """Where an episode stands."""

    OPEN = "open"
    CLOSED = "closed"


class Severity(StrEnum):
    """How far beyond the threshold the peak lies."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class ChannelShare:
    """One channel's part in a score: observed and expected in the channel's unit; shares of an alert sum to 1."""

    channel: str
    unit: str
    observed: float | None
    expected: float | None
    share: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """The readings around the opening: at (n,) microseconds UTC; observed and expected n rows of channels."""

    channels: tuple[str, ...]
    at: tuple[int, ...]
    observed: tuple[tuple[float | None, ...], ...]
    expected: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode, as its row will read. Times are microseconds UTC of event time; `readings` counts the episode's."""

    id: UUID
    fleet: str
    device_id: str
    kind: Kind
    status: Status
    severity: Severity
    opened_at: int
    last_seen_at: int
    closed_at: int | None
    score_first: float
    score_peak: float
    score_last: float
    threshold: float
    readings: int
    top_channels: tuple[ChannelShare, ...]
    evidence: Evidence
    model_id: str
    run: str
    topic: str
    partition: int
    first_offset: int
    last_offset: int
    close_reason: str | None


@dataclass(frozen=True, slots=True)
class AlertChange:
    """What a commit has to write for one alert.

    is_new: the row doesn't exist yet. events: what happened since the last commit, in order, out of opened,
    escalated, closed; empty where only figures moved on.
    """

    alert: Alert
    is_new: bool
    events: tuple[str, ...]
