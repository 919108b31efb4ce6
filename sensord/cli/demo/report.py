"""The demo's report: one HTML file that needs nothing else, with a picture of every device that alerted or should have.

`page` puts it together; everything below makes a part of it.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from statistics import median

from sensord import __version__
from sensord.cli.demo.charts import Event, Line, Picture, around, draw
from sensord.cli.demo.findings import Findings, Track, rows_between
from sensord.cli.demo.truth import PlantedFault
from sensord.cli.output import figure
from sensord.store.alerts import AlertRow
from sensord.store.schema import microseconds
from sensord.trainer.events import GRACE_READINGS

CHANNELS_SHOWN = 3
SHARES_SHOWN = 4
BEFORE, AFTER = 150, 90  # readings around the events of a picture
STYLE = Path(__file__).with_name("report.css")


def page(findings: Findings, facts: Sequence[str], progress: Callable[[int, int], None] = lambda done, of: None) -> str:
    """The whole page. facts: how it came about, a sentence each, for the foot. progress: (pictures done, of)."""
    truth = findings.truth
    title = f"{truth.devices} pumps, {len(truth.faults)} planted faults"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>sensord demo: {escape(title)}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
<h1>sensord demo: {escape(title)}</h1>
<p class="muted">What the daemon put into its alerts table, held against what the simulation planted. Times are UTC.</p>
{_summary(findings)}
<h2>The fleet</h2>
{_timeline(findings)}
<h2>Faults and alerts</h2>
{_table(findings)}
<h2>Device by device</h2>
{_cards(findings, progress)}
<footer>{"".join(f"<p>{escape(fact)}</p>" for fact in facts)}<p>sensord {escape(__version__)}.</p></footer>
</main>
</body>
</html>
"""


# --- the whole -------------------------------------------------------------------------------------------------------


def _summary(findings: Findings) -> str:
    found, planted, false = findings.matching.found, len(findings.truth.faults), len(findings.false)
    delays = [delay for fault in findings.truth.faults if (delay := findings.delay(fault)) is not None]
    boxes = [
        ("good" if found == planted else "", f"{found} of {planted}", "faults found"),
        ("bad" if false else "good", f"{false}", "false alerts"),
        ("", duration(_median(delays)) if delays else "–", "median delay"),
        ("", f"{findings.readings:,}", "live readings"),
        ("", f"{len(findings.tracks)}", f"devices, {len(findings.bundle.channels)} channels"),
        ("", findings.bundle.id, "bundle"),
    ]
    return f'<div class="summary">{"".join(_box(*box) for box in boxes)}</div>'


def _median(delays: Sequence[timedelta]) -> timedelta:
    return timedelta(seconds=median(delay.total_seconds() for delay in delays))


def _box(mood: str, value: str, label: str) -> str:
    small = ' class="small"' if len(value) > 12 else ""
    return f'<div class="figure {mood}"><b{small}>{escape(value)}</b><span>{escape(label)}</span></div>'


def _timeline(findings: Findings) -> str:
    first = min(int(track.recorded.at[0]) for track in findings.tracks.values())
    last = max(int(track.recorded.at[-1]) for track in findings.tracks.values())

    def place(at: datetime) -> float:
        return 100 * (microseconds(at) - first) / (last - first)

    def bar(kind: str, start: datetime, end: datetime, told: str) -> str:
        left = place(start)
        return (
            f'<span class="bar {kind}" style="left:{left:.2f}%;width:{place(end) - left:.2f}%" '
            f'title="{escape(told)}"></span>'
        )

    hours = [hour for hour in _hours(first, last) if 2 < place(hour) < 98]
    grid = "".join(f'<i style="left:{place(hour):.2f}%"></i>' for hour in hours)
    rows = []
    with_cards = {device for device, _ in _stories(findings)}
    for device in findings.tracks:
        faults = [fault for fault in findings.truth.faults if fault.device_id == device]
        alerts = [alert for alert in findings.alerts if alert.device_id == device]
        bars = [
            bar("fault" if findings.alerts_of(fault) else "fault missed", fault.start_at, fault.end_at, _fault(fault))
            for fault in faults
        ]
        bars += [bar("alert", alert.opened_at, _end(alert), _alert(alert)) for alert in alerts]
        name = escape(device)
        label = (
            f'<a class="device" href="#{name}">{name}</a>'
            if device in with_cards
            else f'<span class="device muted">{name}</span>'
        )
        rows.append(f'{label}<div class="lane">{grid}{"".join(bars)}</div>')
    ticks = "".join(f'<span style="left:{place(hour):.2f}%">{hour:%H:%M}</span>' for hour in hours)
    return f"""<div class="card">
<div class="timeline">{"".join(rows)}<span></span><div class="hours">{ticks}</div></div>
<div class="legend">
<span style="--key:var(--fault)">fault</span><span class="hollow" style="--key:var(--fault)">fault, missed</span>
<span style="--key:var(--alert)">alert</span></div>
</div>"""


def _hours(first_us: int, last_us: int) -> Iterable[datetime]:
    """Full half hours within a time."""
    step = timedelta(minutes=30)
    at = datetime.fromtimestamp(first_us // 1_000_000 // 3600 * 3600, UTC)
    while microseconds(at) <= last_us:
        if microseconds(at) >= first_us:
            yield at
        at += step


def _table(findings: Findings) -> str:
    head = "<tr><th>verdict</th><th>device</th><th>fault</th><th>from</th><th>to</th><th>alert opened</th>"
    head += '<th class="right">delay</th><th class="right">peak / limit</th><th>because of</th></tr>'
    rows = []
    for fault in findings.truth.faults:
        alerts = findings.alerts_of(fault)
        verdict = _badge("good", "found") if alerts else _badge("bad", "missed")
        what = [verdict, _link(fault.device_id), escape(fault.name), _clock(fault.start_at), _clock(fault.end_at)]
        rows.append((fault.start_at, what, alerts[:1], findings.delay(fault)))
        rows += [(alert.opened_at, ["", "", "", "", ""], [alert], None) for alert in alerts[1:]]
    for alert in findings.false:
        verdict = _badge("warn", "false alert")
        rows.append((alert.opened_at, [verdict, _link(alert.device_id), "none", "", ""], [alert], None))
    body = "".join(_row(what, alerts, delay) for _, what, alerts, delay in sorted(rows, key=lambda row: row[0]))
    return f'<div class="card scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def _row(what: Sequence[str], alerts: Sequence[AlertRow], delay: timedelta | None) -> str:
    cells = "".join(f"<td>{cell}</td>" for cell in what)
    if not alerts:
        return f'<tr>{cells}<td colspan="4" class="muted">no alert</td></tr>'
    alert = alerts[0]
    late = "" if delay is None else duration(delay)
    return (
        f'<tr>{cells}<td>{_clock(alert.opened_at)}</td><td class="right">{late}</td>'
        f'<td class="right">{figure(alert.score_peak)} / {figure(alert.threshold)}</td>'
        f"<td>{escape(because(alert))}</td></tr>"
    )


# --- one device ------------------------------------------------------------------------------------------------------


def _stories(findings: Findings) -> list[tuple[str, datetime]]:
    """Devices with something to tell, and since when; in order of time."""
    begins: dict[str, datetime] = {}
    events = [(fault.start_at, fault.device_id) for fault in findings.truth.faults]
    events += [(alert.opened_at, alert.device_id) for alert in findings.alerts]
    for at, device in sorted(events):
        begins.setdefault(device, at)
    return list(begins.items())


def _cards(findings: Findings, progress: Callable[[int, int], None]) -> str:
    legend = """<div class="card legend" style="margin:0 0 16px">
<span class="stroke" style="--key:var(--observed)">observed</span>
<span class="stroke" style="--key:var(--expected)">expected from the state</span>
<span class="stroke" style="--key:var(--score)">score</span>
<span class="dashes" style="--key:var(--limit)">threshold</span>
<span style="--key:var(--fault)">planted fault</span><span style="--key:var(--alert)">alert</span></div>"""
    stories = _stories(findings)
    cards = []
    for number, (device, _) in enumerate(stories, start=1):
        cards.append(_card(findings, device, f"picture{number}"))
        progress(number, len(stories))
    return legend + "\n".join(cards)


def _card(findings: Findings, device: str, picture_name: str) -> str:
    faults = [fault for fault in findings.truth.faults if fault.device_id == device]
    alerts = [alert for alert in findings.alerts if alert.device_id == device]
    false = [alert for alert in findings.false if alert.device_id == device]
    badges = [
        _badge("good", f"{fault.name}: found") if findings.alerts_of(fault) else _badge("bad", f"{fault.name}: missed")
        for fault in faults
    ] + [_badge("warn", "false alert") for _ in false]
    facts = [f"<li>{_told(findings, fault)}</li>" for fault in faults]
    facts += [
        f"<li>Alert from {_span_text(alert.opened_at, _end(alert))} though nothing was wrong.</li>" for alert in false
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
    what = f"<b>{escape(fault.name.capitalize())}</b> from {_span_text(fault.start_at, fault.end_at)}"
    alerts = findings.alerts_of(fault)
    delay = findings.delay(fault)
    if delay is None:
        return f"{what}. No alert: {_nearest(findings, fault)}."
    alert, readings = alerts[0], round(delay / timedelta(microseconds=findings.period_us))
    when = f"{duration(delay)} ({readings} readings) later" if delay >= timedelta(0) else "already open"
    more = f"; {len(alerts) - 1} more alerts followed" if len(alerts) > 1 else ""
    return (
        f"{what}. Alert opened at {_clock(alert.opened_at)}, <b>{when}</b>; {alert.severity.value}, score up to "
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
    alert_events = [Event(alert.opened_at, _end(alert), alert.severity.value) for alert in alerts]
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


# --- small parts -----------------------------------------------------------------------------------------------------


def because(alert: AlertRow) -> str:
    """The channels that weigh most."""
    return ", ".join(f"{share.channel.replace('_', ' ')} {share.share:.0%}" for share in alert.top_channels[:2])


def _badge(mood: str, text: str) -> str:
    return f'<span class="badge {mood}">{escape(text)}</span>'


def _link(device: str) -> str:
    return f'<a href="#{escape(device)}">{escape(device)}</a>'


def _end(alert: AlertRow) -> datetime:
    return alert.closed_at or alert.last_seen_at


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}"


def _span_text(start: datetime, end: datetime) -> str:
    return f"{_clock(start)} to {_clock(end)}"


def _fault(fault: PlantedFault) -> str:
    return f"fault: {fault.name}, {_span_text(fault.start_at, fault.end_at)}"


def _alert(alert: AlertRow) -> str:
    return f"alert: {because(alert)}, {_span_text(alert.opened_at, _end(alert))}"


def duration(span: timedelta) -> str:
    """Minutes and seconds, as people say them."""
    seconds = round(abs(span).total_seconds())
    sign = "−" if span < timedelta(0) else ""
    return f"{sign}{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{sign}{seconds} s"
