"""The page of an evaluation: every figure is on it, the verdict is said, and it needs nothing but itself."""

import re
from dataclasses import replace

import numpy as np
import pytest

from sensord.cli.evaluation.figures import figures_of
from sensord.cli.evaluation.page import page
from sensord.cli.evaluation.wording import budget, headline, verdict
from sensord.clock import MICROSECONDS
from sensord.detection.baselines import BASELINES, Expectation
from sensord.trainer.evaluation.cases import Case, Fault
from sensord.trainer.evaluation.judging import Evaluation, Trial, evaluate
from sensord.trainer.events import Span
from sensord.trainer.fit import FitOptions
from sensord.trainer.history import History
from sensord.trainer.offline import Recorded
from sensord.trainer.threshold import AlarmBudget
from tests.builders import START

HOSTILE = "pump-<3>"
HISTORY, ROWS, BUMP = 300, 600, slice(450, 520)


def case(name: str, departs: bool, faulty: bool, seed: int) -> Case:
    values = np.random.default_rng(seed).normal(0, 1, (ROWS, 2)).astype(np.float32)
    if departs:
        values[BUMP] += 9
    at = START + np.arange(ROWS) * MICROSECONDS
    span = Span(name, int(at[BUMP.start]), int(at[BUMP.stop - 1]))
    return Case(Recorded(name, at, values), HISTORY, (Fault(span, "bearing_wear"),) if faulty else ())


@pytest.fixture(scope="module")
def found() -> Evaluation:
    """pump-1 is found, pump-2 alerts without a fault, pump-<3> is missed, pump-9 is calm."""
    cases = (
        case("pump-1", True, True, 1),
        case("pump-2", True, False, 2),
        case(HOSTILE, False, True, 3),
        case("pump-9", False, False, 4),
    )
    history = History(("heat", "noise"), tuple(each.head for each in cases))
    trial = Trial("recording", history, cases, AlarmBudget(0.05, 1.0), asked=0.05, notes=("a <note>",))
    return evaluate(trial, FitOptions(hidden=4, steps=5, streams=8, shortest=16, longest=32))


@pytest.fixture(scope="module")
def html(found: Evaluation) -> str:
    return page(found)


def test_the_model_stands_beside_every_baseline(html: str) -> None:
    for name in ("LSTM", "untrained LSTM", "EWMA", "VAR(1)", "T2"):
        assert html.count(f"<td>{name}</td>") == 2  # once with its figures, once with what it kept to


def test_the_sentences_are_on_the_page(found: Evaluation, html: str) -> None:
    for sentence in (headline(found), budget(found), verdict(found)):
        assert sentence in html


def test_every_device_has_a_card_with_a_picture_the_worst_first(html: str) -> None:
    cards = html.split('<section class="card" id="')[1:]
    assert {card.split('"')[0] for card in cards} == {"pump-1", "pump-2", "pump-&lt;3&gt;", "pump-9"}
    assert cards[0].startswith("pump-2")  # all its alerts are false
    assert cards[-1].startswith("pump-9")
    assert all(card.count("<svg") == 1 for card in cards)
    assert "1 found" in html
    assert "1 missed" in html
    assert "1 false" in html


def test_of_many_devices_the_worst_and_the_best_have_pictures(
    found: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sensord.cli.evaluation.page.PICTURES", 2)
    html = page(found)
    assert "The worst and the best devices" in html
    assert re.findall(r'<section class="card" id="([^"]+)"', html) == ["pump-2", "pump-9"]
    assert "<td>pump-1</td>" in html  # without a link, as there is no card
    assert '<a href="#pump-9">' in html


def test_names_and_notes_are_escaped(html: str) -> None:
    assert HOSTILE not in html
    assert "a &lt;note&gt;" in html


def test_page_asks_for_nothing_from_elsewhere(html: str) -> None:
    assert not re.findall(r'\b(?:src|href)="(?!#)|url\((?!#)|@import|<script|<link', html)


def test_ids_are_unique_and_references_lead_to_them(html: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', html)
    referenced = re.findall(r'(?:href="#|url\(#)([^")]+)', html)
    assert len(ids) == len(set(ids))
    assert set(referenced) <= set(ids)


def test_pictures_take_their_colours_from_the_page(html: str) -> None:
    pictures = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", pictures)) == set()


def test_devices_that_run_to_failure_are_told_by_their_lead(found: Evaluation) -> None:
    cases = tuple(replace(each, faults=(_worn(each.recorded),)) for each in found.trial.cases)
    again = evaluate(replace(found.trial, cases=cases, runs_to_failure=True), found.fit)
    html = page(again)
    assert "2 of 4 devices alert before they fail" in html
    assert "readings before failure" in html
    assert ">cycle<" in html


def _worn(device: Recorded) -> Fault:
    return Fault(Span(device.device_id, int(device.at[400]), int(device.at[-1])))


def test_the_verdict_follows_the_figures(found: Evaluation) -> None:
    model = found.results[Expectation.MODEL]
    worse = replace(model, figures=replace(model.figures, vus_pr=model.figures.vus_pr - 0.1))
    alike = replace(found, results={Expectation.MODEL: model, Expectation.VAR: model, Expectation.T2: worse})
    assert verdict(alike) == "The recurrent state adds nothing here: VAR(1) does as well."
    assert "helps here" in verdict(replace(found, results={Expectation.MODEL: model, Expectation.VAR: worse}))
    behind = replace(found, results={Expectation.MODEL: worse, Expectation.VAR: model})
    assert verdict(behind) == "The recurrent state adds nothing here: VAR(1) does as well."
    mixed = replace(model.figures.rates, f1=model.figures.rates.f1 - 0.1)
    split = replace(model, figures=replace(model.figures, rates=mixed))
    assert verdict(replace(found, results={Expectation.MODEL: worse, Expectation.VAR: split})).endswith(
        "Ahead of it: VAR(1) by VUS-PR."
    )


def test_programs_get_every_figure_of_every_expectation(found: Evaluation) -> None:
    told = figures_of(found)
    baselines = told["baselines"]
    assert isinstance(baselines, dict)
    assert set(baselines) == {str(name) for name in BASELINES}
    for figures in (told, *baselines.values()):
        assert {"f1", "far", "mar", "vus_pr", "events", "delay_readings", "delay_s", "false_alarms"} <= set(figures)
    assert told["devices"] == 4
