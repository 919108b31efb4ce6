"""Promises of the reorder buffer: what comes late within the limit makes no difference, and a kill loses nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensord.detection.reorder import REORDER_PAGE, Reorder
from sensord.errors import StateUnreadable
from sensord.readings import Partition, Readings

HERE = Partition("readings", 0)
SECOND = 1_000_000


def readings(*told: tuple[str, float], first: int = 0) -> Readings:
    """(device, second) each; the value is the second."""
    at = np.array([round(second * SECOND) for _, second in told], np.int64)
    values = np.array([[second] for _, second in told], np.float32).reshape(len(told), 1)
    return Readings(HERE, [name for name, _ in told], at, values, np.arange(first, first + len(told)))


def told(some: Readings) -> list[tuple[str, float]]:
    return [(name, at / SECOND) for name, at in zip(some.device_ids, some.at.tolist(), strict=True)]


def test_without_lateness_nothing_waits() -> None:
    some = readings(("a", 3), ("a", 1))
    assert Reorder(HERE, 1, 0).take(some) is some


def test_a_reading_waits_until_its_device_has_sent_one_that_is_so_much_younger() -> None:
    reorder = Reorder(HERE, 1, 10 * SECOND)
    assert told(reorder.take(readings(("a", 5), ("a", 0), ("b", 3)))) == []
    assert told(reorder.take(readings(("a", 12), first=3))) == [("a", 0)]
    assert told(reorder.take(readings(("a", 15), ("b", 90), first=4))) == [("a", 5), ("b", 3)]
    assert len(reorder) == 3


def test_what_comes_later_than_that_is_let_through_to_be_counted_as_late() -> None:
    reorder = Reorder(HERE, 1, 10 * SECOND)
    reorder.take(readings(("a", 100)))
    assert told(reorder.take(readings(("a", 50)))) == [("a", 50)]


def test_what_waits_where_nothing_more_comes_is_had_in_its_order() -> None:
    reorder = Reorder(HERE, 1, 10 * SECOND)
    reorder.take(readings(("a", 5), ("b", 3), ("a", 2)))
    assert told(reorder.rest()) == [("a", 2), ("b", 3), ("a", 5)]
    assert (len(reorder), told(reorder.rest())) == (0, [])


def test_readings_of_one_record_keep_their_places() -> None:
    two = Readings(HERE, ["a", "a"], np.array([5, 0]) * SECOND, np.zeros((2, 1), np.float32), np.array([7, 7]))
    reorder = Reorder(HERE, 1, SECOND)
    first = reorder.take(two)
    second = reorder.take(readings(("a", 9), first=8))
    assert (first.offsets.tolist(), first.positions.tolist()) == ([7], [1])
    assert (second.offsets.tolist(), second.positions.tolist()) == ([7], [0])


Told = list[tuple[str, int]]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60)), max_size=60), st.data())
def test_batches_and_restarts_make_no_difference(some: Told, data: st.DataObject) -> None:
    whole = readings(*some)
    at_once = Reorder(HERE, 1, 8 * SECOND)
    expected = told(at_once.take(whole)) if some else []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(some)), max_size=5)))
    reorder, found = Reorder(HERE, 1, 8 * SECOND), []
    for start, stop in zip([0, *cuts], [*cuts, len(some)], strict=True):
        found += told(reorder.take(readings(*some[start:stop], first=start)))
        [page] = reorder.pages().values()
        reorder = Reorder(HERE, 1, 8 * SECOND)
        reorder.load(page)
    assert found == expected, "how the log was polled shows"
    for device in "abc":  # within a device the order is that of event time as long as nothing was too late
        mine = [second for name, second in found if name == device]
        late = [second for name, second in some if name == device]
        if all(second > max(late[:place], default=0) - 8 for place, second in enumerate(late)):
            assert mine == sorted(mine)


def test_a_limit_that_is_taken_away_lets_everything_through() -> None:
    before = Reorder(HERE, 1, 10 * SECOND)
    before.take(readings(("a", 5), ("a", 3)))
    after = Reorder(HERE, 1, 0)
    after.load(before.pages()[REORDER_PAGE])
    assert told(after.take(readings(("b", 1), first=2))) == [("a", 3), ("a", 5), ("b", 1)]
    assert len(after.pages()) == 1, "the stored page has to be replaced by an empty one"


@pytest.mark.parametrize(("cut", "first"), [(-1, b"S"), (9, b"S"), (None, b"x")])
def test_a_damaged_page_is_refused(cut: int | None, first: bytes) -> None:
    reorder = Reorder(HERE, 1, SECOND)
    reorder.take(readings(("a", 5)))
    page = reorder.pages()[REORDER_PAGE]
    with pytest.raises(StateUnreadable, match="page of waiting readings"):
        Reorder(HERE, 1, SECOND).load(first + page[1:cut])


def test_a_page_of_other_channels_is_refused() -> None:
    reorder = Reorder(HERE, 1, SECOND)
    reorder.take(readings(("a", 5)))
    with pytest.raises(StateUnreadable, match=r"1 channels.*has 2 channels"):
        Reorder(HERE, 2, SECOND).load(reorder.pages()[REORDER_PAGE])
