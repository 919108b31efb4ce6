"""When a drift will reach a limit: right for what grows, honest about what nobody can know, and so on the turbofans."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sensord.detection.forecast import EARLY, LATE, Bounds, Level, ToGo, forecast, to_go

Courses = NDArray[np.float64]

SPAN = 100.0
NOW, PERIOD = 1_000_000_000, 1_000_000.0
CHECKED = range(51, 101)  # engines that the interval was not fitted on
BASELINE, TURBOFAN_SPAN = 10, 60  # cycles: the scorer's baseline and the drift's span, as an engine's life is short
SENSORS = tuple(4 + number for number in (2, 3, 4, 7, 8, 9, 11, 12, 13, 14, 15, 17, 20, 21))  # that are not constant


def level_of(course: Courses) -> tuple[float, float]:
    """How far a course has gone, and how far it is ahead of its mean over SPAN readings."""
    mean = 0.0
    for value in course:
        mean += (value - mean) / SPAN
    return float(course[-1]), float(course[-1] - mean)


def growing(readings: int, rate: float) -> Courses:
    return np.exp(rate * np.arange(-readings, 1.0))


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_what_grows_by_a_constant_share_arrives_when_it_is_said_to(rate: float) -> None:
    rise, ahead = level_of(growing(2_000, rate))
    found = to_go(rise, ahead, left=1.0 * rise, usual=0.0, span=SPAN)
    assert found is not None
    assert found.likely == pytest.approx(math.log(2) / rate, rel=0.05)
    assert found.earliest == EARLY * found.likely
    assert found.latest >= LATE * found.likely


@pytest.mark.parametrize("readings", [40, 100, 200])
def test_what_rises_steadily_arrives_before_the_late_end(readings: int) -> None:
    rise, ahead = level_of(np.arange(readings + 1.0))
    found = to_go(rise, ahead, left=20.0, usual=0.0, span=SPAN)
    assert found is not None
    assert found.earliest < 20.0
    assert found.latest >= 19.0


@pytest.mark.parametrize(
    ("rise", "ahead", "left", "usual"),
    [(10.0, -1.0, 5.0, 0.0), (10.0, 0.5, 5.0, 4.0), (10.0, 0.01, 500.0, 0.0), (-3.0, 1.0, 5.0, 0.0)],
    ids=["goes back", "no more than usual", "too far off", "on the other side"],
)
def test_nothing_is_said_of_what_nobody_can_know(rise: float, ahead: float, left: float, usual: float) -> None:
    assert to_go(rise, ahead, left, usual, SPAN) is None


def test_what_is_there_already_is_there_now() -> None:
    assert to_go(1.0, 0.0, -2.0, 1.0, SPAN) == ToGo(0.0, 0.0, 0.0)


def test_the_limit_that_comes_first_is_told_in_event_time() -> None:
    levels = [
        Level("heat", 70.0, 10.0, 5.0, 0.1),
        Level("flow", 5.0, -2.0, -1.0, 0.1),
        Level("noise", 1.0, 9.0, 3.0, 0),
    ]
    bounds = {"heat": Bounds(high=90.0, low=0.0), "flow": Bounds(low=4.5, high=9.0)}
    found = forecast(levels, bounds, SPAN, NOW, PERIOD)
    assert found is not None
    assert (found.channel, found.limit) == ("flow", 4.5)
    assert NOW < found.earliest < found.at < found.latest
    assert found.at == NOW + round(PERIOD * SPAN * math.log1p(0.25))
    assert forecast(levels[2:], bounds, SPAN, NOW, PERIOD) is None
    assert forecast(levels, {"heat": Bounds(low=0.0)}, SPAN, NOW, PERIOD) is None


# --- the turbofans ---------------------------------------------------------------------------------------------------


def forecasts(file: Path) -> Iterator[tuple[ToGo, int | None, int]]:
    """Forecasts of engines' sensors, every fifth cycle; when the limit was reached, and how long the engine ran on.

    A limit is a share of how far a third of the engines' sensors go at least, in spreads of their health.
    """
    rows = np.loadtxt(file)
    courses = [_courses(rows[rows[:, 0] == engine][:, SENSORS]) for engine in CHECKED]
    ends = np.array([fast[-1] for fast, _, _ in courses])
    limits = np.sign(np.median(ends, 0)) * np.quantile(np.abs(ends), 0.35, axis=0)
    for fast, slow, healthy in courses:
        usual = np.abs(slow[BASELINE:healthy]).max(0)
        for sensor, share in ((s, share) for s in range(len(SENSORS)) for share in (0.6, 0.8, 1.0)):
            limit = share * limits[sensor]
            sign = np.sign(limit)
            reached = np.flatnonzero(sign * fast[:, sensor] >= abs(limit))
            for now in range(healthy, min(reached[0] if len(reached) else len(fast), len(fast) - 1), 5):
                rise, mean = sign * fast[now, sensor], sign * slow[now, sensor]
                if abs(mean) < 2 * usual[sensor]:
                    continue  # no drift yet
                found = to_go(rise, rise - mean, abs(limit) - rise, usual[sensor], TURBOFAN_SPAN)
                if found is not None:
                    yield found, int(reached[0]) - now if len(reached) else None, len(fast) - now


def _courses(values: Courses) -> tuple[Courses, Courses, int]:
    """Each sensor's level as the scorer follows it, its mean as drift does, in spreads of its healthy first third."""
    healthy = int(0.3 * len(values))
    scaled = (values - values[:healthy].mean(0)) / (values[:healthy].std(0) + 1e-9)
    fast, slow = np.zeros(scaled.shape), np.zeros(scaled.shape)
    for cycle in range(len(scaled)):
        before = max(cycle - 1, 0)
        fast[cycle] = fast[before] + (scaled[cycle] - fast[before]) / min(cycle + 1, BASELINE)
        slow[cycle] = slow[before] + (fast[cycle] - slow[before]) / min(cycle + 1, TURBOFAN_SPAN)
    return fast, slow, healthy


def test_nine_of_ten_turbofans_reach_a_limit_when_it_is_said_that_they_may(
    shared_data: Path, record_property: Callable[[str, object], None]
) -> None:
    covered, early, late, ratios = 0, 0, 0, []
    for found, reached, ran_on in forecasts(shared_data / "cmapss" / "train_FD001.txt"):
        if reached is None and found.latest > ran_on:
            continue  # it may have been right: the engine ended before
        arrived = math.inf if reached is None else reached
        early += arrived < found.earliest - 1
        late += arrived > found.latest + 1
        covered += found.earliest - 1 <= arrived <= found.latest + 1
        if reached is not None:
            ratios.append(reached / max(found.likely, 1.0))
    told = covered + early + late
    said = f"{told} forecasts: {covered / told:.3f} held, {early / told:.3f} came sooner, {late / told:.3f} later"
    record_property("forecasts", said)
    assert told > 5_000
    assert covered / told > 0.85
    assert max(early, late) / told < 0.1
    assert 0.7 < np.median(ratios) < 1.4
