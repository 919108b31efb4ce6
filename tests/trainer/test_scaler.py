"""Scalers say of readings what numpy says of copies of them."""

import numpy as np

from sensord.readings import Floats
from sensord.trainer.scaler import Scaler, device_scaler, fleet_scaler


def histories() -> list[Floats]:
    rng = np.random.default_rng(0)
    found = [rng.normal(level, 3, (length, 2)).astype(np.float32) for level, length in ((5, 300), (-2, 70))]
    found[0][10:40, 1] = np.nan
    return found


def test_a_fleets_scaler_pools_all_readings_that_are_there() -> None:
    scaler, pooled = fleet_scaler(histories()), np.concatenate(histories()).astype(np.float64)
    np.testing.assert_allclose(scaler.mean, np.nanmean(pooled, axis=0), rtol=1e-6)
    np.testing.assert_allclose(scaler.scale, np.nanstd(pooled, axis=0), rtol=1e-6)


def test_a_channel_that_a_device_lacks_or_that_stands_still_takes_after_the_fleet() -> None:
    fleet = Scaler(np.array([1, 2], np.float32), np.array([10, 20], np.float32))
    values = np.full((50, 2), np.nan, np.float32)
    values[:, 0] = 7
    scaler = device_scaler(values, fleet)
    assert scaler.mean.tolist() == [7, 2]
    assert scaler.scale.tolist() == [1, 2]


def test_what_is_absent_stays_as_it_was_last_and_is_the_mean_before_the_first() -> None:
    values = np.array([[np.nan], [3], [np.nan], [np.inf], [5]], np.float32)
    scaled = Scaler(np.array([1], np.float32), np.array([2], np.float32)).apply(values)
    assert scaled[:, 0].tolist() == [0, 1, 1, 1, 2]
