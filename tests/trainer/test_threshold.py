"""Thresholds open as many alerts on healthy scores as were asked for."""

import numpy as np
import pytest

from sensord.detection.channels.bank import Verdicts
from sensord.detection.devices import Devices
from sensord.detection.episodes import OPENED, Place, Rules, advance, call
from sensord.model.manifest import Tuning
from sensord.readings import Floats
from sensord.trainer.threshold import AlarmBudget, HeldOut, calm_scores, level_for

TUNING = Tuning(dead_time=0)


def scores(n: int = 40_000, devices: int = 4, seed: int = 0) -> list[Floats]:
    """Smoothed noise, as scores are."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 1, (devices, n))
    smoothed = np.zeros((devices, n))
    for t in range(1, n):
        smoothed[:, t] = smoothed[:, t - 1] + (noise[:, t] - smoothed[:, t - 1]) / 15
    return list(np.abs(smoothed * np.sqrt(29)).astype(np.float32))


def openings(given: list[Floats], level: float) -> int:
    """By the daemon's own episodes."""
    devices, silent, rules = Devices(1, 1), Verdicts.blank(1), Rules.of(TUNING, 1 << 60)
    devices.find([str(number) for number in range(len(given))])
    count, limit = 0, np.float32(level)
    for slot, each in enumerate(given):
        alarmed = False
        for t, now in enumerate(each):
            alarmed = bool(now > (level * TUNING.clear_share if alarmed else level))
            called = call(now, limit, alarmed, silent)
            did = advance(devices.state.episodes, slot, Place(t, t, 0), called, now, limit, silent, rules)
            count += bool(did & OPENED)
    return count


def test_a_level_opens_as_many_alerts_as_were_asked_for() -> None:
    """160,000 readings; 160 asked is counted, 16 comes from the tail."""
    given = scores()
    for asked in (160, 16):
        level = level_for(asked / 160_000, given, TUNING)
        assert openings(scores(seed=1), level) == pytest.approx(asked, rel=0.5)


def test_a_smaller_budget_never_lowers_the_threshold() -> None:
    held_out = HeldOut(scores(10_000), scores(10_000))
    budgets = [AlarmBudget(per_day, 300.0).factor(held_out, TUNING) for per_day in (1.0, 0.1, 0.01, 0.001)]
    assert budgets == sorted(budgets)
    whole = AlarmBudget(0.1, 300.0)
    assert whole.part(0.5) == AlarmBudget(0.05, 300.0)


def test_a_threshold_makes_up_for_what_a_short_history_hides_and_only_there() -> None:
    rule = AlarmBudget(1.0, 300.0)
    for length, raised in ((500, 1.5**0.5), (2_000, 1.0)):
        hidden = scores(length, devices=20)
        honest = rule.factor(HeldOut(hidden, hidden), TUNING)
        later = [(1.5 * each).astype(np.float32) for each in hidden]
        assert rule.factor(HeldOut(hidden, later), TUNING) == pytest.approx(raised * honest)
        assert rule.factor(HeldOut(hidden, [(each / 2).astype(np.float32) for each in hidden]), TUNING) == honest


def test_scores_that_raise_an_alarm_are_not_calm() -> None:
    given = np.array([1, 1, 5, 3, 3, 1, 3, 1], np.float32)
    tuning = Tuning(clear_share=0.5)
    assert calm_scores(given, 4.0, tuning).tolist() == [1, 1, 1, 3, 1]  # 5, and what holds on to it, are out
