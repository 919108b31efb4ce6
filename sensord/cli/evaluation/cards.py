"""Cards of the page: how one device fared, and a picture of it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html import escape

import numpy as np

from sensord.cli.evaluation.wording import fraction, number, percent
from sensord.cli.report.charts import Event, Line, Picture, draw
from sensord.cli.report.parts import badge
from sensord.clock import MICROSECONDS
from sensord.detection.alerts import Alert, Kind
from sensord.trainer.evaluation.cases import Fault
from sensord.trainer.evaluation.judging import CaseResult, Trial

CHANNELS_SHOWN = 3
HISTORY_SHOWN = 0.5  # at most, of the length of what is judged
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def shown_first(cases: Sequence[CaseResult], most: int) -> list[CaseResult]:
    """The worst first; of more than `most` devices the worst half and the best half."""
    ranked = sorted(cases, key=lambda result: result.rank)
    return ranked if len(ranked) <= most else [*ranked[: most // 2], *ranked[-(most - most // 2) :]]


def card(trial: Trial, result: CaseResult, picture_name: str) -> str:
    """A <section>. picture_name: unique in the page."""
    name = escape(result.case.recorded.device_id)
    found, faults = sum(result.found), len(result.found)
    badges = [badge("good", f"{found} found")] if found else []
    badges += [badge("bad", f"{faults - found} missed")] if faults > found else []
    badges += [badge("warn", f"{len(result.false)} false")] if result.false else []
    if not badges:
        badges = [badge("good", "calm")]
    facts = "".join(f"<li>{fact}</li>" for fact in _facts(trial, result))
    picture = draw(_picture(trial, result), picture_name)
    return f"""<section class="card" id="{name}">
<div class="head"><h3>{name}</h3>{"".join(badges)}</div>
<ul class="facts">{facts}</ul>
<div class="picture" role="img" aria-label="{name}: channels and score">{picture}</div>
</section>"""


def _facts(trial: Trial, result: CaseResult) -> list[str]:
    rates = result.rates
    healthy = f"{percent(rates.far)} of healthy readings anomalous"
    if result.found:
        missed = f"{percent(rates.mar)} of faulty ones missed"
        facts = [f"F1 <b>{fraction(rates.f1)}</b>; {healthy}, {missed}; VUS-PR {fraction(result.vus_pr)}."]
    else:
        facts = [f"No labelled fault; {healthy}."]
    if result.alerts:
        facts.append(_first_alert(trial, result))
    else:
        known = result.ratio[np.isfinite(result.ratio)]
        most = float(known.max()) if len(known) else 0.0
        facts.append(f"No alert: the score came to {percent(most)} of its limit at most.")
    return facts


def _first_alert(trial: Trial, result: CaseResult) -> str:
    alert, case = result.alerts[0], result.case
    why = ", ".join(f"{escape(share.channel)} {share.share:.0%}" for share in (alert.top_channels or ())[:2])
    if trial.runs_to_failure:
        ahead = (int(case.recorded.at[-1]) - alert.opened_at) / MICROSECONDS / trial.period_s
        return f"First alert <b>{number(ahead)} readings before failure</b>, because of {why}."
    starts = [fault.span.start_at for fault, found in zip(case.judged_faults, result.found, strict=True) if found]
    if not starts:
        return f"{len(result.alerts)} alerts, none of them with a fault; the first because of {why}."
    right = [each for each in result.alerts if each not in result.false]
    late = (right[0].opened_at - starts[0]) / MICROSECONDS / trial.period_s
    when = "was open already" if late < 0 else f"opened <b>{number(late)} readings</b> after its beginning"
    return f"The alert of the first fault found {when}, because of {why}."


def _picture(trial: Trial, result: CaseResult) -> Picture:
    case, seen = result.case, result.seen
    judged = len(case.faulty)
    rows = slice(max(0, case.history - round(HISTORY_SHOWN * judged)), None)
    at = case.recorded.at[rows]
    lines = [
        Line(
            trial.history.channels[channel],
            trial.units.get(trial.history.channels[channel], ""),
            case.recorded.values[rows, channel],
            seen.expected[rows, channel],
        )
        for channel in _channels(trial, result)
    ]
    return Picture(
        at,
        lines,
        seen.score[rows],
        seen.limit[rows],
        [_fault(fault) for fault in case.judged_faults],
        [_alert(alert) for alert in result.alerts],
        _time(int(case.recorded.at[case.history])),
        trial.runs_to_failure,
    )


def _channels(trial: Trial, result: CaseResult) -> list[int]:
    """The channels that the alerts name first; without an alert, those that strayed furthest, in their own spread."""
    case, names = result.case, trial.history.channels
    largest: dict[str, float] = {}
    for alert in result.alerts:
        for share in alert.top_channels or ():
            largest[share.channel] = max(share.share, largest.get(share.channel, 0.0))
    if largest:
        return [names.index(name) for name in sorted(largest, key=lambda name: -largest[name])[:CHANNELS_SHOWN]]
    error = np.abs(case.recorded.values - result.seen.expected)
    with np.errstate(invalid="ignore"):
        strayed = np.nan_to_num(np.nanmean(error[case.history :], axis=0) / np.nanmean(error[1 : case.history], axis=0))
    return list(map(int, np.argsort(-strayed, kind="stable")[:CHANNELS_SHOWN]))


def _fault(fault: Fault) -> Event:
    return Event(_time(fault.span.start_at), _time(fault.span.end_at), fault.kind.replace("_", " "))


def _alert(alert: Alert) -> Event:
    label = alert.severity.value if alert.kind is Kind.ANOMALY else alert.kind.value.replace("_", " ")
    return Event(_time(alert.opened_at), _time(alert.closed_at or alert.last_seen_at), label)


def _time(at: int) -> datetime:
    return EPOCH + timedelta(microseconds=at)
