"""Windows: times of maintenance and the like, of which alerts are suppressed and training leaves the readings out.

Used by `suppression`, which marks the alerts, and by `cli`.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, Engine, select

from sensord.detection.alerts import Kind
from sensord.store.database import glob_pattern, reading, row_as
from sensord.store.schema import windows


class WindowKind(StrEnum):
    """Why nobody should be told, nor anything be learned."""

    MAINTENANCE = "maintenance"
    EXCLUDE = "exclude"


@dataclass(frozen=True, slots=True)
class Span:
    """When an alert of a kind was, event time. told_at: its opening; of a silence, when the device was missed."""

    told_at: datetime
    ended_at: datetime

    @classmethod
    def of(
        cls, kind: str, threshold: float, opened_at: datetime, last_seen_at: datetime, closed_at: datetime | None
    ) -> "Span":
        if kind != Kind.SILENT:
            return cls(opened_at, last_seen_at)
        missed_at = opened_at + timedelta(seconds=threshold)
        return cls(missed_at, closed_at or missed_at)


@dataclass(frozen=True, slots=True)
class WindowTime:
    """When a window is, from_at <= t < to_at, and of which devices: a glob; None: all."""

    device: str | None
    from_at: datetime
    to_at: datetime

    def concerns(self, device_id: str) -> bool:
        return _names(self.device, device_id)


@dataclass(frozen=True, slots=True)
class Window:
    """One row of `windows`: from_at <= t < to_at, aware UTC. device: a glob of * and ?; None: all of the fleet."""

    id: int
    fleet: str
    device: str | None
    from_at: datetime
    to_at: datetime
    kind: WindowKind
    comment: str | None
    created_by: str
    created_at: datetime

    def holds(self, device_id: str, span: Span) -> bool:
        """Whether an alert of this fleet lies in it from its opening on; one that outlasts it does not."""
        return _names(self.device, device_id) and self.from_at <= span.told_at and span.ended_at < self.to_at


def _names(device: str | None, device_id: str) -> bool:
    return device is None or re.fullmatch(glob_pattern(device), device_id) is not None


def list_windows(engine: Engine, fleet: str | None = None, limit: int | None = None) -> list[Window]:
    """The latest first. Raises StoreUnavailable."""
    chosen = select(windows).order_by(windows.c.from_at.desc(), windows.c.id.desc()).limit(limit)
    if fleet is not None:
        chosen = chosen.where(windows.c.fleet == fleet)
    with reading(engine) as connection:
        return [row_as(Window, row) for row in connection.execute(chosen)]


def times(engine: Engine, fleet: str) -> list[WindowTime]:
    """When the windows of a fleet are, and of whom; no more columns than a trainer may see. Raises StoreUnavailable."""
    w = windows.c
    with reading(engine) as connection:
        rows = connection.execute(select(w.device, w.from_at, w.to_at).where(w.fleet == fleet).order_by(w.from_at))
        return [row_as(WindowTime, row) for row in rows]


def within(connection: Connection, fleets: Collection[str], first: datetime, last: datetime) -> list[Window]:
    """Windows of these fleets that the time from first to last touches, the oldest row first."""
    touched = windows.c.fleet.in_(fleets), windows.c.from_at <= last, windows.c.to_at > first
    chosen = select(windows).where(*touched).order_by(windows.c.id)
    return [row_as(Window, row) for row in connection.execute(chosen)]
