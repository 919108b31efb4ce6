"""Promises of the stepper: a device's state depends on nothing but its own readings, to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensord.model.network import WAVE, Stepper
from sensord.readings import Floats
from tests.builders import network

CHANNELS, HIDDEN = 3, 32


def stepper() -> Stepper:
    return Stepper(network(CHANNELS, HIDDEN))


def rows(n: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Readings and states of n devices."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, (n, CHANNELS)).astype(np.float32), rng.normal(0, 1, (n, 2 * HIDDEN)).astype(np.float32)


@settings(max_examples=20)
@given(seed=st.integers(0, 1_000), n=st.integers(1, WAVE))
def test_one_wave_of_many_equals_many_waves_of_one(seed: int, n: int) -> None:
    one, (x, state) = stepper(), rows(n, seed)
    together = one.step(x, state)
    apart = np.concatenate([one.step(x[i : i + 1], state[i : i + 1]) for i in range(n)])
    np.testing.assert_array_equal(together, apart)


@settings(max_examples=20)
@given(seed=st.integers(0, 1_000), n=st.integers(2, WAVE))
def test_a_place_in_the_wave_and_its_company_change_no_bit(seed: int, n: int) -> None:
    one, (x, state) = stepper(), rows(n, seed)
    order = np.random.default_rng(seed).permutation(n)
    np.testing.assert_array_equal(one.step(x[order], state[order]), one.step(x, state)[order])
    other_x, other_state = rows(n, seed + 1)
    other_x[n // 2], other_state[n // 2] = x[n // 2], state[n // 2]
    np.testing.assert_array_equal(one.step(other_x, other_state)[n // 2], one.step(x, state)[n // 2])


def test_a_neighbour_that_is_not_finite_changes_no_bit() -> None:
    one, (x, state) = stepper(), rows(9)
    calm = one.step(x, state)
    x[4] = np.nan
    np.testing.assert_array_equal(np.delete(one.step(x, state), 4, axis=0), np.delete(calm, 4, axis=0))


def test_what_is_given_stays_untouched_and_what_is_returned_stays_too() -> None:
    one, (x, state) = stepper(), rows(5)
    kept_x, kept_state = x.copy(), state.copy()
    after = one.step(x, state)
    kept_after = after.copy()
    one.step(*rows(WAVE, seed=1))
    np.testing.assert_array_equal(x, kept_x)
    np.testing.assert_array_equal(state, kept_state)
    np.testing.assert_array_equal(after, kept_after)


def test_a_wave_too_large_is_an_error_not_a_cut() -> None:
    with pytest.raises(RuntimeError):
        stepper().step(*rows(WAVE + 1))


def test_heads_see_h_and_not_the_cell_state() -> None:
    one, (_, state) = stepper(), rows(4)
    np.testing.assert_array_equal(one.hidden(state), state[:, :HIDDEN])
