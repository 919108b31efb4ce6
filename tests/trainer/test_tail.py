"""The tail is the one that scipy fits, and no handful of excesses carries a level away."""

import numpy as np
import pytest
from scipy import stats

from sensord.trainer.tail import FEW, SHAPE_LIMIT, Tail


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3])
def test_many_excesses_give_scipys_maximum_likelihood(shape: float) -> None:
    excesses = stats.genpareto.rvs(shape, scale=2.0, size=4_000, random_state=1)
    mine = Tail.fit(excesses, 5.0)
    theirs_shape, _, theirs_scale = stats.genpareto.fit(excesses, floc=0)
    assert mine.shape == pytest.approx(theirs_shape, abs=0.02)  # drawn to 0 as if by ten excesses
    assert mine.scale == pytest.approx(theirs_scale, rel=0.02)


def test_a_level_is_exceeded_by_the_share_that_was_asked_for() -> None:
    tail = Tail(5.0, 2.0, 0.2)
    assert stats.genpareto.sf(tail.level(0.001) - 5.0, 0.2, scale=2.0) == pytest.approx(0.001)
    assert Tail(5.0, 2.0, 0.0).level(0.001) == pytest.approx(5.0 - 2.0 * np.log(0.001))


def test_few_equal_or_no_excesses_have_no_shape() -> None:
    rng = np.random.default_rng(0)
    assert Tail.fit(rng.exponential(1, FEW - 1), 1.0).shape == 0
    assert Tail.fit(np.full(100, 3.0), 1.0) == Tail(1.0, 3.0, 0.0)
    assert Tail.fit(np.zeros(5), 1.0).level(1e-9) == 1.0


def test_a_freak_does_not_carry_the_level_away() -> None:
    calm = np.random.default_rng(0).exponential(1, 30)
    assert abs(Tail.fit(np.r_[calm, 1e6], 0.0).shape) <= SHAPE_LIMIT


def test_rarer_is_never_lower() -> None:
    tail = Tail.fit(np.random.default_rng(0).exponential(1, 200), 1.0)
    levels = [tail.level(share) for share in (2.0, 1.0, 0.1, 0.01, 1e-6)]
    assert levels == sorted(levels)
    assert levels[0] == levels[1] == 1.0
