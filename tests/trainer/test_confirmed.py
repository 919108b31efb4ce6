"""Alerts that people called real are kept aside with their readings, and nothing else of what is cut out."""

from pathlib import Path

import numpy as np
import pytest

from sensord.readings import Partition, Record
from sensord.stream.decoders.json import JsonDecoder
from sensord.stream.tables import Table
from sensord.trainer.confirmed import NONE_CONFIRMED, Confirmed, confirmed
from sensord.trainer.events import Span
from sensord.trainer.history import History, Range, from_records, from_tables
from sensord.trainer.holes import MARGIN, Cause, Hole, Holes
from sensord.trainer.offline import LEAD_IN, Recorded

SECOND = 1_000_000


def recorded(device_id: str = "a", n: int = 5_000) -> Recorded:
    values = np.random.default_rng(n).normal(0, 1, (n, 2)).astype(np.float32)
    return Recorded(device_id, np.arange(n) * SECOND, values)


def hole(first: int, last: int, cause: Cause = Cause.REAL) -> Hole:
    """Readings from first to last."""
    return Hole(first * SECOND, last * SECOND, cause)


def span(device_id: str, first: int, last: int) -> Span:
    return Span(device_id, first * SECOND, last * SECOND)


def of_a(*holes: Hole) -> Holes:
    return Holes.gathered([("a", each) for each in holes], [])


def rows(known: Confirmed) -> list[int]:
    [device] = known.devices
    return [int(at) // SECOND for at in device.at]


@pytest.mark.parametrize(
    ("first", "last", "kept"),
    [
        (3_000, 3_099, range(3_000 - LEAD_IN, 3_100 + MARGIN)),
        (10, 20, range(21 + MARGIN)),
        (-50, 20, range(21 + MARGIN)),
        (4_990, 4_995, range(4_990 - LEAD_IN, 5_000)),
        (4_990, 9_000, range(4_990 - LEAD_IN, 5_000)),
    ],
)
def test_an_alert_is_kept_from_its_lead_in_to_its_margin_as_far_as_there_are_readings(
    first: int, last: int, kept: range
) -> None:
    known = confirmed([recorded()], of_a(hole(first, last)))
    assert rows(known) == list(kept)
    assert known.alerts == (span("a", first, last),)


def test_alerts_near_each_other_share_their_readings_and_others_have_their_own() -> None:
    known = confirmed([recorded()], of_a(hole(1_100, 1_199), hole(1_500, 1_549), hole(4_000, 4_009)))
    assert rows(known) == [*range(100, 1_550 + MARGIN), *range(3_000, 4_010 + MARGIN)]
    assert known.alerts == (span("a", 1_100, 1_199), span("a", 1_500, 1_549), span("a", 4_000, 4_009))


def test_each_device_keeps_its_own_readings_apart_from_the_whole() -> None:
    devices = [recorded("a", 2_000), recorded("b", 3_000), recorded("c", 4_000)]
    known = confirmed(devices, Holes.gathered([("c", hole(3_000, 3_009)), ("a", hole(500, 509))], []))
    assert known.alerts == (span("a", 500, 509), span("c", 3_000, 3_009))
    assert [device.device_id for device in known.devices] == ["a", "c"]
    for kept, whole in zip(known.devices, (devices[0], devices[2]), strict=True):
        np.testing.assert_array_equal(kept.values, whole.values[np.isin(whole.at, kept.at)])
        assert not np.shares_memory(kept.values, whole.values)


def test_what_is_not_called_real_or_holds_no_reading_is_not_kept() -> None:
    others = [hole(100, 199, cause) for cause in Cause if cause is not Cause.REAL]
    assert confirmed([recorded()], of_a(*others, hole(-90, -1), hole(5_000, 5_100))) is NONE_CONFIRMED
    assert confirmed([], of_a(hole(100, 199))) is NONE_CONFIRMED
    assert confirmed([recorded("b")], of_a(hole(100, 199))) is NONE_CONFIRMED


def test_readings_are_kept_uncut_whatever_else_is_left_out() -> None:
    device = recorded()
    history = History(("x", "y"), (device,)).without(
        of_a(hole(3_000, 3_099), hole(2_500, 2_599, Cause.WINDOW), hole(3_050, 3_150, Cause.UNANSWERED))
    )
    assert rows(history.confirmed) == list(range(2_000, 3_100 + MARGIN))
    np.testing.assert_array_equal(history.confirmed.devices[0].values, device.values[2_000 : 3_100 + MARGIN])
    assert not np.isin(history.devices[0].at, np.arange(3_000, 3_100) * SECOND).any()


def test_files_keep_what_lies_in_the_range_asked_for_even_of_a_device_that_nothing_is_learned_from() -> None:
    known, short = recorded("a", 2_000), recorded("b", 100)
    tables = [Table(each.device_id, ("x", "y"), each.at, each.values, each.at, Path("a")) for each in (known, short)]
    holes = Holes.gathered([("a", hole(500, 509)), ("a", hole(1_500, 1_509)), ("b", hole(60, 90))], [])
    history = from_tables(tables, wanted=Range(since=50 * SECOND, until=1_000 * SECOND), holes=holes)
    assert [device.device_id for device in history.devices] == ["a"]
    assert history.confirmed.alerts == (span("a", 500, 509), span("b", 60, 90))
    assert [len(device.at) for device in history.confirmed.devices] == [510 + MARGIN - 50, 50]


def test_topics_keep_them_too() -> None:
    first = 1_583_749_000  # seconds: a decoder refuses times of long ago
    texts = [f'{{"device_id":"a","timestamp":{(first + row) * 1_000},"values":{{"x":{row}}}}}' for row in range(500)]
    records = [Record(row, (first + row) * 1_000, None, text.encode()) for row, text in enumerate(texts)]
    batches = [(Partition("pumps", 0), records)]
    holes = of_a(hole(first + 300, first + 309))
    history = from_records(JsonDecoder(("x",)), batches, ("x",), holes=holes)
    assert history.confirmed.alerts == (span("a", first + 300, first + 309),)
    assert history.confirmed.devices[0].values[:, 0].tolist() == list(range(310 + MARGIN))
