"""The demo's report: one HTML file that needs nothing else, with a picture of every device that alerted or should have.

`page` puts it together; everything below makes a part of it.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from statistics import median

from sensord.cli.demo.cards import cards
from sensord.cli.demo.findings import Findings
from sensord.cli.demo.truth import PlantedFault
from sensord.cli.demo.wording import because, clock, ending, from_to
from sensord.cli.report.parts import Box, badge, link, summary, table, whole_page
from sensord.store.alerts import AlertRow
from sensord.store.schema import microseconds
from sensord.texts import duration, figure


def page(findings: Findings, facts: Sequence[str], progress: Callable[[int, int], None] = lambda done, of: None) -> str:
    """The whole page. facts: how it came about, a sentence each, for the foot. progress: (pictures done, of)."""
    truth = findings.truth
    title = f"sensord demo: {truth.devices} pumps, {len(truth.faults)} planted faults"
    subtitle = "What the daemon put into its alerts table, held against what the simulation planted. Times are UTC."
    content = f"""{_summary(findings)}
<h2>The fleet</h2>
{_timeline(findings)}
<h2>Faults and alerts</h2>
{_table(findings)}
<h2>Device by device</h2>
{cards(findings, progress)}"""
    return whole_page(title, subtitle, content, facts)


def _summary(findings: Findings) -> str:
    found, planted, false = findings.matching.found, len(findings.truth.faults), len(findings.false)
    delays = [delay for fault in findings.truth.faults if (delay := findings.delay(fault)) is not None]
    boxes = (
        Box(f"{found} of {planted}", "faults found", "good" if found == planted else ""),
        Box(f"{false}", "false alerts", "bad" if false else "good"),
        Box(duration(_median(delays)) if delays else "–", "median delay"),
        Box(f"{findings.readings:,}", "live readings"),
        Box(f"{len(findings.tracks)}", f"devices, {len(findings.bundle.channels)} channels"),
        Box(findings.bundle.id, "bundle"),
    )
    return summary(boxes)


def _median(delays: Sequence[timedelta]) -> timedelta:
    return timedelta(seconds=median(delay.total_seconds() for delay in delays))


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
    for device in findings.tracks:
        faults, alerts = findings.of(device)
        bars = [
            bar("fault" if findings.alerts_of(fault) else "fault missed", fault.start_at, fault.end_at, _fault(fault))
            for fault in faults
        ]
        bars += [bar("alert", alert.opened_at, ending(alert), _alert(alert)) for alert in alerts]
        name = escape(device)
        label = (
            f'<a class="device" href="#{name}">{name}</a>'
            if faults or alerts
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
    headings = ["verdict", "device", "fault", "from", "to", "alert opened", "delay", "peak / limit", "because of"]
    rows = []
    for fault in findings.truth.faults:
        alerts = findings.alerts_of(fault)
        verdict = badge("good", "found") if alerts else badge("bad", "missed")
        what = [verdict, link(fault.device_id), escape(fault.name), clock(fault.start_at), clock(fault.end_at)]
        rows.append((fault.start_at, what, alerts[:1], findings.delay(fault)))
        again = ["", link(fault.device_id), f"{escape(fault.name)}, again", "", ""]
        rows += [(alert.opened_at, again, [alert], None) for alert in alerts[1:]]
    for alert in findings.false:
        verdict = badge("warn", "false alert")
        rows.append((alert.opened_at, [verdict, link(alert.device_id), "none", "", ""], [alert], None))
    drawn = (_row(what, alerts, delay) for _, what, alerts, delay in sorted(rows, key=lambda row: row[0]))
    after = findings.bundle.manifest.tuning.open_after - 1
    note = (
        f"The delay reaches to the alert's first anomalous reading; the alert is raised up to {after} readings later."
    )
    return table(headings, drawn, right=(6, 7), note=note)


def _row(what: Sequence[str], alerts: Sequence[AlertRow], delay: timedelta | None) -> str:
    cells = "".join(f"<td>{cell}</td>" for cell in what)
    if not alerts:
        return f'<tr>{cells}<td colspan="4" class="muted">no alert</td></tr>'
    alert = alerts[0]
    late = "" if delay is None else duration(delay)
    return (
        f'<tr>{cells}<td>{clock(alert.opened_at)}</td><td class="right">{late}</td>'
        f'<td class="right">{figure(alert.score_peak)} / {figure(alert.threshold)}</td>'
        f"<td>{escape(because(alert))}</td></tr>"
    )


def _fault(fault: PlantedFault) -> str:
    return f"fault: {fault.name}, {from_to(fault.start_at, fault.end_at)}"


def _alert(alert: AlertRow) -> str:
    return f"alert: {because(alert)}, {from_to(alert.opened_at, ending(alert))}"
