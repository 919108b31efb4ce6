"""What is said of an incident: in words for people, and in Alertmanager's form for programs. Used by the sinks."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sensord.clock import MICROSECONDS
from sensord.detection.alerts import ChannelShare, Status
from sensord.detection.forecast import Forecast
from sensord.store.alerts import AlertRow
from sensord.store.incidents import IncidentRow, Notice
from sensord.store.notices import NoticeRow
from sensord.store.schema import instant

NAMED = 5  # devices that a title or a text names
MOST = 100  # alerts that one body holds: the worst; of the others it tells the number
NEVER = datetime(1, 1, 1, tzinfo=UTC)  # how Alertmanager writes that something has not ended


@dataclass(frozen=True, slots=True)
class Message:
    """A notice with its incident and alerts as they are now."""

    notice: NoticeRow
    incident: IncidentRow
    alerts: Sequence[AlertRow]

    @property
    def key(self) -> str:
        """The same whenever and wherever it is sent; of no other notice, not even of another database's."""
        return f"sensord-notice-{self.notice.sequence}-{_microseconds(self.notice.recorded_at):x}"

    @property
    def worst(self) -> Sequence[AlertRow]:
        """The alerts, the worst first."""
        return sorted(self.alerts, key=_ratio, reverse=True)

    @property
    def title(self) -> str:
        word = {Notice.OPENED: self.notice.severity.value, Notice.ESCALATED: "now critical", Notice.RESOLVED: "over"}
        return f"[{word[self.notice.notice]}] {self.incident.fleet}: {self.who}, {self._what}"

    @property
    def who(self) -> str:
        """The devices, by name as long as they are few."""
        names = list(dict.fromkeys(alert.device_id for alert in self.alerts))
        return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")

    @property
    def _what(self) -> str:
        kinds = dict.fromkeys(alert.kind.value.replace("_", " ") for alert in self.alerts)
        return ", ".join(kinds)

    @property
    def text(self) -> str:
        """A line a device, the worst first."""
        lines = [story(alert) for alert in self.worst[:NAMED]]
        if len(self.alerts) > NAMED:
            lines.append(f"and {len(self.alerts) - NAMED} more: sensord incidents show {self.incident.id}")
        return "\n".join(lines)


def story(alert: AlertRow) -> str:
    """One alert in one sentence: since when, how badly, which channels, what was expected."""
    how = f"{_ratio(alert):.1f} times its limit" if alert.threshold > 0 else "beyond its limit"
    since = f"{alert.opened_at:%Y-%m-%d %H:%M:%S} UTC"
    until = "" if alert.closed_at is None else f", until {alert.closed_at:%H:%M:%S}"
    why = "; ".join(_channel(share) for share in alert.top_channels[:2])
    ahead = "" if alert.forecast is None else f"; reaches {alert.forecast.limit:g} {_when(alert.forecast)}"
    return f"{alert.device_id}: {alert.kind.value.replace('_', ' ')}, {how} since {since}{until}. {why}{ahead}".rstrip(
        ". "
    )


def _when(ahead: Forecast) -> str:
    at, earliest, latest = (
        instant(each).strftime("%Y-%m-%d %H:%M") for each in (ahead.at, ahead.earliest, ahead.latest)
    )
    return f"about {at} UTC (between {earliest} and {latest})"


def _channel(share: ChannelShare) -> str:
    if share.observed is None:
        return f"{share.channel} says nothing"
    expected = "" if share.expected is None else f", expected {share.expected:.4g}"
    return f"{share.channel} {share.observed:.4g} {share.unit}{expected} ({share.share:.0%})"


def _ratio(alert: AlertRow) -> float:
    return alert.score_peak / alert.threshold if alert.threshold > 0 else alert.score_peak


def _microseconds(at: datetime) -> int:
    return round(at.timestamp() * MICROSECONDS)


# --- Alertmanager's form ---------------------------------------------------------------------------------------------


def labels(alert: AlertRow, incident: IncidentRow) -> dict[str, str]:
    """What Alertmanager knows an alert by; the same from its beginning to its end, but for its severity."""
    return {
        "alertname": "SensordAlert",
        "fleet": alert.fleet,
        "device": alert.device_id,
        "alert": alert.id.hex,
        "incident": str(incident.id),
        "severity": incident.severity.value,
    }


def annotations(alert: AlertRow) -> dict[str, str]:
    """What people read."""
    because = alert.top_channels[0].channel if alert.top_channels else ""
    return {
        "summary": f"{alert.device_id}: {alert.kind.value.replace('_', ' ')}",
        "description": story(alert),
        "because_of": because,
        "bundle": alert.model_id,
        "offsets": f"{alert.topic}[{alert.partition}] {alert.first_offset} to {alert.last_offset}",
    }


def webhook_body(message: Message, receiver: str) -> dict[str, Any]:
    """Alertmanager's webhook body, version 4, with the notice beside it. As JSON."""
    incident = message.incident
    alerts = message.alerts if len(message.alerts) <= MOST else message.worst[:MOST]
    told = [
        {
            "status": "firing" if alert.status is Status.OPEN else "resolved",
            "labels": labels(alert, incident),
            "annotations": annotations(alert),
            "startsAt": alert.opened_at.isoformat(),
            "endsAt": (alert.closed_at or NEVER).isoformat(),
            "generatorURL": "",
            "fingerprint": hashlib.sha256(alert.id.bytes).hexdigest()[:16],
        }
        for alert in alerts
    ]
    return {
        "version": "4",
        "groupKey": f"sensord/incident/{incident.id}/{_microseconds(incident.opened_at):x}",
        "truncatedAlerts": len(message.alerts) - len(alerts),
        "status": "resolved" if message.notice.notice is Notice.RESOLVED else "firing",
        "receiver": receiver,
        "groupLabels": {"fleet": incident.fleet, "incident": str(incident.id)},
        "commonLabels": _common([one["labels"] for one in told]),
        "commonAnnotations": {"summary": message.title, "description": message.text},
        "externalURL": "",
        "alerts": told,
        "sensord": {
            "key": message.key,
            "notice": message.notice.notice.value,
            "severity": message.notice.severity.value,
            "devices": incident.devices,
            "at": message.notice.at.isoformat(),
        },
    }


def _common(sets: Sequence[Any]) -> Mapping[str, str]:
    first, *rest = sets or [{}]
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in rest)}
