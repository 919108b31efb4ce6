"""What detection says to the rest of the house: alerts and what changed about them.

Made by `episodes`, stored by `store`, shown by `cli`.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self
from uuid import UUID

from sensord.detection.forecast import Forecast


class Kind(StrEnum):
    """What sort of thing happened."""

    ANOMALY = "anomaly"  # the score: readings that don't follow from the device's state
    SPIKE = "spike"  # a single surprise, larger than any in a while
    OUT_OF_RANGE = "out_of_range"  # a channel beyond all that was ever seen of it
    STUCK = "stuck"  # a channel that moves less than it ever did
    OFF_PROFILE = "off_profile"  # a level that isn't usual at this hour of the day
    SILENT = "silent"  # no readings, while others go on
    DRIFT = "drift"  # a level that has gone, slowly, farther than ever in health


BESIDE_EPISODES = (Kind.SILENT, Kind.DRIFT)  # a device may have one of these, and an episode at the same time


EVENTS = ("opened", "escalated", "closed")  # what the daemon says of an alert


class Reason(StrEnum):
    """Why an alert was closed."""

    CLEARED = "cleared"  # calm again
    GAP = "gap"  # the device was away too long to say
    RESET = "reset"  # its state came out non-finite and was reset
    NEW_NORMAL = "new_normal"  # open for too long: what it shows is normal from now on
    ACCEPTED = "accepted"  # a person said so
    RETURNED = "returned"  # a silent device speaks again
    STEADY = "steady"  # a device that drifted is back at its level
    REPLACED = "replaced"  # another bundle is current, which may know of the drift
    EVICTED = "evicted"  # its device made room for others
    WITHDRAWN = "withdrawn"  # a shadow's, whose bundle is scored no more
    ENDED = "ended"  # what was recorded ends; nothing would ever close it


class Run(StrEnum):
    """On whose behalf readings are scored."""

    LIVE = "live"
    REPLAY = "replay"
    SHADOW = "shadow"  # beside the live one, by a bundle that is on trial


class Status(StrEnum):
    """Where an episode stands."""

    OPEN = "open"
    CLOSED = "closed"


class Severity(StrEnum):
    """How urgent it is: by the peak beyond its limit, by how long it lasts and still rises, by a limit that is near."""

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
    """The readings around the opening: at (n,) microseconds UTC; observed and expected n rows of channels; ratio (n,):
    the score by its limit, empty in rows of before."""

    channels: tuple[str, ...]
    at: tuple[int, ...]
    observed: tuple[tuple[float | None, ...], ...]
    expected: tuple[tuple[float | None, ...], ...]
    ratio: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode, as its row will read. Times are microseconds UTC of event time; `readings` counts the episode's.

    top_channels and evidence are None where what is stored already stays as it is; a new alert has both.
    """

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
    top_channels: tuple[ChannelShare, ...] | None
    evidence: Evidence | None
    model_id: str
    run: str
    topic: str
    partition: int
    first_offset: int
    last_offset: int
    close_reason: Reason | None
    forecast: Forecast | None = None  # of an open drift

    def keeping(self, earlier: Self) -> Self:
        """This alert, with an earlier one's explanation and evidence where it brings none itself."""
        return replace(
            self,
            top_channels=self.top_channels or earlier.top_channels,
            evidence=self.evidence or earlier.evidence,
        )


@dataclass(frozen=True, slots=True)
class AlertChange:
    """What a commit has to write for one alert.

    is_new: the row doesn't exist yet. events: what happened since the last commit, in order, out of opened,
    escalated, closed; empty where only figures moved on.
    """

    alert: Alert
    is_new: bool
    events: tuple[str, ...]
