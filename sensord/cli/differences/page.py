"""The page of differences: one HTML file with the counts, the alerts that differ side by side, and their evidence."""

from collections.abc import Callable, Sequence
from html import escape

from sensord.cli.differences.cards import anchor, card
from sensord.cli.differences.comparison import Change, Comparison, Side, counts_of
from sensord.cli.differences.wording import because, headline, per_day
from sensord.cli.report.parts import Box, legend, summary, table, whole_page
from sensord.detection.alerts import Alert
from sensord.store.schema import instant
from sensord.texts import figure, time_text

PICTURES = 60  # at most, as many of one change as of the other where there are that many
SUBTITLE = (
    "Alerts of one device that overlap in time are the same, one to one. Outdated: raised by the first bundle alone. "
    "New: by the second alone. Times are UTC."
)
Told = tuple[Change | None, Alert]


def page(comparison: Comparison, progress: Callable[[int, int], None] = lambda done, of: None) -> str:
    """The whole page. progress: (pictures done, of)."""
    told = _told(comparison)
    shown = _shown(told)
    pictured = {id(alert) for _, alert in shown}
    content = f"""{_summary(comparison)}
<p class="headline"><b>{escape(headline(comparison))}.</b> {escape(per_day(comparison))}.</p>
{_bundles(comparison)}
<h2>Counts</h2>
{_counts(comparison)}
<h2>What differs</h2>
<div class="halves">{"".join(_list(change, told, pictured) for change in _changes(comparison))}</div>
<h2>{"Evidence" if len(shown) == len(told) else f"Evidence of {len(shown)} of them"}</h2>
{_cards(comparison, shown, progress)}"""
    return whole_page(f"sensord: bundles of {comparison.fleet}", SUBTITLE, content, [])


def _changes(comparison: Comparison) -> Sequence[Change | None]:
    return [None] if comparison.second is None else list(Change)


def _told(comparison: Comparison) -> list[Told]:
    found = comparison.found
    if comparison.second is None:
        return [(None, alert) for alert in found.outdated]
    return [*((Change.OUTDATED, each) for each in found.outdated), *((Change.NEW, each) for each in found.new)]


def _shown(told: Sequence[Told]) -> list[Told]:
    """Where there are too many, those of each change whose peaks are the highest for their limit; by opening."""
    ranked = []
    for change in dict.fromkeys(change for change, _ in told):
        strongest = sorted((one for one in told if one[0] is change), key=_strength, reverse=True)
        ranked += list(enumerate(strongest))
    shown = [one for _, one in sorted(ranked, key=lambda each: each[0])[:PICTURES]]
    return sorted(shown, key=lambda one: (one[1].opened_at, one[1].device_id, str(one[1].id)))


def _strength(one: Told) -> float:
    return one[1].score_peak / one[1].threshold if one[1].threshold else 0.0


def _summary(comparison: Comparison) -> str:
    found, second = comparison.found, comparison.second
    if second is None:
        return summary([Box(str(len(found.outdated)), "alerts"), _rate(comparison.first)])
    return summary(
        [
            Box(str(len(found.same)), "alerts of both"),
            Box(str(len(found.outdated)), "outdated: of the first alone"),
            Box(str(len(found.new)), "new: of the second alone"),
            _rate(comparison.first),
            _rate(second),
        ]
    )


def _rate(side: Side) -> Box:
    if side.per_device_day is None:
        return Box(str(len(side.alerts)), f"alerts of {side.bundle_id}")
    return Box(figure(side.per_device_day), f"a device-day, {side.bundle_id}")


def _bundles(comparison: Comparison) -> str:
    """What the bundles say of themselves; nothing where nothing is known to differ."""
    if not comparison.facts or comparison.second is None:
        return ""
    rows = [_cells(fact.what, fact.first, fact.second) for fact in comparison.facts]
    headings = ["", comparison.first.bundle_id, comparison.second.bundle_id]
    return f"<h2>The bundles</h2>\n{table(headings, rows, note='Only what differs is shown.')}"


def _counts(comparison: Comparison) -> str:
    second = comparison.second
    if second is None:
        rows = [_cells(count.name, count.first) for count in counts_of(comparison)]
        return table(["alerts", comparison.first.bundle_id], rows, [1])
    rows = [
        _cells(count.name, count.first, count.second, count.same, count.outdated, count.new)
        for count in counts_of(comparison)
    ]
    headings = ["alerts", comparison.first.bundle_id, second.bundle_id, "same", "outdated", "new"]
    return table(headings, rows, range(1, 6), "What is the same is counted as the first bundle calls it.")


def _cells(name: str, *cells: object) -> str:
    numbers = "".join(
        f"<td{' class=right' if isinstance(cell, int) else ''}>{escape(str(cell))}</td>" for cell in cells
    )
    return f"<tr><td>{escape(name)}</td>{numbers}</tr>"


def _list(change: Change | None, told: Sequence[Told], pictured: set[int]) -> str:
    rows = [_line(alert, id(alert) in pictured) for which, alert in told if which is change]
    title = f"{change.value if change else 'alerts'}: {len(rows)}"
    return f'<div class="devices">{table(["device", "opened", "what", "because of"], rows, title=title)}</div>'


def _line(alert: Alert, pictured: bool) -> str:
    name = escape(alert.device_id)
    device = f'<a href="#{anchor(alert)}">{name}</a>' if pictured else name
    what = f"{alert.severity.value} {alert.kind.value.replace('_', ' ')}"
    cells = (time_text(instant(alert.opened_at)), what, because(alert.top_channels, 1))
    return f"<tr><td>{device}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _cards(comparison: Comparison, shown: Sequence[Told], progress: Callable[[int, int], None]) -> str:
    keys = [("stroke", "--observed", "observed"), ("stroke", "--expected", "expected from the state")]
    keys.append(("", "--fault", f"alert of {comparison.first.bundle_id}, the first"))
    if comparison.second is not None:
        keys.append(("", "--alert", f"alert of {comparison.second.bundle_id}, the second"))
    parts = [legend(*keys, ("dashes", "--ink", "opening"))]
    for place, (change, alert) in enumerate(shown, start=1):
        parts.append(card(comparison, change, alert, f"picture{place}"))
        progress(place, len(shown))
    return "\n".join(parts)
