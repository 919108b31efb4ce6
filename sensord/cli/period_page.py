"""The page of `sensord report`: one HTML file that needs nothing else, no picture library either."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from statistics import median, quantiles

from sensord.cli.report.parts import Box, badge, summary, table, whole_page
from sensord.detection.alerts import Evidence, Severity, Status
from sensord.store.alert_queries import AlertCount, By
from sensord.store.alerts import AlertRow
from sensord.store.period import GapRow, Period, Population
from sensord.store.registry import BundleRow
from sensord.texts import duration, figure, printable, time_text

CURVE = (220, 34)  # of an alert's channel, in pixels
MOST_DAYS = 92  # that get a bar each
CATCHING_UP_S = 60.0  # a delay beyond it is no delay of detection


@dataclass(frozen=True, slots=True)
class FleetPeriod:
    """A fleet over the period. budget: false alarms per device and day. total: None where there was no alert. counts:
    most alerts first. days: those with an alert. delays_s: from a reading to its alert's row, seconds."""

    name: str
    budget: float
    devices: Population
    total: AlertCount | None
    suppressed: int
    counts: Mapping[By, Sequence[AlertCount]]
    days: Sequence[AlertCount]
    worst: Sequence[AlertRow]
    delays_s: Sequence[float]
    bundles: Sequence[BundleRow]
    letters: Mapping[str, int]
    gaps: Sequence[GapRow]

    @property
    def alerts(self) -> int:
        return 0 if self.total is None else self.total.alerts

    @property
    def rate(self) -> float | None:
        """Alerts a device and day that nobody has called real; None where no device was there."""
        doubtful = 0 if self.total is None else self.total.alerts - self.total.real
        return doubtful / self.devices.device_days if self.devices.device_days > 0 else None


def page(fleets: Sequence[FleetPeriod], period: Period) -> str:
    """The whole page."""
    when = f"{time_text(period.since)} to {time_text(period.until)} UTC, {period.days:.1f} days"
    content = "".join(_fleet(one, period) for one in fleets)
    facts = (
        "Alerts are those of the live run that opened in this time, by event time, but for what a window or a false "
        "alarm suppresses. The budget counts false alarms alone; what nobody has answered may be either.",
        "Dead letters and gaps are those that were recorded in this time.",
    )
    return whole_page("sensord: report", when, content, facts)


def _fleet(one: FleetPeriod, period: Period) -> str:
    return f"""<h2>Fleet {escape(one.name)}</h2>
{_summary(one)}
<p class="headline"><b>{escape(_verdict(one))}</b></p>
{_by_day(one, period)}
<div class="halves" style="margin-top:16px">
{_counts(one, By.DEVICE, "Devices with most alerts")}
{_counts(one, By.CHANNEL, "Channels that weigh most")}
{_counts(one, By.KIND, "Kinds")}
{_bundles(one)}
</div>
{_worst(one)}
{_data(one)}"""


def _summary(one: FleetPeriod) -> str:
    total = one.total
    answered = 0 if total is None else total.alerts - total.unanswered
    boxes = [
        Box(str(one.alerts), f"alerts of {one.devices.active} devices"),
        Box(
            "-" if one.rate is None else figure(one.rate),
            f"a device and day not called real; budget {figure(one.budget)}",
            _mood(one),
        ),
        Box("0" if total is None else str(total.open), "still open"),
        Box(f"{answered} of {one.alerts}", "answered by people"),
        Box(_delay(one.delays_s), "from reading to alert, median"),
    ]
    return summary(boxes)


def _mood(one: FleetPeriod) -> str:
    if one.rate is None:
        return ""
    return "good" if one.rate <= one.budget else "bad"


def _verdict(one: FleetPeriod) -> str:
    total = one.total
    if one.rate is None:
        return "No device of this fleet was heard of in this time."
    if total is None:
        return f"No alert in {one.devices.device_days:.0f} device-days."
    over = f"{one.rate / one.budget:.1f} times the budget, if what nobody has called real is false"
    told = over if one.rate > one.budget else "within the budget"
    said = (
        f"people called {total.real} real and {total.false_alarms} false"
        if total.unanswered < total.alerts
        else "nobody has answered any"
    )
    hidden = f"; {one.suppressed} more were suppressed" if one.suppressed else ""
    return f"{total.alerts} alerts in {one.devices.device_days:.0f} device-days, {told}; {said}{hidden}."


def _delay(delays_s: Sequence[float]) -> str:
    return duration(timedelta(seconds=median(delays_s))) if delays_s else "-"


def _by_day(one: FleetPeriod, period: Period) -> str:
    """A bar a day, and the line that the budget draws."""
    first, last = period.since.date(), (period.until - timedelta(microseconds=1)).date()
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)][-MOST_DAYS:]
    alerts = {date.fromisoformat(row.name): row for row in one.days}
    allowed = one.budget * one.devices.active
    tallest = max([allowed, 1.0, *(row.alerts for row in one.days)])
    bars = "".join(_bar(day, alerts.get(day), tallest) for day in days)
    line = f'<i class="budget" style="--at:{allowed / tallest:.3f}" title="budget: {figure(allowed)} a day"></i>'
    note = f"Alerts a day, critical ones darker. The line is the budget for {one.devices.active} devices: "
    return (
        f'<div class="card" style="margin-top:16px"><div class="days">{line}{bars}</div>'
        f'<p class="note">{note}{figure(allowed)} a day.</p></div>'
    )


def _bar(day: date, row: AlertCount | None, tallest: float) -> str:
    count, critical = (0, 0) if row is None else (row.alerts, row.critical)
    share = f"height:{100 * critical / count:.0f}%" if count else "height:0"
    label = f"{day}: {count} alerts, {critical} critical"
    return (
        f'<span title="{label}" aria-label="{label}" role="img"><b style="height:{100 * count / tallest:.1f}%">'
        f'<i style="{share}"></i></b><small>{day:%d.%m.}</small></span>'
    )


def _counts(one: FleetPeriod, by: By, title: str) -> str:
    headings = (by.value, "alerts", "open", "critical", "real", "false", "worst, x limit")
    rows = (_row((row.name, *_figures(row))) for row in one.counts[by])
    return table(headings, rows, right=range(1, len(headings)), title=title, note="" if one.counts[by] else "none")


def _figures(row: AlertCount) -> tuple[str, ...]:
    counts = (row.alerts, row.open, row.critical, row.real, row.false_alarms)
    return (*map(str, counts), figure(row.worst))


def _bundles(one: FleetPeriod) -> str:
    alerts = {row.name: row for row in one.counts[By.BUNDLE]}
    headings = ("bundle", "stage", "gate", "promoted (UTC)", "alerts", "real", "false")
    rows = []
    for bundle in one.bundles:
        gate = "" if bundle.verdict is None else "refused" if bundle.verdict.get("objections") else "passed"
        counted = alerts.get(bundle.bundle_id)
        told = (
            ("0", "0", "0")
            if counted is None
            else tuple(map(str, (counted.alerts, counted.real, counted.false_alarms)))
        )
        rows.append(_row((bundle.bundle_id, bundle.stage.value, gate, time_text(bundle.promoted_at), *told), left=4))
    return table(headings, rows, right=(4, 5, 6), title="Bundles", note="" if rows else "none")


def _worst(one: FleetPeriod) -> str:
    if not one.worst:
        return ""
    headings = ("opened (UTC)", "device", "what", "x limit", "because of", "observed against expected", "answer")
    rows = (_story(alert) for alert in one.worst)
    note = "The channel that weighs most, around the opening: observed drawn through, expected dashed."
    return (
        f'<div style="margin-top:16px">{table(headings, rows, right=(3,), title="The worst alerts", note=note)}</div>'
    )


def _story(alert: AlertRow) -> str:
    mood = "bad" if alert.severity is Severity.CRITICAL else "warn"
    still = ", open" if alert.status is Status.OPEN else ""
    share = alert.top_channels[0] if alert.top_channels else None
    why = "" if share is None else f"{share.channel} {share.share:.0%}: {figure(share.observed)} {share.unit}"
    cells = [
        escape(time_text(alert.opened_at)),
        escape(printable(alert.device_id)),
        badge(mood, f"{alert.kind.value}{still}"),
        f"{alert.score_peak / alert.threshold:.1f}",
        escape(printable(why)),
        "" if share is None else _curve(alert.evidence, share.channel),
        escape("" if alert.feedback is None else alert.feedback.value.replace("_", " ")),
    ]
    return (
        "<tr>" + "".join(f"<td{' class=right' if n == 3 else ''}>{cell}</td>" for n, cell in enumerate(cells)) + "</tr>"
    )


def _curve(evidence: Evidence, channel: str) -> str:
    if channel not in evidence.channels or len(evidence.at) < 2:
        return ""
    place = evidence.channels.index(channel)
    lines = [[row[place] for row in rows] for rows in (evidence.observed, evidence.expected)]
    known = [value for line in lines for value in line if value is not None]
    if not known:
        return ""
    (width, height), low = CURVE, min(known)
    across, up = width / (len(evidence.at) - 1), (height - 4) / ((max(known) - low) or 1.0)
    drawn = "".join(
        f'<polyline class="{name}" points="{_points(line, across, up, low, height)}"/>'
        for name, line in zip(("observed", "expected"), lines, strict=True)
    )
    label = escape(f"{printable(channel)} around the opening")
    return f'<svg class="curve" width="{width}" height="{height}" role="img" aria-label="{label}">{drawn}</svg>'


def _points(line: Sequence[float | None], across: float, up: float, low: float, height: int) -> str:
    return " ".join(
        f"{number * across:.1f},{height - 2 - (value - low) * up:.1f}"
        for number, value in enumerate(line)
        if value is not None
    )


def _data(one: FleetPeriod) -> str:
    """What was wrong with what came, and who said nothing."""
    rows = [_row((f"dead letters: {reason}", str(count)), left=1) for reason, count in one.letters.items()]
    rows += [
        _row(
            (f"gap in {gap.topic}[{gap.partition}] up to {gap.to_offset}: {gap.reason}", time_text(gap.recorded_at)),
            left=1,
        )
        for gap in one.gaps
    ]
    if quiet := one.devices.known - one.devices.active:
        rows.append(_row(("devices that were known and said nothing", str(quiet)), left=1))
    if slow := sum(delay > CATCHING_UP_S for delay in one.delays_s):
        rows.append(_row((f"alerts found more than {CATCHING_UP_S:.0f} s after their reading", str(slow)), left=1))
    if len(one.delays_s) > 1:
        ninetieth = quantiles(one.delays_s, n=10)[-1]
        rows.append(_row(("from reading to alert, nine of ten within", duration(timedelta(seconds=ninetieth))), left=1))
    note = "" if rows else "nothing to tell"
    return f'<div style="margin-top:16px">{table(("data", ""), rows, right=(1,), title="Data", note=note)}</div>'


def _row(cells: Sequence[str], left: int = 1) -> str:
    """left: how many cells are text; the rest are numbers."""
    return (
        "<tr>"
        + "".join(
            f"<td{'' if n < left else ' class=right'}>{escape(printable(cell))}</td>" for n, cell in enumerate(cells)
        )
        + "</tr>"
    )
