"""A pile of rows comes out by device, each device's in the order they came."""

from itertools import pairwise

import numpy as np
import pytest

from sensord.stream import tables
from sensord.stream.tables import Chunk, Pile


@pytest.mark.parametrize("rows", [1, 7, 1 << 16])
def test_rows_are_put_in_order_by_device_however_long_the_stretches(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS", rows)
    rng = np.random.default_rng(0)
    names = [f"d{device}" for device in rng.integers(0, 9, 100)]
    values = np.arange(200, dtype=np.float32).reshape(100, 2)
    pile = Pile()
    for first, last in pairwise([0, 0, 13, 14, 60, 100]):
        channels = ("heat",) if last <= 14 else ("heat", "flow")  # a channel that comes later
        place = np.arange(first, last)
        pile.add(Chunk(names[first:last], channels, place * 10, values[first:last, : len(channels)], place + 1))
    assert (len(pile), pile.channels) == (100, ("heat", "flow"))
    expected = values.copy()
    expected[:14, 1] = np.nan
    found = dict(pile.by_device())
    assert list(found) == list(dict.fromkeys(names))
    for name, (at, measured, lines) in found.items():
        mine = np.flatnonzero([each == name for each in names])
        np.testing.assert_array_equal(at, mine * 10)
        np.testing.assert_array_equal(lines, mine + 1)
        np.testing.assert_array_equal(measured, expected[mine])
