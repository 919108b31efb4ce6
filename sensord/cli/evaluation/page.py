"""The page of an evaluation: one HTML file with the figures beside the baselines', and pictures of devices."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

import numpy as np

from sensord.cli.evaluation.cards import card, shown_first
from sensord.cli.evaluation.wording import (
    budget,
    columns,
    fraction,
    headline,
    kept,
    names,
    number,
    percent,
    quartiles,
    verdict,
)
from sensord.cli.report.charts import Curve, draw_curves
from sensord.cli.report.parts import Box, badge, legend, link, summary, table, whole_page
from sensord.detection.baselines import Expectation
from sensord.trainer.evaluation.judging import CaseResult, Evaluation, Figures, Result, Share
from sensord.trainer.evaluation.points import precision_recall

PICTURES = 30  # at most; of more devices the worst half and the best half are shown
TITLES = {"skab": "SKAB", "cmapss": "NASA's turbofans", "recording": "a labelled recording"}
NOTE = (
    "F1, FAR (false alarms) and MAR (missed alarms) count readings, pooled over devices. VUS-PR is the volume under "
    "the surface of precision, recall and buffer, of each device, averaged; it needs no threshold. Found counts faults "
    "with an alert, precision alerts with a fault. Delay: readings from a fault's beginning to its first alert's, "
    "median and quartiles; the alert is raised up to {after} readings later. False alarms: per {per} of healthy time."
)
LEAD_NOTE = (
    " Alerted: devices with an alert before they fail. Early: those that alert in the first half of life. Lead: "
    "readings from the first alert to failure."
)


def page(found: Evaluation, progress: Callable[[int, int], None] = lambda done, of: None) -> str:
    """The whole page. progress: (pictures done, of)."""
    trial = found.trial
    title = f"sensord evaluate: {TITLES.get(trial.name, trial.name)}"
    devices, channels = len(trial.cases), len(trial.history.channels)
    subtitle = (
        f"{devices} {_many('device', devices)}, {channels} {_many('channel', channels)}; every reading went through "
        "the daemon's own scoring code, and labels were looked at only then. Times are UTC."
    )
    order = shown_first(found.results[Expectation.MODEL].cases, PICTURES)
    content = f"""{_summary(found)}
<p class="headline"><b>{escape(headline(found))} {escape(verdict(found))}</b> {escape(budget(found))}</p>
<h2>The model beside the baselines</h2>
{_comparison(found)}
<div class="halves" style="margin-top:16px">{_curves(found)}{_budget(found)}</div>
<h2>Devices</h2>
{_devices(found, {result.case.recorded.device_id for result in order})}
<h2>{"The worst and the best devices" if len(order) < devices else "Device by device, the worst first"}</h2>
{_cards(found, order, progress)}"""
    return whole_page(title, subtitle, content, _facts(found))


def _many(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _summary(found: Evaluation) -> str:
    figures, events = found.model, found.model.events
    good = "good" if events.found == events.faults else ""
    boxes = [
        Box(f"{events.found} of {events.faults}", "faults found", good),
        Box(str(events.false), f"of {events.alerts} alerts false", "bad" if events.false else "good"),
        Box(number(figures.delay.median), "readings of delay, median"),
        Box(fraction(figures.rates.f1), "F1 of readings"),
        Box(fraction(figures.vus_pr), "VUS-PR"),
    ]
    if figures.lead is not None:
        lead = figures.lead
        boxes[:3] = [
            Box(
                f"{lead.alerted} of {lead.devices}",
                "alert before they fail",
                "good" if lead.alerted == lead.devices else "",
            ),
            Box(number(lead.readings.median), "cycles ahead, median"),
            Box(str(lead.early), "alert in the first half of life", "bad" if lead.early else "good"),
        ]
    return summary(boxes)


def _comparison(found: Evaluation) -> str:
    called, headings = names(found), list(columns(found.model))
    rows = (
        f"<tr{' class=model' if name is Expectation.MODEL else ''}><td>{escape(called[name])}</td>"
        + "".join(f'<td class="right">{escape(cell)}</td>' for cell in columns(result.figures).values())
        + "</tr>"
        for name, result in found.results.items()
    )
    note = NOTE.format(after=found.trial.tuning.open_after - 1, per=found.trial.exposure.name)
    note += LEAD_NOTE if found.trial.runs_to_failure else ""
    return table(["expectation", *headings], rows, range(1, len(headings) + 1), note)


def _curves(found: Evaluation) -> str:
    called = names(found)
    drawn = [(name, curve) for name, result in found.results.items() if (curve := _curve(called[name], result))]
    if not drawn:
        return ""
    keys = "".join(
        f'<span class="stroke" style="--key:var(--series{number})">{escape(called[name])}</span>'
        for number, (name, _) in enumerate(drawn, start=1)
    )
    picture = draw_curves([curve for _, curve in drawn], "recall of readings", "precision of readings", "curves")
    return f"""<div class="card"><h3>Precision and recall</h3>
<div class="picture narrow" role="img" aria-label="precision against recall">{picture}</div>
<div class="legend">{keys}</div>
<p class="note">Score over limit of all devices together; each dot is where the thresholds lie.</p></div>"""


def _curve(name: str, result: Result) -> Curve | None:
    """None where all or nothing is faulty."""
    ratio = np.concatenate([case.ratio for case in result.cases])
    faulty = np.concatenate([case.case.faulty for case in result.cases])
    scored = np.isfinite(ratio)
    ratio, faulty = ratio[scored], faulty[scored]
    if not faulty.any() or faulty.all():
        return None
    curve, rates = precision_recall(ratio, faulty), result.figures.rates
    recall = 1 - rates.mar
    hits, false = recall * faulty.sum(), rates.far * (~faulty).sum()
    return Curve(name, curve.recall, curve.precision, (recall, hits / (hits + false) if hits + false else 1.0))


def _budget(found: Evaluation) -> str:
    """Asked against kept, and the figures by kind."""
    called, trial, rows = names(found), found.trial, []
    for name, result in found.results.items():
        asked, was = _asked(found, result.figures)
        rows.append(_cells(called[name], asked, was))
    what = "healthy readings beyond the threshold" if trial.asked_share else f"false alarms per {trial.exposure.name}"
    told = table(["expectation", "asked", "kept"], rows, title=f"Asked against kept: {what}")
    kinds = _kinds("fault", "found", found.model.by_fault) + _kinds("alert", "right", found.model.by_alert)
    return f"<div>{told}{kinds}</div>"


def _asked(found: Evaluation, figures: Figures) -> tuple[str, str]:
    if found.trial.asked_share is not None:
        return percent(found.trial.asked_share), percent(figures.rates.far)
    return number(figures.false_alarms.asked), kept(figures.false_alarms)


def _kinds(what: str, right: str, shares: Mapping[str, Share]) -> str:
    """Nothing where nobody told kinds apart."""
    if not any(shares):
        return ""
    rows = [
        _cells(kind.replace("_", " ") or "unnamed", f"{share.part} of {share.of}") for kind, share in shares.items()
    ]
    return f'<div style="margin-top:16px">{table([f"{what}, by kind", right], rows)}</div>'


def _cells(*cells: str) -> str:
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _devices(found: Evaluation, pictured: set[str]) -> str:
    rows = (_device(result, pictured) for result in _by_rank(found.results[Expectation.MODEL].cases))
    headings = ["device", "", "readings", "F1", "FAR", "MAR", "VUS-PR", "faults found", "alerts", "false"]
    return f'<div class="devices">{table(headings, rows, range(2, 10), "The worst first.")}</div>'


def _by_rank(cases: Iterable[CaseResult]) -> list[CaseResult]:
    return sorted(cases, key=lambda result: result.rank)


def _device(result: CaseResult, pictured: set[str]) -> str:
    device, found = result.case.recorded.device_id, sum(result.found)
    name = link(device) if device in pictured else escape(device)
    missed = badge("bad", f"{len(result.found) - found} missed") if found < len(result.found) else ""
    false = badge("warn", f"{len(result.false)} false") if result.false else ""
    cells = (
        str(len(result.case.faulty)),
        fraction(result.rates.f1),
        percent(result.rates.far),
        percent(result.rates.mar),
        fraction(result.vus_pr),
        f"{found} of {len(result.found)}",
        str(len(result.alerts)),
        str(len(result.false)),
    )
    numbers = "".join(f'<td class="right">{cell}</td>' for cell in cells)
    return f"<tr><td>{name}</td><td>{missed} {false}</td>{numbers}</tr>"


def _cards(found: Evaluation, order: Sequence[CaseResult], progress: Callable[[int, int], None]) -> str:
    parts = [
        legend(
            ("stroke", "--observed", "observed"),
            ("stroke", "--expected", "expected from the state"),
            ("stroke", "--score", "score"),
            ("dashes", "--limit", "threshold"),
            ("", "--fault", "second half of life" if found.trial.runs_to_failure else "labelled fault"),
            ("", "--alert", "alert"),
            ("", "--grid", "history"),
        )
    ]
    for place, result in enumerate(order, start=1):
        parts.append(card(found.trial, result, f"picture{place}"))
        progress(place, len(order))
    return "\n".join(parts)


def _facts(found: Evaluation) -> list[str]:
    trial, lead = found.trial, found.model.lead
    facts = [
        f"Trunk: {found.fit.cell.upper()}, {found.fit.hidden} hidden units, {found.fit.steps} steps, seed "
        f"{found.fit.seed}; history: {trial.history.readings:,} readings, one every {trial.period_s:g} s.",
        "Every expectation has the same pipeline behind it, the same constants, and thresholds set by the same rule "
        "without labels.",
    ]
    if lead is not None:
        facts.append(f"Quartiles of the lead: {quartiles(lead.readings)} cycles.")
    return [*facts, *(f"Note: {note}." for note in trial.notes)]
