"""How the demo says times and reasons; for the terminal and the page."""

from datetime import datetime

from sensord.store.alerts import AlertRow


def because(alert: AlertRow) -> str:
    """The channels that weigh most."""
    return ", ".join(f"{share.channel.replace('_', ' ')} {share.share:.0%}" for share in alert.top_channels[:2])


def ending(alert: AlertRow) -> datetime:
    """When an alert closed, or was last seen."""
    return alert.closed_at or alert.last_seen_at


def clock(at: datetime) -> str:
    """The time of day."""
    return f"{at:%H:%M:%S}"


def from_to(start: datetime, end: datetime) -> str:
    """Two times of day."""
    return f"{clock(start)} to {clock(end)}"
