"""The report's cards: what happened to one device, why it alerted, and a picture of it."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from html import escape

from sensord.cli.demo.findings import Findings, Track, rows_between
from sensord.cli.demo.truth import PlantedFault
from sensord.cli.demo.wording import clock, ending, from_to
from sensord.cli.report.charts import Event, Line, Picture, around, draw
from sensord.cli.report.parts import badge, legend
from sensord.store.alerts import AlertRow
from sensord.store.schema import microseconds
from sensord.texts import duration, figure
from sensord.trainer.events import GRACE_READINGS

CHANNELS_SHOWN = 3
SHARES_SHOWN = 4
BEFORE, AFTER = 150, 90  # readings around the events of a picture


def cards(findings: Findings, progress: Callable[[int, int], None]) -> str:
    """A card for each device with a fault or an alert, in order of time. progress: (pictures drawn, of)."""
    keys = (
        ("stroke", "--observed", "observed"),
        ("stroke", "--expected", "expected from the state"),
        ("stroke", "--score", "score"),
        ("dashes", "--limit", "threshold"),
        ("", "--fault", "planted fault"),
        ("", "--alert", "alert"),
    )
    devices = findings.devices_concerned
    parts = [legend(*keys)]
    for number, device in enumerate(devices, start=1):
        parts.append(_card(findings, device, f"picture{number}"))
        progress(number, len(devices))
    return "\n".join(parts)


def _card(findings: Findings, device: str, picture_name: str) -> str:
    faults, alerts = findings.of(device)
    false = [alert for alert in findings.false if alert.device_id == device]
    badges = [
        badge("good", f"{fault.name}: found") if findings.alerts_of(fault) else badge("bad", f"{fault.name}: missed")
        for fault in faults
    ] + [badge("warn", "false alert") for _ in false]
    facts = [f"<li>{_told(findings, fault)}</li>" for fault in faults]
    facts += [
        f"<li>Alert from {from_to(alert.opened_at, ending(alert))} though nothing was wrong.</li>" for alert in false
    ]
    shares = _shares(alerts[0]) if alerts else ""
    picture = _picture(findings, findings.tracks[device], faults, alerts)
    name = escape(device)
    return f"""<section class="card" id="{name}">
<div class="head"><h3>{name}</h3>{"".join(badges)}</div>
<ul class="facts">{"".join(facts)}</ul>
{shares}
<div class="picture" role="img" aria-label="{name}: channels and score">{draw(picture, picture_name)}</div>
</section>"""


def _told(findings: Findings, fault: PlantedFault) -> str:
    """One fault's story."""
    what = f"<b>{escape(fault.name.capitalize())}</b> from {from_to(fault.start_at, fault.end_at)}"
    alerts = findings.alerts_of(fault)
    delay = findings.delay(fault)
    if delay is None:
        return f"{what}. No alert: {_nearest(findings, fault)}."
    alert, readings = alerts[0], round(delay / timedelta(microseconds=findings.period_us))
    when = f"{duration(delay)} ({readings} readings) later" if delay >= timedelta(0) else "already open"
    more = f"; {len(alerts) - 1} more alerts followed" if len(alerts) > 1 else ""
    return (
        f"{what}. Alert opened at {clock(alert.opened_at)}, <b>{when}</b>; {alert.severity.value}, score up to "
        f"{figure(alert.score_peak)} against a threshold of {figure(alert.threshold)}{more}."
    )


def _nearest(findings: Findings, fault: PlantedFault) -> str:
    """How close a missed fault came."""
    track, span = findings.tracks[fault.device_id], fault.span
    rows = rows_between(track, span.start_at, span.end_at + round(GRACE_READINGS * findings.period_us))
    score, limit = track.seen.score[rows], track.seen.limit[rows]
    scored = limit > 0  # NaN isn't
    share = float((score[scored] / limit[scored]).max()) if scored.any() else 0.0
    return f"the score came to {share:.0%} of the threshold at most"


def _shares(alert: AlertRow) -> str:
    boxes = []
    for share in alert.top_channels[:SHARES_SHOWN]:
        unit = f" {share.unit}" if share.unit else ""
        boxes.append(
            f'<div class="share"><div><span>{escape(share.channel.replace("_", " "))}</span>'
            f"<span>{share.share:.0%}</span></div>"
            f'<span class="meter"><i style="width:{share.share:.1%}"></i></span>'
            f"<small>{figure(share.observed)}{escape(unit)} observed, {figure(share.expected)} expected</small></div>"
        )
    return f'<div class="shares">{"".join(boxes)}</div>'


def _picture(findings: Findings, track: Track, faults: Sequence[PlantedFault], alerts: Sequence[AlertRow]) -> Picture:
    fault_events = [Event(fault.start_at, fault.end_at, fault.name) for fault in faults]
    alert_events = [Event(alert.opened_at, ending(alert), alert.severity.value) for alert in alerts]
    period = timedelta(microseconds=findings.period_us)
    start, end = around([*fault_events, *alert_events], BEFORE * period, AFTER * period)
    rows = rows_between(track, microseconds(start), microseconds(end))
    channels = {channel.name: channel.unit for channel in findings.bundle.manifest.channels}
    columns = {name: column for column, name in enumerate(channels)}
    lines = [
        Line(name, channels[name], track.recorded.values[rows, columns[name]], track.seen.expected[rows, columns[name]])
        for name in _channels(faults, alerts)
    ]
    at, seen = track.recorded.at[rows], track.seen
    return Picture(at, lines, seen.score[rows], seen.limit[rows], fault_events, alert_events)


def _channels(faults: Sequence[PlantedFault], alerts: Sequence[AlertRow]) -> list[str]:
    """The channels that the alerts name first; without an alert, those that the fault touched."""
    largest: dict[str, float] = {}
    for alert in alerts:
        for share in alert.top_channels:
            largest[share.channel] = max(share.share, largest.get(share.channel, 0.0))
    ranked = sorted(largest, key=lambda name: -largest[name])
    return (ranked or list(dict.fromkeys(name for fault in faults for name in fault.channels)))[:CHANNELS_SHOWN]
