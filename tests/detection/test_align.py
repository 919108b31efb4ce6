"""Values become readings the same way however they are batched, wherever a daemon dies; nothing is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensord.detection.align import ALIGN_PAGE, Align
from sensord.errors import StateUnreadable
from sensord.readings import Partition, Readings

PARTITION = Partition("t", 0)
NAN = np.nan
SPAN = 10
Value = tuple[str, int, int, float]  # device, time, channel, value


def values(*given: Value, first: int = 0) -> Readings:
    rows = np.full((len(given), 2), NAN, np.float32)
    for row, (_, _, channel, value) in enumerate(given):
        rows[row, channel] = value
    at, offsets = np.array([at for _, at, *_ in given], np.int64), np.arange(first, first + len(given))
    return Readings(PARTITION, [device for device, *_ in given], at, rows, offsets)


def told(readings: Readings) -> list[tuple[str, int, int, tuple[float, ...]]]:
    places = zip(readings.device_ids, readings.at.tolist(), readings.offsets.tolist(), strict=True)
    return [(*place, tuple(row)) for place, row in zip(places, readings.values.tolist(), strict=True)]


def align(*given: Value) -> list[tuple[str, int, int, tuple[float, ...]]]:
    return told(Align(PARTITION, 2, SPAN).take(values(*given)))


def test_a_reading_is_whole_when_all_channels_are_there() -> None:
    assert align(("a", 1, 0, 5.0), ("b", 1, 0, 7.0), ("a", 3, 1, 6.0)) == [("a", 1, 2, (5.0, 6.0))]


def test_a_channel_that_comes_again_begins_the_next_reading() -> None:
    [(device, at, offset, row)] = align(("a", 1, 0, 5.0), ("a", 4, 0, 6.0))
    assert (device, at, offset, row[0]) == ("a", 1, 0, 5.0)
    assert np.isnan(row[1])


def test_a_value_that_is_too_young_begins_the_next_reading() -> None:
    found = align(("a", 1, 0, 5.0), ("a", 1 + SPAN, 1, 6.0), ("a", 2 + SPAN, 0, 7.0))
    assert [(at, offset) for _, at, offset, _ in found] == [(1, 0), (1 + SPAN, 2)]


def test_a_value_that_is_a_little_older_still_belongs_and_one_that_is_much_older_goes_alone() -> None:
    assert align(("a", 100, 0, 5.0), ("a", 95, 1, 6.0)) == [("a", 100, 1, (5.0, 6.0))]
    [(_, at, _, _), (_, whole_at, _, row)] = align(("a", 100, 0, 5.0), ("a", 50, 1, 6.0), ("a", 101, 1, 7.0))
    assert (at, whole_at, row) == (50, 100, (5.0, 7.0))


def test_without_a_span_all_pass_as_they_came() -> None:
    readings = values(("a", 1, 0, 5.0))
    plain = Align(PARTITION, 2, 0)
    assert plain.take(readings) is readings
    assert plain.pages() == {}


MANY = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.integers(0, 1), st.integers(0, 9).map(float)), max_size=40
)


@given(given=MANY, cuts=st.sets(st.integers(0, 40)), dies=st.integers(0, 40))
def test_however_it_is_batched_and_wherever_it_is_stored_the_same_comes_out(
    given: list[Value], cuts: set[int], dies: int
) -> None:
    whole = Align(PARTITION, 2, SPAN)
    expected = told(whole.take(values(*given))) + told(whole.rest())
    one, found = Align(PARTITION, 2, SPAN), []
    for begin, end in zip(sorted({0, *cuts}), [*sorted(cuts - {0}), 41], strict=False):
        found += told(one.take(values(*given[begin:end], first=begin)))
        if begin <= dies < end:
            after = Align(PARTITION, 2, SPAN)
            after.load(one.pages()[ALIGN_PAGE])
            one = after
    found += told(one.rest())
    np.testing.assert_equal(sorted(found), sorted(expected))
    assert sum(np.isfinite(row).sum() for *_, row in found) == len(given)


def test_a_page_of_another_form_is_refused_by_name() -> None:
    one = Align(PARTITION, 2, SPAN)
    one.take(values(("a", 1, 0, 5.0)))
    page = one.pages()[ALIGN_PAGE]
    with pytest.raises(StateUnreadable, match="the bundle has 3 channels"):
        Align(PARTITION, 3, SPAN).load(page)
    with pytest.raises(StateUnreadable, match="held readings is damaged"):
        Align(PARTITION, 2, SPAN).load(page[:-1] + b"x")
