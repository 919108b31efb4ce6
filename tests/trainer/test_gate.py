"""The gate lets a good candidate through, and nothing that cries wolf, is deaf or expects less than what there is."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from sensord.model.bundle import Bundle
from sensord.model.manifest import Channel
from sensord.simulate import FleetPlan, simulate
from sensord.trainer.confirmed import confirmed
from sensord.trainer.fit import FitOptions
from sensord.trainer.gate.planted import BETWEEN, LENGTH, Planted, plant
from sensord.trainer.gate.verdict import Case, Check, Verdict, as_many_heads, at_least, judge
from sensord.trainer.history import History
from sensord.trainer.holes import Cause, Hole, Holes
from sensord.trainer.job import Trained, TrainOptions, train, trial_of
from sensord.trainer.offline import Recorded
from sensord.trainer.threshold import HELD_OUT

OPTIONS = TrainOptions("pumps", alarm_budget=0.2, fit=FitOptions(steps=5, hidden=8))


@pytest.fixture(scope="module")
def history() -> History:
    simulated = simulate(FleetPlan(devices=6, readings=3_000, healthy_readings=3_000, faults=0))
    devices = tuple(
        Recorded(name, simulated.at[:, i], simulated.values[:, i].astype(np.float32))
        for i, name in enumerate(simulated.device_ids)
    )
    return History(tuple(channel.name for channel in simulated.channels), devices)


@pytest.fixture(scope="module")
def trained(history: History) -> Trained:
    return train(history, OPTIONS)


@pytest.fixture(scope="module")
def case(history: History, trained: Trained) -> Case:
    """The candidate against itself, as another bundle."""
    manifest = msgspec.structs.replace(trained.bundle.manifest, bundle_id="pumps-old")
    trial = trial_of(trained, history, OPTIONS)
    current = Bundle(manifest, trial.network, trial.profiles)
    return Case(trial, current, history, OPTIONS.alarm_budget, OPTIONS.max_gap_s, trained.bundle.manifest.metrics)


def with_profiles(bundle: Bundle, **changes: object) -> Bundle:
    return Bundle(bundle.manifest, bundle.network, replace(bundle.profiles, **changes))  # type: ignore[arg-type]


def refused(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if not check.passed}


def test_what_is_as_good_as_the_current_bundle_passes(case: Case) -> None:
    verdict = judge(case)
    assert verdict.passed, verdict.objections
    assert verdict.against == "pumps-old"
    assert [check.name for check in verdict.checks] == ["budget", "baselines", "error", "recall"]
    figures = {check.name: check.figures for check in verdict.checks}
    assert figures["error"]["error"] == figures["error"]["current"] > 0
    assert figures["recall"]["found"] == figures["recall"]["found_by_current"] > figures["recall"]["faults"] / 2
    assert figures["recall"]["won"] == figures["recall"]["lost"] == 0


def test_the_first_bundle_of_a_fleet_has_nobody_to_be_held_against(case: Case) -> None:
    verdict = judge(replace(case, current=None))
    assert verdict.passed
    assert verdict.against is None
    assert [check.name for check in verdict.checks] == ["budget", "baselines", "recall"]


def test_a_candidate_that_cries_wolf_is_refused(case: Case) -> None:
    loud = with_profiles(case.trial, threshold=case.trial.profiles.threshold / 3)
    verdict = judge(replace(case, trial=loud))
    assert "budget" in refused(verdict)
    assert "alarms in" in verdict.objections


def test_a_deaf_candidate_is_refused(case: Case) -> None:
    deaf = with_profiles(case.trial, threshold=case.trial.profiles.threshold * 1e3, events={})
    assert refused(judge(replace(case, trial=deaf))) == {"recall"}


def test_a_candidate_that_expects_less_of_the_readings_is_refused(case: Case) -> None:
    blind = with_profiles(case.trial, head=np.zeros_like(case.trial.profiles.head))
    assert "error" in refused(judge(replace(case, trial=blind)))


def test_a_candidate_that_is_no_better_than_a_baseline_is_refused(case: Case) -> None:
    worse = dict(case.metrics) | {"held_out_error_model": 2 * max(case.metrics.values())}
    assert refused(judge(replace(case, metrics=worse))) == {"baselines"}


def test_a_candidate_of_other_channels_is_refused_without_more_ado(case: Case) -> None:
    renamed = msgspec.structs.replace(case.trial.manifest, channels=(Channel("smell", "K"),))
    other = Bundle(renamed, case.trial.network, case.trial.profiles)
    assert refused(judge(replace(case, trial=other))) == {"channels"}


# --- alerts that people called real ----------------------------------------------------------------------------------

FAULT = slice(1_500, 1_600)


def with_confirmed(case: Case, *devices: int, faults: Sequence[slice] = (FAULT,), size: float = 8.0) -> Case:
    """The case with faults that were called real in each of these devices. size: in the channels' standard deviations;
    0: there is nothing to be seen."""
    spoilt, holes = list(case.history.devices), list[tuple[str, Hole]]()
    for place in devices:
        whole = spoilt[place]
        values = whole.values.copy()
        spread = np.nanstd(values, axis=0)
        for rows in faults:
            values[rows] += size * spread
            holes.append((whole.device_id, Hole(int(whole.at[rows.start]), int(whole.at[rows.stop - 1]), Cause.REAL)))
        spoilt[place] = replace(whole, values=values)
    return replace(case, history=replace(case.history, confirmed=confirmed(spoilt, Holes.gathered(holes, []))))


def deaf_to(bundle: Bundle, *device_ids: str) -> Bundle:
    threshold = bundle.profiles.threshold.copy()
    for name in device_ids:
        threshold[1 + bundle.profiles.device_ids.index(name)] *= 1e3
    return with_profiles(bundle, threshold=threshold, events={})


def of_confirmed(verdict: Verdict) -> Check:
    [check] = [check for check in verdict.checks if check.name == "confirmed"]
    return check


def test_a_candidate_that_finds_what_people_called_real_as_the_current_bundle_does_passes(case: Case) -> None:
    verdict = judge(with_confirmed(case, 0, 3))
    assert verdict.passed, verdict.objections
    check = of_confirmed(verdict)
    assert check.told == "it finds 2 of 2 confirmed alerts, pumps-old 2: 0 won, 0 lost"
    assert check.figures == {"faults": 2, "found": 2, "found_by_current": 2, "won": 0, "lost": 0}


def test_a_candidate_that_misses_one_alert_that_a_person_called_real_is_refused(case: Case) -> None:
    known = with_confirmed(case, 0, 3)
    deaf = deaf_to(case.trial, case.history.devices[3].device_id)
    verdict = judge(replace(known, trial=deaf))
    assert not of_confirmed(verdict).passed
    assert "it finds 1 of 2 confirmed alerts, pumps-old 2: 0 won, 1 lost" in verdict.objections


def test_several_alerts_of_one_device_are_each_looked_for(case: Case) -> None:
    far_apart = with_confirmed(case, 0, faults=(slice(300, 400), slice(1_450, 1_550), slice(2_700, 2_800)))
    assert of_confirmed(judge(far_apart)).told == "it finds 3 of 3 confirmed alerts, pumps-old 3: 0 won, 0 lost"


def test_an_alert_lost_for_one_won_is_no_fall(case: Case) -> None:
    known, names = with_confirmed(case, 0, 3), [device.device_id for device in case.history.devices]
    assert case.current is not None
    rivals = replace(known, trial=deaf_to(case.trial, names[0]), current=deaf_to(case.current, names[3]))
    check = of_confirmed(judge(rivals))
    assert check.passed
    assert check.told == "it finds 1 of 2 confirmed alerts, pumps-old 1: 1 won, 1 lost"


def test_what_neither_finds_and_what_nobody_is_held_against_passes(case: Case) -> None:
    check = of_confirmed(judge(with_confirmed(case, 0, size=0.0)))
    assert (check.passed, check.told) == (True, "it finds 0 of 1 confirmed alerts, pumps-old 0: 0 won, 0 lost")
    first = of_confirmed(judge(replace(with_confirmed(case, 0), current=None)))
    assert (first.passed, first.told) == (True, "it finds 1 of 1 confirmed alerts; nothing to compare")
    assert first.figures == {"faults": 1, "found": 1}


def test_faults_are_planted_in_the_last_part_alone_and_always_the_same(history: History) -> None:
    begins = {each.device_id: round((1 - HELD_OUT) * len(each.at)) for each in history.devices}
    spoilt, spans = plant(history.devices, begins, seed=1)
    again, _ = plant(history.devices, begins, seed=1)
    assert len(spans) >= len(Planted)
    for device, bad, same in zip(history.devices, spoilt, again, strict=True):
        assert np.array_equal(bad.values, same.values, equal_nan=True)
        changed = (bad.values != device.values).any(axis=1)
        inside = np.zeros(len(device.at), bool)
        for span in (span for span in spans if span.device_id == device.device_id):
            rows = (device.at >= span.start_at) & (device.at <= span.end_at)
            assert rows.sum() == LENGTH
            assert changed[rows].mean() > 0.5
            inside |= rows
        assert not changed[~inside].any()
        assert np.flatnonzero(inside)[0] >= begins[device.device_id] + BETWEEN


def test_chances_are_those_of_the_tables() -> None:
    assert at_least(0, 0.0) == at_least(0, 3.0) == 1.0
    assert at_least(1, 0.0) == 0.0
    assert at_least(3, 1.0) == pytest.approx(0.080301, abs=1e-6)
    assert at_least(400, 300.0) < 1e-6
    assert as_many_heads(0, 0) == 1.0
    assert as_many_heads(8, 10) == pytest.approx(0.0546875)
