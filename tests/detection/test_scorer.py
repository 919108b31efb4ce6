"""The score's own promises: it follows a device's usual noise, not its faults, and blames the right channel."""

import numpy as np
import pytest

from sensord.detection.scorer import Flags, Memory, Norms, Pace, Room, along, distance, judge, shares
from sensord.model.bundle import Profiles
from sensord.model.cells import EwmaCell
from sensord.model.manifest import Tuning
from sensord.model.steps import weights_of
from sensord.readings import Floats
from sensord.trainer.trace import trace
from tests.builders import bundle, fleet, readings

CHANNELS = 2
TUNING = Tuning(adaptation=200.0)


def profiles(threshold: float = 4.0) -> Profiles:
    eye = np.eye(CHANNELS, dtype=np.float32)[None]
    zeros = np.zeros((1, CHANNELS), np.float32)
    usual = np.full(1, threshold / 4, np.float32)
    head = np.zeros((1, CHANNELS, 4 + CHANNELS + 1), np.float32)
    return Profiles((), zeros, zeros + 1, head, eye, np.full(1, threshold, np.float32), usual)


def judged(values: Floats, tuning: Tuning = TUNING) -> tuple[Memory, Floats, Flags]:
    """The memory after a device's readings, its limits, and whether each was anomalous."""
    norms, pace, memory = Norms.of(profiles()), Pace.of(tuning), Memory.blank(1, 1, CHANNELS)
    room = Room.for_one(CHANNELS, norms.head.shape[1], weights_of(EwmaCell(CHANNELS, CHANNELS)))
    limits, alarmed = np.zeros(len(values), np.float32), np.zeros(len(values), np.bool_)
    for place, value in enumerate(values):
        _, limits[place] = judge(value, memory, 0, norms, 0, pace, room)
        alarmed[place] = memory.alarmed[0]
    return memory, limits, alarmed


def noise(n: int, sigma: float, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, sigma, (n, CHANNELS)).astype(np.float32)


def test_the_threshold_follows_a_device_s_usual_noise_within_its_bounds() -> None:
    usual_sigma = 1.0 / np.sqrt(2 * np.log(2)) * np.sqrt(29)  # median of the smoothed distance is the usual score
    louder, limits, _ = judged(noise(4_000, 1.4 * usual_sigma))
    assert float(np.exp(louder.slack[0])) == pytest.approx(1.4, rel=0.25)
    calmer, _, _ = judged(noise(4_000, 0.01))
    assert float(np.exp(calmer.slack[0])) == pytest.approx(1 / TUNING.adaptation_limit)
    assert np.nanmax(limits) <= 4.0 * TUNING.adaptation_limit * 1.01 + 1


def test_an_anomaly_teaches_the_threshold_nothing() -> None:
    values = np.concatenate((noise(300, 0.5), noise(300, 0.5) + 20))
    before, _, _ = judged(values[:300])
    after, _, alarmed = judged(values)
    assert alarmed[-280:].all()
    assert abs(float(after.slack[0] - before.slack[0])) < 0.1


def test_a_fault_that_grows_slowly_is_not_learnt_away() -> None:
    ramp = np.linspace(0, 60, 3_000, dtype=np.float32)[:, None] * np.array([1, 0], np.float32)
    _, _, alarmed = judged(np.concatenate((noise(500, 2.0), noise(3_000, 2.0) + ramp)), Tuning())
    assert not alarmed[:500].any()
    assert alarmed[500:].any()


def test_shares_sum_to_one_and_name_the_channel_that_is_off() -> None:
    mixing = np.random.default_rng(3).normal(0, 1, (6, 6))
    precision = np.linalg.inv(mixing @ mixing.T + 0.1 * np.eye(6)).astype(np.float32)
    for channel in range(6):
        deviation = (3 * np.eye(6)[channel]).astype(np.float32)
        share = shares(deviation[None], precision[None], np.zeros((1, 6, 6), np.float32))[0]
        assert share.sum() == pytest.approx(1.0)
        assert (share >= 0).all()
        assert int(share.argmax()) == channel


def test_what_lies_along_a_course_and_what_is_left_are_at_right_angles() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(0, 1, (4, 3, 3)).astype(np.float32)
    precision = root @ root.transpose(0, 2, 1) + np.eye(3, dtype=np.float32)
    deviation, course = rng.normal(0, 1, (2, 4, 3)).astype(np.float32)
    held, covector = np.zeros((2, 3), np.float32)
    for u, towards, p in zip(deviation, course, precision, strict=True):
        along(u, towards, p, covector, held)
        whole = distance(held, p, covector) ** 2 + distance(u - held, p, covector) ** 2
        np.testing.assert_allclose(whole, distance(u, p, covector) ** 2, rtol=1e-3)
        along(u, np.zeros(3, np.float32), p, covector, held)
        np.testing.assert_array_equal(held, u)


def test_a_trace_is_what_the_daemon_makes_of_a_history() -> None:
    model = bundle()
    values = [noise(200, 1.0, seed) for seed in range(3)]
    values[1][50:60, 0] = np.nan
    traced = trace(model.network, model.profiles, model.manifest.tuning, values, [0, 0, 0])
    for history, mine in zip(values, traced, strict=True):
        seen = fleet(model).observe(readings(history))
        np.testing.assert_array_equal(mine.score, seen.score)
        np.testing.assert_array_equal(mine.alarmed, seen.alarmed)
