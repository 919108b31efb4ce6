"""Promises of the sine exercise."""

import numpy as np

from sensord.trainer.compare.sine import ALONE, HEARD, compare_sine, truth


def test_the_lstm_learns_the_sine_and_goes_on_alone() -> None:
    (one,) = compare_sine(["lstm"], 300, 0).values()
    assert list(one.losses) == [100, 200, 300]
    assert one.losses[300] < one.losses[100]
    assert one.predicted.shape == (HEARD + ALONE - 1,)
    np.testing.assert_allclose(one.predicted[HEARD : HEARD + 20], truth()[HEARD + 1 : HEARD + 21], atol=0.3)


def test_the_same_seed_gives_the_same_forecast() -> None:
    first, again = (compare_sine(["rnn"], 5, 3)["rnn"] for _ in range(2))
    np.testing.assert_array_equal(first.predicted, again.predicted)
