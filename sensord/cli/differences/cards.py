"""Cards of the page: an alert that one bundle raises alone, why, and its evidence as a picture."""

from collections.abc import Sequence
from html import escape

import numpy as np

from sensord.cli.differences.comparison import Change, Comparison
from sensord.cli.differences.wording import because
from sensord.cli.report.charts import Event, Line, Picture, draw
from sensord.cli.report.parts import badge
from sensord.detection.alerts import Alert, Evidence, Kind
from sensord.detection.differences import end_of
from sensord.readings import Floats
from sensord.store.schema import instant
from sensord.texts import figure, time_text

CHANNELS_SHOWN = 3
NAMES = ("first", "second")  # of a picture's rows: the bundle's place


def anchor(alert: Alert) -> str:
    """A name for links to an alert's card."""
    return f"alert-{alert.id}"


def card(comparison: Comparison, change: Change | None, alert: Alert, picture_name: str) -> str:
    """A <section>. picture_name: unique in the page."""
    name = escape(alert.device_id)
    mood = {Change.NEW: "warn", Change.OUTDATED: "good", None: "bad"}[change]
    badges = badge(mood, change.value if change else alert.kind.value)
    facts = "".join(f"<li>{fact}</li>" for fact in _facts(alert))
    return f"""<section class="card" id="{anchor(alert)}">
<div class="head"><h3>{name}</h3>{badges}</div>
<ul class="facts">{facts}</ul>
{_picture_of(comparison, alert, picture_name)}
</section>"""


def _facts(alert: Alert) -> list[str]:
    until = "still open" if alert.closed_at is None else f"until {time_text(instant(alert.closed_at))}"
    closed = f" ({alert.close_reason.value.replace('_', ' ')})" if alert.close_reason else ""
    score = f"score up to {figure(alert.score_peak)} against a threshold of {figure(alert.threshold)}"
    if alert.kind is Kind.SILENT:
        score = f"silent for {figure(alert.score_peak)} s; {figure(alert.threshold)} s are allowed"
    if alert.kind is Kind.DRIFT:
        gone, allowed = figure(alert.score_peak), figure(alert.threshold)
        score = f"its level has gone {gone} times as far as in health; {allowed} are allowed"
    told = [
        f"<b>{alert.severity.value} {alert.kind.value.replace('_', ' ')}</b> from "
        f"{time_text(instant(alert.opened_at))}, {until}{closed}; {score}.",
    ]
    if alert.top_channels:
        told.append(f"Because of {escape(because(alert.top_channels))}; {alert.readings} readings.")
    return told


def _picture_of(comparison: Comparison, alert: Alert, name: str) -> str:
    """Nothing where an alert has no evidence, as a silence."""
    evidence = alert.evidence
    if evidence is None or len(evidence.at) < 2:
        return ""
    drawn = draw(_picture(comparison, alert, evidence), name)
    label = f"{escape(alert.device_id)}: channels as observed and expected around the opening"
    return f'<div class="picture" role="img" aria-label="{label}">{drawn}</div>'


def _picture(comparison: Comparison, alert: Alert, evidence: Evidence) -> Picture:
    units = {share.channel: share.unit for share in alert.top_channels or ()}
    observed, expected = _columns(evidence.observed), _columns(evidence.expected)
    places = {channel: place for place, channel in enumerate(evidence.channels)}
    shown = [channel for channel in units if channel in places][:CHANNELS_SHOWN] or evidence.channels[:CHANNELS_SHOWN]
    lines = [
        Line(channel, units.get(channel, ""), observed[:, places[channel]], expected[:, places[channel]])
        for channel in shown
    ]
    first, second = comparison.first.alerts, () if comparison.second is None else comparison.second.alerts
    return Picture(
        at=np.array(evidence.at, np.int64),
        lines=lines,
        score=None,
        limit=None,
        faults=_events(first, alert, evidence),
        alerts=_events(second, alert, evidence),
        rows=NAMES,
        marked_at=instant(alert.opened_at),
    )


def _columns(rows: Sequence[Sequence[float | None]]) -> Floats:
    return np.array([[np.nan if cell is None else cell for cell in row] for row in rows], np.float32)


def _events(alerts: Sequence[Alert], of: Alert, evidence: Evidence) -> list[Event]:
    """The device's alerts while the evidence was taken."""
    return [
        Event(instant(each.opened_at), instant(end_of(each)), each.kind.value.replace("_", " "))
        for each in alerts
        if each.device_id == of.device_id and each.opened_at <= evidence.at[-1] and end_of(each) >= evidence.at[0]
    ]
