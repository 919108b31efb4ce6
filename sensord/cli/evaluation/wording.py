"""How an evaluation's findings are said, on the terminal and on the page."""

import math
from collections.abc import Sequence

from sensord.detection.baselines import Expectation
from sensord.trainer.evaluation.judging import AlarmRate, Evaluation, Figures, Quartiles

BASELINES = {Expectation.EWMA: "EWMA", Expectation.VAR: "VAR(1)", Expectation.T2: "T2"}


def names(found: Evaluation) -> dict[Expectation, str]:
    """What people call each expectation."""
    cell = found.fit.cell.upper()
    return {Expectation.MODEL: cell, Expectation.UNTRAINED: f"untrained {cell}", **BASELINES}


def verdict(found: Evaluation) -> str:
    """One sentence: whether the trained recurrent state is worth anything here."""
    called = names(found)
    if found.as_good:
        equal = [called[name] for name in found.as_good]
        return f"The recurrent state adds nothing here: {_listed(equal)} {'do' if len(equal) > 1 else 'does'} as well."
    if found.ahead:
        ahead = [f"{called[name]} by {_listed(measures)}" for name, measures in found.ahead.items()]
        return f"The recurrent state makes no clear difference here. Ahead of it: {'; '.join(ahead)}."
    return "The recurrent state helps here: every baseline falls behind it."


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def budget(found: Evaluation) -> str:
    """One sentence: what was asked against what was kept."""
    trial, figures = found.trial, found.model
    if trial.asked_share is not None:
        return (
            f"Asked: at most {percent(trial.asked_share)} of healthy readings beyond the threshold; "
            f"kept: {percent(figures.rates.far)}."
        )
    rate = figures.false_alarms
    allowed, alarms = (rate.asked or 0.0) * rate.exposure, _many("alarm", rate.asked)
    return (
        f"Asked: {number(rate.asked)} false {alarms} per {rate.per.name}, {number(allowed)} in all; kept: {kept(rate)}."
    )


def kept(rate: AlarmRate) -> str:
    """The rate with what it was counted from."""
    return f"{number(rate.kept)} ({rate.count} in {number(rate.exposure * rate.per.size)} {rate.per.units})"


def headline(found: Evaluation) -> str:
    """The model's figures in one sentence."""
    figures, events = found.model, found.model.events
    if figures.lead is not None:
        lead = figures.lead
        return (
            f"{lead.alerted} of {lead.devices} devices alert before they fail, half of them at least "
            f"{number(lead.readings.median)} readings ahead; {lead.early} alert in the first half of life."
        )
    return (
        f"{events.found} of {events.faults} {_many('fault', events.faults)} found; {events.alerts} "
        f"{_many('alert', events.alerts)}, {events.false} false; F1 of readings {fraction(figures.rates.f1)}."
    )


def _many(word: str, count: float | None) -> str:
    return word if count == 1 else f"{word}s"


def columns(figures: Figures) -> dict[str, str]:
    """What a table says of one expectation, by heading."""
    lead, late = figures.lead, figures.delay
    runs = {}
    if lead is not None:
        runs = {
            "alerted": f"{lead.alerted}/{lead.devices}",
            "early": str(lead.early),
            "lead": quartiles(lead.readings),
        }
    return {
        **runs,
        "F1": fraction(figures.rates.f1),
        "FAR": percent(figures.rates.far),
        "MAR": percent(figures.rates.mar),
        "VUS-PR": fraction(figures.vus_pr),
        "found": f"{figures.events.found}/{figures.events.faults}",
        "precision": fraction(figures.events.precision),
        "delay": quartiles(late),
        "false alarms": number(figures.false_alarms.kept),
    }


def quartiles(of: Quartiles) -> str:
    """The median between the quartiles."""
    return "–" if math.isnan(of.median) else f"{number(of.median)} ({number(of.q1)} to {number(of.q3)})"


def fraction(value: float) -> str:
    """Three decimals."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def percent(value: float) -> str:
    """With one decimal."""
    return "–" if math.isnan(value) else f"{value:.1%}"


def number(value: float | None) -> str:
    """Three significant digits, or all of a whole number."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
