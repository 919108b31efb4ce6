"""Curves as the page's script draws them: JSON in the page, of an alert's evidence or a device's last readings."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
import numpy as np
from markupsafe import Markup

from sensord.clock import MICROSECONDS
from sensord.detection.device_pages import Glimpse
from sensord.settings import LimitSettings
from sensord.store.alerts import AlertRow
from sensord.store.schema import microseconds
from sensord.texts import printable

Row = Sequence[float | None]


class Channel(msgspec.Struct, frozen=True):
    """One picture. expected: empty: none is drawn. limits: lines across."""

    name: str
    unit: str
    observed: Row
    expected: Row
    limits: Sequence[float]


class Span(msgspec.Struct, frozen=True):
    """When an alert was, seconds; until: None: it is open."""

    since: float
    until: float | None
    severity: str


class Curves(msgspec.Struct, frozen=True):
    """at: seconds UTC. The first picture is the score, in limits, where it is known."""

    at: Sequence[float]
    channels: Sequence[Channel]
    spans: Sequence[Span]

    def script(self) -> Markup:
        """As it may stand in a page."""
        text = msgspec.json.encode(self).decode()
        return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))  # noqa: S704


def of_alert(alert: AlertRow, limits: Mapping[str, LimitSettings]) -> Curves:
    """The readings around an alert's opening; the channels that weigh most first."""
    evidence = alert.evidence
    units = {share.channel: share.unit for share in alert.top_channels}
    order = [share.channel for share in alert.top_channels if share.channel in evidence.channels]
    order += [name for name in evidence.channels if name not in order]
    channels = [
        _channel(
            name,
            units.get(name, ""),
            [row[evidence.channels.index(name)] for row in evidence.observed],
            [row[evidence.channels.index(name)] for row in evidence.expected],
            limits,
        )
        for name in order
    ]
    return Curves(_seconds(evidence.at), [*_score(evidence.ratio), *channels], [_span(alert)])


def of_device(
    seen: Glimpse,
    channels: Sequence[tuple[str, str]],
    alerts: Sequence[AlertRow],
    limits: Mapping[str, LimitSettings],
) -> Curves:
    """A device's last readings. channels: names and units, in order."""
    observed, expected = _rows(seen.observed), _rows(seen.expected)
    drawn = [
        _channel(name, unit, [row[j] for row in observed], [row[j] for row in expected], limits)
        for j, (name, unit) in enumerate(channels)
        if j < seen.observed.shape[1]
    ]
    ratio = [None if np.isnan(value) else float(value) for value in seen.ratio]
    first = float(seen.at[0]) / MICROSECONDS if len(seen.at) else 0.0
    spans = [span for alert in alerts if (span := _span(alert)).until is None or span.until > first]
    return Curves(_seconds(seen.at.tolist()), [*_score(ratio), *drawn], spans)


def _channel(name: str, unit: str, observed: Row, expected: Row, limits: Mapping[str, LimitSettings]) -> Channel:
    limit = limits.get(name)
    lines = [] if limit is None else [end for end in (limit.low, limit.high) if end is not None]
    return Channel(printable(name), printable(unit), observed, expected, lines)


def _score(ratio: Row) -> list[Channel]:
    known = any(value is not None for value in ratio)
    return [Channel("score", "limits", ratio, (), [1.0])] if known else []


def _span(alert: AlertRow) -> Span:
    until = None if alert.closed_at is None else _second(alert.closed_at)
    return Span(_second(alert.opened_at), until, alert.severity.value)


def _second(at: datetime) -> float:
    return microseconds(at) / MICROSECONDS


def _seconds(at: Sequence[int]) -> list[float]:
    return [each / MICROSECONDS for each in at]


def _rows(values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]
