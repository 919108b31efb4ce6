"""Figures that count readings, on cases worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensord.trainer.evaluation.points import Rates, mean_known, precision_recall, runs, vus_pr


def flags(text: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """x for true."""
    return np.array([sign == "x" for sign in text])


def scores(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(values, np.float64)


def test_rates_count_rows() -> None:
    rates = Rates.of(alarmed=flags("xx.x...."), faulty=flags("x.xx...."))
    assert rates == Rates(f1=4 / 6, far=1 / 5, mar=1 / 3)


def test_rates_are_unknown_where_there_is_nothing_to_divide_by() -> None:
    healthy = Rates.of(flags("..x"), flags("..."))
    assert (healthy.f1, healthy.far) == (0.0, 1 / 3)
    assert math.isnan(healthy.mar)
    assert math.isnan(Rates.of(flags("xx"), flags("xx")).far)


def test_runs_are_first_and_last_rows() -> None:
    assert runs(flags("xx..x.xxx")).tolist() == [[0, 1], [4, 4], [6, 8]]
    assert runs(flags("...")).tolist() == []


def test_a_curve_has_a_point_for_each_distinct_score() -> None:
    curve = precision_recall(scores(3, 2, 2, 1), flags("x.x."))
    assert curve.recall.tolist() == [0.5, 1.0, 1.0]
    assert curve.precision.tolist() == [1.0, 2 / 3, 0.5]
    assert curve.area == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_without_a_buffer_the_volume_is_average_precision() -> None:
    score, faulty = scores(5, 4, 3, 2, 1), flags(".xx..")
    assert vus_pr(score, faulty, widest=0) == pytest.approx(precision_recall(score, faulty).area)


def test_a_buffer_gives_the_fault_s_neighbours_a_part() -> None:
    """One fault of one reading among five, alone above the rest; buffers 0 and 1 hold no neighbour, 2 holds one on
    either side with the label sqrt(1 - 1 / 2)."""
    side = math.sqrt(0.5)
    recall = 1 / ((1 + 1 + 2 * side) / 2)  # against the mean of both labels' sums
    area = recall * 1 + (1 - recall) * (1 + 2 * side) / 5  # then all readings at once
    assert vus_pr(scores(0, 0, 1, 0, 0), flags("..x.."), widest=2) == pytest.approx((1 + 1 + area) / 3)


def test_a_fault_that_no_alarm_touches_takes_its_share_of_recall() -> None:
    """Two faults of two readings; the second lies lowest of all, so recall stays at a quarter until all is alarmed."""
    found = vus_pr(scores(9, 9, 5, 5, 0, 0), flags("xx..xx"), widest=0)
    assert found == pytest.approx(0.25 * 1 + 0.75 * 4 / 6)


def test_a_score_that_leads_a_little_counts_with_a_buffer() -> None:
    faulty = flags("." * 40 + "x" * 10 + "." * 50)
    leads = np.roll(faulty, -4).astype(np.float64)
    assert vus_pr(leads, faulty, widest=20) > vus_pr(leads, faulty, widest=0)


def test_the_better_score_has_the_greater_volume() -> None:
    rng = np.random.default_rng(1)
    faulty = flags("." * 300 + "x" * 50 + "." * 300 + "x" * 20)
    noise = rng.normal(size=len(faulty))
    volumes = [vus_pr(noise + strength * faulty, faulty) for strength in (0.0, 1.0, 5.0)]
    assert volumes == sorted(volumes)
    assert volumes[0] < 0.35
    assert 0.8 < volumes[2] < 1  # of the buffers a perfect score has only a part


@pytest.mark.parametrize("faulty", ["....", "xxxx"])
def test_the_volume_is_unknown_where_all_or_nothing_is_faulty(faulty: str) -> None:
    assert math.isnan(vus_pr(scores(1, 2, 3, 4), flags(faulty)))


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=40))
def test_the_volume_depends_on_the_order_of_scores_alone(rows: list[tuple[int, bool]]) -> None:
    score, faulty = scores(*(row[0] for row in rows)), np.array([row[1] for row in rows])
    if faulty.any() and not faulty.all():
        found = vus_pr(score, faulty, widest=8)
        assert 0 <= found <= 1
        assert vus_pr(np.exp(score), faulty, widest=8) == found


def test_a_mean_leaves_out_what_is_unknown() -> None:
    assert mean_known([1.0, float("nan"), 3.0]) == 2.0
    assert math.isnan(mean_known([float("nan")]))
