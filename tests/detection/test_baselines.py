"""What each expectation may look at."""

import pytest

from sensord.detection.baselines import BASELINES, Expectation


@pytest.mark.parametrize(
    ("expectation", "seen"),
    [
        (Expectation.MODEL, [True, True, True, True, True]),
        (Expectation.UNTRAINED, [True, True, True, True, True]),
        (Expectation.EWMA, [True, True, False, False, True]),
        (Expectation.VAR, [False, False, True, True, True]),
        (Expectation.T2, [False, False, False, False, False]),
    ],
)
def test_heads_see_state_reading_and_constant(expectation: Expectation, seen: list[bool]) -> None:
    assert expectation.inputs(hidden=2, channels=2).tolist() == seen


def test_every_expectation_but_the_model_is_a_baseline() -> None:
    assert {Expectation.MODEL, *BASELINES} == set(Expectation)
