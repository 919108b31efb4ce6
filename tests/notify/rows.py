"""Alerts as daemons write them, for whoever tells of them."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from sensord.detection.alerts import Alert, AlertChange, ChannelShare, Reason, Severity, Status
from sensord.readings import Partition
from sensord.store.progress import Progress
from tests.store.rows import NOW, SECOND, alert, checkpoint

HEAT = (ChannelShare("temperature", "°C", 90.5, 71.25, 1.0),)
COLD = (ChannelShare("temperature", "°C", 50.5, 71.25, 1.0),)
NOISE = (ChannelShare("vibration", "mm/s", 9.0, 1.0, 0.9), ChannelShare("temperature", "°C", 72.0, 71.25, 0.1))


class Plant:
    """A daemon's writing, one commit a call; each device has a partition of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.progress = engine, Progress(engine)
        self.now = NOW
        self._alerts: dict[str, Alert] = {}
        self._offset = 0

    def opens(self, device: str, channels: tuple[ChannelShare, ...] = HEAT, **fields: Any) -> UUID:
        one = alert(device_id=device, opened_at=self.now, last_seen_at=self.now, top_channels=channels, **fields)
        self._alerts[device] = one
        self._commit(AlertChange(one, is_new=True, events=("opened",)))
        return one.id

    def escalates(self, device: str) -> None:
        self._alerts[device] = replace(self._alerts[device], severity=Severity.CRITICAL)
        self._commit(AlertChange(self._alerts[device], is_new=False, events=("escalated",)))

    def closes(self, device: str) -> None:
        last = self._alerts.pop(device)
        over = replace(last, status=Status.CLOSED, closed_at=self.now, close_reason=Reason.CLEARED)
        self._commit(AlertChange(over, is_new=False, events=("closed",)))

    def _commit(self, change: AlertChange) -> None:
        self._offset += 1
        claim = self.progress.claim("pumps", Partition("sensors.pumps", 0), "me", "", self.now)
        self.progress.commit([checkpoint(claim, self._offset, alerts=[change])], self.now)
        self.now += SECOND
