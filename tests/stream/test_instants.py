from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensord.stream.decoders.instants import UNREAD, instants

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Time = Annotated[datetime, msgspec.Meta(tz=True)]
zones = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(timezones=zones)


def microseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


@given(st.lists(times, min_size=1))
def test_every_time_that_is_written_as_usual_is_read_exactly(written: list[datetime]) -> None:
    within = [at for at in written if datetime.min.replace(tzinfo=UTC) <= at <= datetime.max.replace(tzinfo=UTC)]
    assert instants([at.isoformat() for at in within]).tolist() == [microseconds(at) for at in within]


@given(times, st.data())
def test_what_is_read_of_a_spoilt_time_is_what_msgspec_reads(at: datetime, data: st.DataObject) -> None:
    text = at.isoformat().replace("+00:00", data.draw(st.sampled_from(["Z", "+00:00", "z", "", "-00:00"])))
    place = data.draw(st.integers(0, len(text) - 1))
    instead = data.draw(st.one_of(st.sampled_from(list("0123456789.:+-TZtz ")), st.characters(), st.just("")))
    spoilt = text[:place] + instead + text[place + 1 :]
    [read] = instants([spoilt])
    if read != UNREAD:
        assert read == microseconds(msgspec.convert(spoilt, Time))


@pytest.mark.parametrize(
    "text",
    [
        *("", "2026", "2026-11-23", "2026-11-23T12:00:00", "2026-11-23T12:00:00.Z", "2026-11-23T12:00:00.1234567Z"),
        *("2026-02-29T12:00:00Z", "2026-04-31T12:00:00Z", "2026-13-01T12:00:00Z", "2026-11-00T12:00:00Z"),
        *("2026-11-23T24:00:00Z", "2026-11-23T12:60:00Z", "2026-11-23T12:00:60Z", "1900-02-29T12:00:00Z"),
        *("2026-11-23T12:00:00+24:00", "2026-11-23T12:00:00+00:60", "2026-11-23T12:00:00+0000", "0000-01-01T00:00:00Z"),
        *("0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "2026-11-23T12:00:00Zz", "2026-11-23 12:00:00Z"),
        *("٢026-11-23T12:00:00Z", "2026-11-23T12:00:00Ż", "\ud8002026-11-23T12:00:00Z", "+026-11-23T12:00:00Z"),
    ],
)
def test_anything_else_is_left_to_the_caller(text: str) -> None:
    assert instants([text]).tolist() == [UNREAD]


def test_one_odd_time_does_not_shift_the_others() -> None:
    usual = "2026-11-23T12:00:00.000001Z"
    at = microseconds(datetime(2026, 11, 23, 12, 0, 0, 1, tzinfo=UTC))
    assert instants([usual, "soon", usual, "", usual]).tolist() == [at, UNREAD, at, UNREAD, at]
    assert instants([]).tolist() == []
    assert instants(["2024-02-29T00:00:00-00:00", "2000-02-29T00:00:00+01:00"]).tolist() == [
        microseconds(datetime(2024, 2, 29, tzinfo=UTC)),
        microseconds(datetime(2000, 2, 28, 23, tzinfo=UTC)),
    ]
