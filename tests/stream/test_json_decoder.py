import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensord.readings import Partition, Record
from sensord.stream.dead_letters import DETAIL_LIMIT, KEY_LIMIT, LETTERS_LIMIT, PAYLOAD_LIMIT, VALUE_LIMIT, Reason
from sensord.stream.decoders import Decoded
from sensord.stream.decoders.json import JsonDecoder

PARTITION = Partition("pumps", 3)
CHANNELS = ("temperature", "flow rate", "c0")
AT_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z


def message(**changes: Any) -> dict[str, Any]:
    whole = {"device_id": "pump-7", "timestamp": "2026-11-23T12:00:00Z", "values": {"temperature": 71.2}}
    return {name: value for name, value in (whole | changes).items() if value != ...}


def record(value: Any, key: bytes | None = None, offset: int = 5, timestamp_ms: int = AT_MS) -> Record:
    packed = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    return Record(offset, timestamp_ms, key, packed)


def decode(*records: Record, max_future_s: float = 300) -> Decoded:
    return JsonDecoder(CHANNELS, max_future_s).decode(PARTITION, records)


def refusal(value: Any, **of_record: Any) -> tuple[str, str]:
    decoded = decode(record(value, **of_record))
    assert len(decoded.readings) == 0
    (letter,) = decoded.dead_letters
    return letter.reason, letter.detail


def test_a_message_becomes_a_reading() -> None:
    readings = decode(record(message(values={"flow rate": 2, "temperature": 71.2, "c0": None}))).readings
    assert readings.partition == PARTITION
    assert readings.device_ids == ["pump-7"]
    assert readings.at.tolist() == [AT_MS * 1_000]
    assert readings.offsets.tolist() == [5]
    np.testing.assert_array_equal(readings.values, np.array([[71.2, 2, np.nan]], np.float32))
    assert readings.values.dtype == np.float32


@pytest.mark.parametrize(
    ("timestamp", "at"),
    [
        ("2026-11-23T12:00:00.123456Z", AT_MS * 1_000 + 123_456),
        ("2026-11-23T17:30:00+05:30", AT_MS * 1_000),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        (AT_MS + 7, (AT_MS + 7) * 1_000),
    ],
)
def test_every_form_of_time_is_exact(timestamp: object, at: int) -> None:
    assert decode(record(message(timestamp=timestamp))).readings.at.tolist() == [at]


def test_device_and_time_come_from_the_record_when_absent() -> None:
    bare = message(device_id=..., timestamp=None)
    readings = decode(record(bare, key="pumpe-ü".encode(), timestamp_ms=AT_MS + 5)).readings
    assert readings.device_ids == ["pumpe-ü"]
    assert readings.at.tolist() == [(AT_MS + 5) * 1_000]


def test_other_members_are_ignored() -> None:
    assert len(decode(record(message(site="north", unit={"a": [1]}))).readings) == 1


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (None, Reason.TOMBSTONE, "no value"),
        (b"", Reason.MALFORMED, "not JSON"),
        (b"{", Reason.MALFORMED, "not JSON"),
        (b"\xff\xfe", Reason.MALFORMED, "not JSON"),
        (b"[" * 60_000, Reason.MALFORMED, "not JSON"),
        (b'{"device_id": "\\ud800", "values": {"c0": 1}}', Reason.MALFORMED, "not JSON"),
        (b"7", Reason.MALFORMED, "object"),
        (b"[7]", Reason.MALFORMED, "object"),
        (b"[]", Reason.NO_VALUES, "empty array"),
        (b" " * (VALUE_LIMIT + 1), Reason.OVERSIZED, "65537 bytes"),
        (message(values=...), Reason.MALFORMED, "values is missing"),
        (message(values=[1]), Reason.MALFORMED, "values is not an object"),
        (message(values={"c0": "1"}), Reason.MALFORMED, "'c0' is a str"),
        (message(values={"c0": True}), Reason.MALFORMED, "'c0' is a bool"),
        (message(values={"pressure": 1, "c0": 1}), Reason.UNKNOWN_CHANNEL, "'pressure'"),
        (message(values={}), Reason.NO_VALUES, "no channel"),
        (message(values={"c0": None}), Reason.NO_VALUES, "no channel"),
        (message(values={"c0": math.nan}), Reason.NOT_FINITE, "NaN"),
        (message(values={"c0": -math.inf}), Reason.NOT_FINITE, "Infinity"),
        (b'{"device_id": "a", "values": {"c0": 1e999}}', Reason.NOT_FINITE, "float64"),
        (message(values={"c0": 10**400}), Reason.NOT_FINITE, "float64"),
        (message(values={"c0": 1e39}), Reason.NOT_FINITE, "'c0' is beyond the range of float32"),
        (message(device_id=...), Reason.BAD_DEVICE_ID, "nor a record key"),
        (message(device_id=""), Reason.BAD_DEVICE_ID, "empty"),
        (message(device_id="x" * 257), Reason.BAD_DEVICE_ID, "257 characters"),
        (message(device_id="pump\0"), Reason.BAD_DEVICE_ID, "unprintable"),
        (message(device_id=7), Reason.BAD_DEVICE_ID, "not a string"),
        (message(timestamp="yesterday"), Reason.BAD_TIME, "RFC 3339"),
        (message(timestamp="2026-11-23T12:00:00"), Reason.BAD_TIME, "timezone"),
        (message(timestamp="2026-11-23T12:00:60Z"), Reason.BAD_TIME, "RFC 3339"),
        (message(timestamp=AT_MS + 0.5), Reason.BAD_TIME, "whole milliseconds"),
        (message(timestamp=AT_MS // 1_000), Reason.BAD_TIME, "looks like seconds"),
        (message(timestamp=AT_MS * 1_000), Reason.BAD_TIME, "looks like microseconds"),
        (message(timestamp=AT_MS * 1_000_000), Reason.BAD_TIME, "looks like nanoseconds"),
        (message(timestamp=10**400), Reason.BAD_TIME, "no epoch milliseconds"),
        (message(timestamp=-5), Reason.BAD_TIME, "no epoch milliseconds"),
        (message(timestamp=AT_MS + 300_001), Reason.FUTURE, "300 s ahead"),
    ],
)
def test_what_is_wrong_is_named(value: Any, reason: Reason, words: str) -> None:
    named, detail = refusal(value)
    assert named == reason
    assert words in detail


def test_a_long_key_is_refused_and_cut() -> None:
    (letter,) = decode(record(message(), key=b"k" * 300)).dead_letters
    assert letter.reason == Reason.KEY_TOO_LONG
    assert letter.key == b"k" * KEY_LIMIT


def test_a_key_that_is_no_text_is_no_device() -> None:
    assert refusal(message(device_id=None), key=b"\xff")[0] == Reason.BAD_DEVICE_ID


@pytest.mark.parametrize("stamp", [-1, 2**62])
def test_a_record_without_a_sane_time_stamp_lends_none(stamp: int) -> None:
    assert refusal(message(timestamp=...), timestamp_ms=stamp)[0] == Reason.BAD_TIME


def test_the_future_is_measured_against_the_record_not_the_clock() -> None:
    ahead = message(timestamp=AT_MS + 300_000)
    assert len(decode(record(ahead)).readings) == 1
    assert refusal(ahead, timestamp_ms=AT_MS - 1)[0] == Reason.FUTURE
    assert len(decode(record(ahead, timestamp_ms=-1)).readings) == 1  # a record without a time stamp tells nothing


def test_a_dead_letter_says_where_and_keeps_what_came() -> None:
    payload = b"{" + b"x" * 2 * PAYLOAD_LIMIT
    (letter,) = decode(record(payload, key=b"pump-7", offset=12)).dead_letters
    assert (letter.partition, letter.offset, letter.position, letter.key) == (PARTITION, 12, 0, b"pump-7")
    assert letter.payload == payload[:PAYLOAD_LIMIT]
    assert letter.timestamp_ms == AT_MS


def test_details_hold_nothing_that_a_database_refuses() -> None:
    _, detail = refusal(message(values={"\0" * 400: 1}))
    assert detail.isprintable()
    assert len(detail) <= DETAIL_LIMIT


def test_an_arrays_elements_are_judged_one_by_one() -> None:
    bad = message(values={"pressure": 1})
    late = message(timestamp=AT_MS + 10**9)
    decoded = decode(record([message(device_id="a"), bad, message(device_id="b"), late, message(device_id="c")]))
    assert decoded.readings.device_ids == ["a", "b", "c"]
    assert [(letter.position, letter.reason) for letter in decoded.dead_letters] == [
        (1, Reason.UNKNOWN_CHANNEL),
        (3, Reason.FUTURE),
    ]
    assert [json.loads(letter.payload) for letter in decoded.dead_letters] == [bad, late]


def test_nan_in_one_element_leaves_its_neighbours() -> None:
    decoded = decode(record([message(device_id="a"), message(values={"c0": math.nan}), message(device_id="b")]))
    assert decoded.readings.device_ids == ["a", "b"]
    assert [(letter.position, letter.reason) for letter in decoded.dead_letters] == [(1, Reason.NOT_FINITE)]


def test_dead_letters_come_in_the_partitions_order() -> None:
    bad_id, bad_json, bad_value = message(device_id=""), b"{", message(values={})
    decoded = decode(*(record(v, offset=n) for n, v in enumerate([bad_value, bad_id, bad_json, message(), bad_value])))
    assert [letter.offset for letter in decoded.dead_letters] == [0, 1, 2, 4]
    assert decoded.readings.offsets.tolist() == [3]


# --- properties ------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
nearly_messages = st.fixed_dictionaries(
    {},
    optional={
        "device_id": st.sampled_from(["pump-7", "", None, 7, "\ud800", "\0"]),
        "timestamp": st.sampled_from(["2026-11-23T12:00:00Z", "soon", None, True, 1e300, 10**40])
        | st.integers(AT_MS - 10, AT_MS + 10**6),
        "values": st.dictionaries(st.sampled_from([*CHANNELS, "other"]), st.floats() | json_values) | json_values,
    },
)
elements = nearly_messages | json_values
stamps = st.sampled_from([AT_MS, -1, 0, 2**63 - 1, -(2**63)])
keys = st.none() | st.binary(max_size=300)


@given(value=st.none() | st.binary(max_size=200) | st.text().map(str.encode), key=keys, stamp=stamps)
def test_any_bytes_give_readings_or_dead_letters(value: bytes | None, key: bytes | None, stamp: int) -> None:
    decoded = decode(Record(1, stamp, key, value))
    assert len(decoded.readings) + len(decoded.dead_letters) >= 1


@given(found=st.lists(elements, min_size=1, max_size=6), key=keys, stamp=stamps)
def test_every_element_is_a_reading_or_a_dead_letter(found: list[Any], key: bytes | None, stamp: int) -> None:
    decoded = decode(Record(1, stamp, key, json.dumps(found).encode()))
    refused = [letter.position for letter in decoded.dead_letters]
    if refused == [0] and decoded.dead_letters[0].reason in (Reason.KEY_TOO_LONG, Reason.OVERSIZED):
        return
    assert len(decoded.readings) + len(refused) == len(found)
    assert len(set(refused)) == len(refused)
    assert np.isfinite(decoded.readings.values).any(axis=1).all()
    assert not np.isinf(decoded.readings.values).any()


@given(found=st.lists(elements, min_size=1, max_size=6), key=keys, stamp=stamps)
def test_an_element_is_judged_alike_alone_and_among_others(found: list[Any], key: bytes | None, stamp: int) -> None:
    together = decode(Record(1, stamp, key, json.dumps(found).encode()))
    alone = decode(*(Record(n, stamp, key, json.dumps([one]).encode()) for n, one in enumerate(found)))
    assert together.readings.device_ids == alone.readings.device_ids
    assert together.readings.at.tolist() == alone.readings.at.tolist()
    np.testing.assert_array_equal(together.readings.values, alone.readings.values)


whole = st.sampled_from([message(), message(device_id="pump-8", values={"c0": 1})])
record_values = st.none() | st.binary(max_size=9) | (whole | elements | st.lists(whole | elements)).map(json.dumps)


@given(found=st.lists(st.tuples(whole.map(json.dumps) | record_values, keys), max_size=12))
def test_a_record_is_judged_alike_alone_and_among_others(found: list[tuple[str | bytes | None, bytes | None]]) -> None:
    packed = [value.encode() if isinstance(value, str) else value for value, _ in found]
    records = [Record(n, AT_MS, key, value) for n, (value, (_, key)) in enumerate(zip(packed, found, strict=True))]
    together, alone = decode(*records), [decode(one) for one in records]
    letters = [(letter.offset, letter.position, letter.reason) for letter in together.dead_letters]
    assert letters == [(it.offset, it.position, it.reason) for one in alone for it in one.dead_letters]
    assert together.readings.device_ids == [it for one in alone for it in one.readings.device_ids]
    assert together.readings.offsets.tolist() == [it for one in alone for it in one.readings.offsets.tolist()]
    assert together.readings.at.tolist() == [it for one in alone for it in one.readings.at.tolist()]
    values = np.concatenate([np.zeros((0, len(CHANNELS)), np.float32), *(one.readings.values for one in alone)])
    np.testing.assert_array_equal(together.readings.values, values)


@given(
    at=st.datetimes(datetime(1, 1, 2), datetime(2026, 11, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
)
def test_what_is_written_comes_back_to_the_microsecond_and_the_float32(at: datetime, values: list[float]) -> None:
    written = message(timestamp=at.isoformat(), values=dict(zip(CHANNELS, values, strict=True)))
    readings = decode(record(written)).readings
    microseconds = np.datetime64(at.replace(tzinfo=None), "us").astype(np.int64)
    assert readings.at.tolist() == [microseconds]
    np.testing.assert_array_equal(readings.values, np.array([values], np.float32))


@pytest.mark.parametrize("bad", ["0", "{}", '{"values":{"nonsense":1}}', '{"values":{}}'])
def test_a_flood_of_bad_readings_in_one_record_is_counted_and_a_few_are_written(bad: str) -> None:
    """One record of 64 KiB would otherwise be 32,000 rows."""
    good = json.dumps(message())
    times = (VALUE_LIMIT - len(good) - 10) // (len(bad) + 1)
    whole = f"[{','.join([bad] * (times - 1))},{good},{bad}]".encode()
    decoded = decode(record(whole), record(b"poison", offset=6))
    assert len(decoded.readings) == 1
    assert len(decoded.dead_letters) == LETTERS_LIMIT + 1
    first, *_, last, other = decoded.dead_letters
    assert "more readings" not in first.detail
    assert last.detail.endswith(f"; and {times - LETTERS_LIMIT:,} more readings of this record")
    assert (other.offset, other.reason) == (6, Reason.MALFORMED)
