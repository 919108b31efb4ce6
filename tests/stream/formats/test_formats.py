"""Every format's corpus becomes the readings that it says; whatever else comes is refused by name, and never raises."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensord.errors import SettingsInvalid
from sensord.readings import Partition, Record
from sensord.settings import load
from sensord.stream.dead_letters import LETTERS_LIMIT, VALUE_LIMIT, Reason
from sensord.stream.decoders import Decoded
from sensord.stream.formats.decoder import decoder_of, read_through
from tests.stream.formats.corpora import CORPORA, NOON, Corpus

PARTITION = Partition("t", 0)


def records(corpus: Corpus) -> list[Record]:
    return [Record(7 + number, NOON * 1_000, key, value) for number, (key, value) in enumerate(corpus.records)]


def decode(corpus: Corpus, given: Sequence[Record] | None = None) -> Decoded:
    decoder = decoder_of(corpus.fleet, corpus.channels)
    return read_through(decoder, PARTITION, records(corpus) if given is None else given)


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_holds_what_it_says(name: str) -> None:
    corpus = CORPORA[name]
    decoded = decode(corpus)
    found = decoded.readings
    assert found.device_ids == [device for device, _, _ in corpus.readings]
    assert found.at.tolist() == [at for _, at, _ in corpus.readings]
    np.testing.assert_array_equal(found.values, np.array([values for *_, values in corpus.readings], np.float32))
    assert found.values.dtype == np.float32
    assert decoded.skipped == corpus.skipped
    assert [letter.reason for letter in decoded.dead_letters] == [reason for reason, _ in corpus.refused]
    for letter, (_, words) in zip(decoded.dead_letters, corpus.refused, strict=True):
        assert words in letter.detail


def one_by_one(corpus: Corpus) -> list[Decoded]:
    """A batch for each record, and whatever is to be remembered put away and fetched in between."""
    decoder, found = decoder_of(corpus.fleet, corpus.channels), list[Decoded]()
    glossary = decoder.glossary()
    for record in records(corpus):
        decoded, glossary = glossary.read(decoder.decode(PARTITION, [record]))
        found.append(decoded)
        for page in glossary.pages().values():
            glossary = decoder.glossary().load(page)
    return found


@pytest.mark.parametrize("name", CORPORA)
def test_it_makes_no_difference_how_records_are_batched(name: str) -> None:
    corpus = CORPORA[name]
    whole, apart = decode(corpus), one_by_one(corpus)
    assert whole.readings.device_ids == [device for one in apart for device in one.readings.device_ids]
    assert whole.readings.offsets.tolist() == [at for one in apart for at in one.readings.offsets.tolist()]
    assert whole.dead_letters == [letter for one in apart for letter in one.dead_letters]


@pytest.mark.parametrize("name", CORPORA)
def test_what_no_record_may_be_is_refused_alike(name: str) -> None:
    key = b"a.b"
    bad = [
        Record(1, NOON * 1_000, key, None),
        Record(2, NOON * 1_000, key, b" " * (VALUE_LIMIT + 1)),
        Record(3, NOON * 1_000, b"k" * 300, b"{}"),
        Record(4, NOON * 1_000, key, b"\xff\xfe\x00"),
    ]
    decoded = decode(CORPORA[name], bad)
    reasons = [Reason.TOMBSTONE, Reason.OVERSIZED, Reason.KEY_TOO_LONG]
    assert [letter.reason for letter in decoded.dead_letters][:3] == [reason.value for reason in reasons]
    assert {letter.offset for letter in decoded.dead_letters} == {1, 2, 3, 4}
    assert len(decoded.readings) == 0


@pytest.mark.parametrize("name", CORPORA)
def test_damaged_bytes_are_refused_and_never_raise(name: str) -> None:
    corpus, rng = CORPORA[name], random.Random(name)
    for _ in range(400):
        key, value = rng.choice(corpus.records)
        damaged = bytearray(value)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(damaged) + 1)
            damaged[place : place + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
        decoded = decode(corpus, [Record(1, NOON * 1_000, key, bytes(damaged))])
        assert {letter.reason for letter in decoded.dead_letters} <= {reason.value for reason in Reason}
        assert np.isfinite(decoded.readings.values[~np.isnan(decoded.readings.values)]).all()


@pytest.mark.parametrize("name", CORPORA)
@given(value=st.binary(max_size=200))
def test_any_bytes_are_refused_or_read_and_never_raise(name: str, value: bytes) -> None:
    decode(CORPORA[name], [Record(1, NOON * 1_000, b"a.b", value)])


def test_a_time_far_ahead_of_its_record_is_refused() -> None:
    corpus = CORPORA["telegraf"]
    [letter] = decode(corpus, [Record(1, (NOON - 3_600) * 1_000, None, corpus.records[0][1])]).dead_letters
    assert (letter.reason, letter.detail) == ("future", "event time is 3600 s ahead of the record's")


def test_of_many_bad_parts_a_hundred_are_written_down_and_the_rest_counted() -> None:
    corpus = CORPORA["influx"]
    value = b"\n".join([b"weather,location=x temperature=warm 1795435204000000000"] * 150)
    letters = decode(corpus, [Record(1, NOON * 1_000, None, value)]).dead_letters
    assert len(letters) == LETTERS_LIMIT
    assert letters[-1].detail.endswith("and 50 more readings of this record")
    assert letters[3].payload == b"weather,location=x temperature=warm 1795435204000000000"


@pytest.mark.parametrize(
    ("written", "unit"),
    [("1795435200", "s"), ("1795435200000", "ms"), ("1795435200000000", "us"), ("1795435200000000000", "ns")],
)
def test_a_number_is_a_time_of_its_unit_alone(written: str, unit: str) -> None:
    settings = {"decoder": "mapped", "mapping": {"time_unit": unit}}
    corpus = Corpus(
        settings, ("a",), ((None, f'{{"device_id": "d", "timestamp": {written}, "values": {{"a": 1}}}}'.encode()),), ()
    )
    assert decode(corpus).readings.at.tolist() == [NOON * 1_000_000]
    for other in {"s", "ms", "us", "ns"} - {unit}:
        wrong = Corpus({"decoder": "mapped", "mapping": {"time_unit": other}}, ("a",), corpus.records, ())
        [letter] = decode(wrong).dead_letters
        assert (letter.reason, f"it looks like {unit}" in letter.detail) == ("bad_time", True)


def test_settings_that_do_not_go_together_are_refused() -> None:
    for mapping, named in ({"channel": "tag"}, "channel and value"), ({"device": "x"}, "has no mapping"):
        environ = {"SENSORD_FLEETS__PUMPS__TOPICS": '["t"]'}
        environ |= {f"SENSORD_FLEETS__PUMPS__MAPPING__{key.upper()}": value for key, value in mapping.items()}
        with pytest.raises(SettingsInvalid, match=named):
            load(environ=environ)


@pytest.mark.parametrize("written", ["1" + "0" * 400, "1e400", "-1e300", "true", "{}"])
def test_times_and_names_that_are_none_are_refused_by_name(written: str) -> None:
    corpus = Corpus({"decoder": "mapped"}, ("a",), (), ())
    for member, reason in (("timestamp", "bad_time"), ("device_id", "bad_device_id")):
        message = {"device_id": '"d"', "timestamp": '"2026-11-23T12:00:00Z"', "values": '{"a": 1}'} | {member: written}
        value = "{" + ", ".join(f'"{name}": {each}' for name, each in message.items()) + "}"
        [letter] = decode(corpus, [Record(1, NOON * 1_000, None, value.encode())]).dead_letters
        assert letter.reason in (reason, "malformed", "not_finite")
