"""How the demo says times, verdicts and reasons; for the terminal and the page."""

from datetime import datetime, timedelta
from html import escape

from sensord.store.alerts import AlertRow


def because(alert: AlertRow) -> str:
    """The channels that weigh most."""
    return ", ".join(f"{share.channel.replace('_', ' ')} {share.share:.0%}" for share in alert.top_channels[:2])


def badge(mood: str, text: str) -> str:
    """mood: good, bad or warn."""
    return f'<span class="badge {mood}">{escape(text)}</span>'


def link(device: str) -> str:
    """To the device's card."""
    return f'<a href="#{escape(device)}">{escape(device)}</a>'


def ending(alert: AlertRow) -> datetime:
    """When an alert closed, or was last seen."""
    return alert.closed_at or alert.last_seen_at


def clock(at: datetime) -> str:
    """The time of day."""
    return f"{at:%H:%M:%S}"


def from_to(start: datetime, end: datetime) -> str:
    """Two times of day."""
    return f"{clock(start)} to {clock(end)}"


def duration(span: timedelta) -> str:
    """Minutes and seconds, as people say them."""
    seconds = round(abs(span).total_seconds())
    sign = "−" if span < timedelta(0) else ""
    return f"{sign}{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{sign}{seconds} s"
