"""A small fleet judged: the figures hang together, and the verdict is honest."""

from dataclasses import replace

import numpy as np
import pytest

from sensord.clock import MICROSECONDS
from sensord.detection.baselines import BASELINES, Expectation
from sensord.trainer.evaluation.cases import Case, Fault
from sensord.trainer.evaluation.judging import Evaluation, Figures, Quartiles, Result, Trial, evaluate
from sensord.trainer.events import EventRates, Span
from sensord.trainer.fit import FitOptions
from sensord.trainer.history import History
from sensord.trainer.offline import Recorded
from sensord.trainer.threshold import AlarmBudget
from tests.builders import START

QUICK = FitOptions(hidden=4, steps=5, streams=8, shortest=16, longest=32)
HISTORY, ROWS, FAULTY = 300, 600, slice(450, 540)


def case(name: str, departs: bool, labelled: bool, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (ROWS, 2)).astype(np.float32)
    if departs:
        values[FAULTY] += 8
    at = START + np.arange(ROWS) * MICROSECONDS
    span = Span(name, int(at[FAULTY.start]), int(at[FAULTY.stop - 1]))
    return Case(Recorded(name, at, values), HISTORY, (Fault(span, "leak"),) if labelled else ())


@pytest.fixture(scope="module")
def trial() -> Trial:
    """a: found; b: missed, as nothing shows; c: calm; d: an alert that no label excuses."""
    cases = (case("a", True, True, 1), case("b", False, True, 2), case("c", False, False, 3), case("d", True, False, 4))
    history = History(("heat", "noise"), tuple(each.head for each in cases))
    return Trial("small", history, cases, AlarmBudget(0.05, 1.0), asked=0.05)


@pytest.fixture(scope="module")
def found(trial: Trial) -> Evaluation:
    return evaluate(trial, QUICK)


def test_the_model_and_every_baseline_are_judged(found: Evaluation) -> None:
    assert set(found.results) == {Expectation.MODEL, *BASELINES}


def test_alerts_are_held_against_faults(found: Evaluation) -> None:
    for result in found.results.values():
        by_device = {each.case.recorded.device_id: each for each in result.cases}
        assert by_device["a"].found == (True,)
        assert by_device["b"].found == (False,)
        assert len(by_device["d"].false) >= 1
        assert result.figures.events.found == 1
        assert result.figures.events.faults == 2


def test_figures_count_judged_readings_alone(found: Evaluation) -> None:
    healthy_s = 4 * (ROWS - HISTORY) - 2 * 90
    assert found.model.false_alarms.exposure == pytest.approx(healthy_s / 86_400)
    assert found.model.false_alarms.count == found.model.events.false
    assert all(len(each.ratio) == ROWS - HISTORY for each in found.results[Expectation.MODEL].cases)


def test_delay_is_in_readings_and_seconds(found: Evaluation) -> None:
    assert 0 <= found.model.delay.median < 30
    assert found.model.delay == found.model.delay_s  # a reading a second


def test_figures_are_told_by_kind(found: Evaluation) -> None:
    assert found.model.by_fault["leak"].of == 2
    assert sum(share.of for share in found.model.by_alert.values()) == found.model.events.alerts


def test_the_same_seed_gives_the_same_figures(trial: Trial, found: Evaluation) -> None:
    again = evaluate(trial, QUICK)
    assert [r.figures for r in again.results.values()] == [r.figures for r in found.results.values()]


def test_where_devices_run_to_failure_an_alert_before_the_fault_is_early_and_false(trial: Trial) -> None:
    worn = tuple(replace(each, faults=(worn_from(each.recorded, row=500),)) for each in trial.cases)
    figures = evaluate(replace(trial, cases=worn, runs_to_failure=True), QUICK).model
    assert figures.lead is not None
    assert (figures.lead.alerted, figures.lead.early) == (2, 2)  # a and d depart at 450
    assert figures.events.false >= 2
    assert figures.lead.readings.median == pytest.approx(ROWS - 1 - FAULTY.start, abs=30)


def worn_from(device: Recorded, row: int) -> Fault:
    return Fault(Span(device.device_id, int(device.at[row]), int(device.at[-1])))


# --- the verdict -----------------------------------------------------------------------------------------------------


def against(found: Evaluation, model: Figures, baseline: Figures) -> Evaluation:
    results = {Expectation.MODEL: Result(model, ()), Expectation.VAR: Result(baseline, ())}
    return replace(found, results=results)


def worth(found: Evaluation, f1: float, vus_pr: float) -> Figures:
    """Figures that differ by these two alone."""
    return replace(found.model, rates=replace(found.model.rates, f1=f1), vus_pr=vus_pr)


def test_a_baseline_that_is_as_good_by_every_measure_makes_the_state_useless(found: Evaluation) -> None:
    tried = against(found, worth(found, 0.854, 0.9), worth(found, 0.851, 0.9))  # the third decimal is the seed's
    assert tried.as_good == [Expectation.VAR]


def test_a_model_ahead_by_one_measure_and_behind_by_none_helps(found: Evaluation) -> None:
    tried = against(found, worth(found, 0.86, 0.9), worth(found, 0.80, 0.9))
    assert tried.as_good == []
    assert tried.ahead == {}


def test_a_baseline_ahead_by_one_measure_is_named_with_it(found: Evaluation) -> None:
    tried = against(found, worth(found, 0.86, 0.8), worth(found, 0.80, 0.9))
    assert tried.as_good == []
    assert tried.ahead == {Expectation.VAR: ("VUS-PR",)}


def test_what_is_unknown_is_worth_nothing(found: Evaluation) -> None:
    blank = replace(
        found.model,
        vus_pr=float("nan"),
        events=EventRates(0, 0, 0, 0),
        rates=replace(found.model.rates, f1=float("nan")),
    )
    assert set(found.measures(blank).values()) == {0.0}


def test_quartiles_of_nothing_are_unknown() -> None:
    assert np.isnan(Quartiles.of([]).median)
    assert Quartiles.of([1, 2, 3, 4, 5]) == Quartiles(2, 3, 4)
