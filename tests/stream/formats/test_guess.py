"""The guess for each corpus reads it, by settings that load; what it isn't sure of it says."""

import json
import re
from pathlib import Path

import pytest

from sensord.cli.inspect import _toml
from sensord.readings import Partition, Record
from sensord.settings import load
from sensord.stream.formats.decoder import decoder_of, read_through
from sensord.stream.formats.guess import guess
from tests.cli.conftest import sensord  # noqa: F401  # a fixture
from tests.cli.rows import Sensord
from tests.stream.formats.corpora import CORPORA, NOON
from tests.stream.formats.test_formats import PARTITION, decode, records

NATIVE = [
    Record(
        n,
        NOON * 1_000,
        None,
        json.dumps({"device_id": f"p{n % 3}", "timestamp": NOON * 1_000 + n, "values": {"a": n, "b": 1.5}}).encode(),
    )
    for n in range(9)
]
EASY = {name: corpus for name, corpus in CORPORA.items() if name != "mapped, wide"}  # whose names nobody would guess


@pytest.mark.parametrize("name", EASY)
def test_the_guess_for_a_corpus_reads_all_that_its_own_settings_read(name: str, tmp_path: Path) -> None:
    corpus = CORPORA[name]
    found = guess(records(corpus))
    assert found is not None
    assert found.decoder == corpus.fleet.decoder
    file = tmp_path / "sensord.toml"
    file.write_text(_toml("pumps", found.fleet("t"), found))
    fleet = load(file, environ={}).fleets["pumps"]
    decoded = read_through(decoder_of(fleet, tuple(found.channels)), PARTITION, records(corpus))
    own = decode(corpus).readings
    known = set(zip(own.device_ids, own.at.tolist(), strict=True))
    assert known <= set(zip(decoded.readings.device_ids, decoded.readings.at.tolist(), strict=True))


def test_our_own_messages_are_known(tmp_path: Path) -> None:
    found = guess(NATIVE)
    assert found is not None
    assert (found.decoder, found.mapping, found.devices, found.doubts) == ("json", {}, 3, ())
    assert found.channels == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize(
    ("message", "device", "time", "unit"),
    [
        ('{"machine": "m1", "ts": 1795435200, "data": {"a": 1}}', "machine", "ts", "s"),
        ('{"sensorId": "m1", "time": 1795435200000000, "a": 1, "b": 2}', "sensorId", "time", "us"),
        ('{"tags": {"host": "m1"}, "t": "2026-11-23T12:00:00Z", "a": 1}', "tags.host", "t", None),
    ],
)
def test_names_and_magnitudes_are_guessed(message: str, device: str, time: str, unit: str | None) -> None:
    found = guess([Record(0, NOON * 1_000, None, message.encode())])
    assert found is not None
    assert (found.mapping["device"], found.mapping["time"], found.mapping.get("time_unit")) == (device, time, unit)
    assert "a" in found.channels


def test_what_can_t_be_read_is_a_doubt_and_nonsense_is_no_format() -> None:
    found = guess([*NATIVE, Record(9, NOON * 1_000, None, b"poison")])
    assert found is not None
    assert found.doubts == ("1 of 10 records can't be read so",)
    assert guess([Record(0, 0, None, b"\x00\x01"), Record(1, 0, None, None)]) is None


def test_a_file_is_looked_at_and_settings_to_paste_are_on_stdout(sensord: Sensord, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "lines.json").write_bytes(b"\n".join(record.value or b"" for record in NATIVE))
    ended = sensord("inspect", "lines.json", "--fleet", "pumps")
    assert ended.code == 0
    assert ended.out.startswith('[fleets.pumps]\ntopics = ["TOPIC"]\nchannels = ["a","b"]\n')
    assert "9 of 9 records read, 9 readings of 3 devices" in ended.err
    assert re.search(r"^a +100% +0 +8$", ended.out, re.MULTILINE)
    assert Partition("t", 0) == PARTITION
    (tmp_path / "lines.json").write_bytes(b"nothing")
    assert "no format that sensord knows" in sensord("inspect", "lines.json").err
