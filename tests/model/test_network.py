"""Promises of the stepper: a device's state depends on nothing but its own readings, to the last bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensord.model.cells import CELLS
from sensord.model.network import WAVE, Network, NetworkShape, Stepper
from sensord.readings import Floats

CHANNELS, HIDDEN = 3, 32


def stepper(cell: str = "lstm") -> Stepper:
    torch.manual_seed(0)
    return Stepper(Network(NetworkShape(CHANNELS, HIDDEN, cell)))


def rows(n: int, seed: int = 0, cell: str = "lstm") -> tuple[Floats, Floats]:
    """Readings and states of n devices, each somewhere in its life."""
    rng = np.random.default_rng(seed)
    one = stepper(cell)
    state = np.zeros((n, one.state_size), np.float32)
    for _ in range(int(rng.integers(3))):
        state = one.step(rng.normal(0, 2, (n, CHANNELS)).astype(np.float32), state)
    return rng.normal(0, 2, (n, CHANNELS)).astype(np.float32), state


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=5)
@given(seed=st.integers(0, 1_000), n=st.integers(1, WAVE))
def test_one_wave_of_many_equals_many_waves_of_one(cell: str, seed: int, n: int) -> None:
    one, (x, state) = stepper(cell), rows(n, seed, cell)
    together = one.step(x, state)
    for i in {0, n // 3, n // 2, n - 1}:
        np.testing.assert_array_equal(one.step(x[i : i + 1], state[i : i + 1])[0], together[i])


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=5)
@given(seed=st.integers(0, 1_000), n=st.integers(2, WAVE))
def test_a_place_in_the_wave_and_its_company_change_no_bit(cell: str, seed: int, n: int) -> None:
    one, (x, state) = stepper(cell), rows(n, seed, cell)
    order = np.random.default_rng(seed).permutation(n)
    np.testing.assert_array_equal(one.step(x[order], state[order]), one.step(x, state)[order])
    other_x, other_state = rows(n, seed + 1, cell)
    other_x[n // 2], other_state[n // 2] = x[n // 2], state[n // 2]
    np.testing.assert_array_equal(one.step(other_x, other_state)[n // 2], one.step(x, state)[n // 2])


@pytest.mark.parametrize("cell", CELLS)
def test_a_neighbour_that_is_not_finite_changes_no_bit(cell: str) -> None:
    one, (x, state) = stepper(cell), rows(9, cell=cell)
    calm = one.step(x, state)
    x[4] = np.nan
    np.testing.assert_array_equal(np.delete(one.step(x, state), 4, axis=0), np.delete(calm, 4, axis=0))


def test_what_is_given_stays_untouched_and_what_is_returned_stays_too() -> None:
    one, (x, state) = stepper(), rows(5, seed=1)
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
