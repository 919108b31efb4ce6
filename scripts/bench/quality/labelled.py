"""Labelled data judged as `sensord evaluate` does: SKAB, turbofans, a simulated fleet whose faults need a memory."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sensord.simulate import FleetPlan, simulate
from sensord.trainer.evaluation import judging, protocols
from sensord.trainer.evaluation.cases import Case, Fault
from sensord.trainer.evaluation.judging import Evaluation, Trial, evaluate
from sensord.trainer.events import Span
from sensord.trainer.fit import FitOptions
from sensord.trainer.history import History
from sensord.trainer.offline import Recorded
from sensord.trainer.threshold import AlarmBudget

Figures = dict[str, float]
HALVES = 2

# A valve's stroke, seen for a few readings, decides which way the pressure swings hundreds of readings later.
LINE_UPS = FleetPlan(devices=20, readings=9_000, healthy_readings=6_000, faults=24, line_ups=True)
LINE_UP_BUDGET = 0.05


def skab(data: Path, seeds: Sequence[int]) -> Figures:
    """Means over the seeds; cross_validated: over two halves of the files, each judged on its own."""
    files = sorted(data.glob("skab/valve[12]/*.csv"))
    found = [_rates(evaluate(protocols.skab(files), FitOptions(seed=seed))) for seed in seeds]
    halves = [
        _rates(evaluate(protocols.skab(files[half::HALVES]), FitOptions(seed=seeds[0]))) for half in range(HALVES)
    ]
    means = _means(found)
    return means | {f"{name}_of_half_{half}": rates[name] for half, rates in enumerate(halves) for name in means}


def turbofans(data: Path, seeds: Sequence[int]) -> Figures:
    """Shares of engines, lead in cycles; means over the seeds."""
    runs = [evaluate(protocols.cmapss(data / "cmapss" / "train_FD001.txt"), FitOptions(seed=seed)) for seed in seeds]
    leads = [lead for run in runs if (lead := run.model.lead) is not None]
    return _means(
        [
            {"alerted": lead.alerted / lead.devices, "lead": lead.readings.median, "early": lead.early / lead.devices}
            for lead in leads
        ]
    )


def line_ups(seeds: Sequence[int]) -> Figures:
    """F1 of events of the model and its best baseline; margin: the model's lead, at the mean and in the worst seed."""
    runs = [evaluate(line_up_trial(replace(LINE_UPS, seed=seed + 1)), FitOptions(seed=seed)) for seed in seeds]
    model = [event_f1(run.model) for run in runs]
    best = [max(event_f1(figures) for figures in run.baselines.values()) for run in runs]
    margins = [mine - theirs for mine, theirs in zip(model, best, strict=True)]
    return {
        "f1": statistics.mean(model),
        "best_baseline_f1": statistics.mean(best),
        "margin": statistics.mean(margins),
        "worst_margin": min(margins),
    }


def line_up_trial(plan: FleetPlan) -> Trial:
    """A fleet whose valves decide hundreds of readings before what is normal, judged behind its healthy part."""
    simulated = simulate(plan)
    cases = []
    for column, name in enumerate(simulated.device_ids):
        whole = Recorded(name, simulated.at[:, column], simulated.values[:, column].astype(np.float32))
        faults = tuple(
            Fault(Span(name, fault.start_at, fault.end_at), fault.kind.value)
            for fault in simulated.truth
            if fault.device_id == name
        )
        cases.append(Case(whole, plan.healthy_readings, faults))
    history = History(tuple(channel.name for channel in simulated.channels), tuple(case.head for case in cases))
    rule = AlarmBudget(LINE_UP_BUDGET, plan.period_s)
    return Trial("line-ups", history, tuple(cases), rule, asked=LINE_UP_BUDGET)


def event_f1(figures: judging.Figures) -> float:
    """Of events; 0 where there is no alert at all."""
    return float(np.nan_to_num(figures.events.f1))


def _rates(run: Evaluation) -> Figures:
    rates = run.model.rates
    return {"f1": rates.f1, "far": rates.far, "mar": rates.mar}


def _means(found: Sequence[Figures]) -> Figures:
    return {name: statistics.mean(each[name] for each in found) for name in found[0]}
