"""Promises of the long-gap task: nothing but memory tells its faults, and the trunk that is trained has it."""

import numpy as np
import pytest

from sensord.trainer.compare.long_gap import HOLD, IDLE, Sizes, auc, long_gap, stream


def test_health_and_fault_look_alike_to_whoever_has_forgotten_the_command() -> None:
    one = stream(np.random.default_rng(0), 50, 0, 2_000)
    for back in (0, 1):  # the decisive reading, and the one before
        healthy, faulty = (one.values[one.decides[kind] - back] for kind in (~one.faulty, one.faulty))
        np.testing.assert_allclose(healthy.mean(axis=0), faulty.mean(axis=0), atol=0.15)
        np.testing.assert_allclose(np.cov(healthy.T), np.cov(faulty.T), atol=0.05)


def test_a_healthy_response_follows_the_command_and_a_faulty_one_goes_against_it() -> None:
    one = stream(np.random.default_rng(0), 50, 5, 5)
    assert not one.faulty[:5].any()
    begins = np.r_[0, one.decides[:-1] + HOLD + IDLE[0] - 2]
    for begin, decide, faulty in zip(begins, one.decides, one.faulty, strict=True):
        command = one.values[begin:decide, 0]
        direction = np.sign(command[np.abs(command).argmax()])
        assert np.sign(one.values[decide, 2]) == (-direction if faulty else direction)


def test_the_area_under_the_curve_counts_pairs() -> None:
    faulty = np.array([False, True, False, True])
    assert auc(np.array([1.0, 2.0, 3.0, 4.0]), faulty) == 0.75
    assert auc(np.array([1.0, 1.0, 1.0, 1.0]), faulty) == 0.5


@pytest.mark.slow
def test_the_lstm_remembers_a_command_that_a_stateless_baseline_has_forgotten() -> None:
    found = long_gap(50, ["lstm"], 0, Sizes(devices=10, history=20, judged=20))
    assert found["lstm"] > 0.9
    assert max(found["var1"], found["t2"], found["untrained"]) < 0.7
