from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensord.errors import RecordingUnreadable
from sensord.readings import Partition, Record
from sensord.stream.recordings import create_recording, read_recording

PARTITION = Partition("pumps", 0)
RECORDS = [Record(n, 1_000 + n, b"pump-7", b'{"values": {}}') for n in range(3)]


def recorded(path: Path, records: list[Record] = RECORDS) -> Path:
    with create_recording(path) as recording:
        for one in records:
            recording.write(PARTITION, one)
    return path


def recorded_until(path: Path, end: BaseException) -> None:
    with create_recording(path) as recording:
        recording.write(PARTITION, RECORDS[0])
        raise end


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_records_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    path = recorded(tmp_path / name)
    assert list(read_recording(path)) == [(PARTITION, one) for one in RECORDS]
    assert list(tmp_path.iterdir()) == [path]


@given(key=st.none() | st.binary(), value=st.none() | st.binary() | st.text().map(str.encode))
def test_any_bytes_come_back(tmp_path_factory: pytest.TempPathFactory, key: bytes | None, value: bytes | None) -> None:
    one = Record(2**62, -1, key, value)
    path = recorded(tmp_path_factory.mktemp("any") / "a.jsonl", [one])
    assert list(read_recording(path)) == [(PARTITION, one)]


def test_an_interrupt_keeps_what_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    with pytest.raises(KeyboardInterrupt):
        recorded_until(path, KeyboardInterrupt())
    assert list(read_recording(path)) == [(PARTITION, RECORDS[0])]


def test_an_error_leaves_no_recording_of_that_name_but_a_readable_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with pytest.raises(OSError, match="disk"):
        recorded_until(path, OSError("disk"))
    assert not path.exists()
    assert list(read_recording(tmp_path / "a.jsonl.gz.partial")) == [(PARTITION, RECORDS[0])]


def refusal(path: Path) -> str:
    with pytest.raises(RecordingUnreadable) as caught:
        list(read_recording(path))
    return str(caught.value)


def test_a_cut_off_last_line_is_named(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.jsonl")
    path.write_bytes(path.read_bytes()[:-5])
    assert refusal(path).startswith(f"{path}, line 4: cut off")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_cut_off_packed_file_is_named(tmp_path: Path, name: str) -> None:
    path = recorded(tmp_path / name)
    path.write_bytes(path.read_bytes()[:-5])
    assert str(path) in refusal(path)


@pytest.mark.parametrize("line", ["{}", "nothing", '{"topic": "a", "partition": "0", "offset": 1, "timestamp_ms": 1}'])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    path = recorded(tmp_path / "a.jsonl")
    path.write_text(path.read_text() + line + "\n")
    assert refusal(path).startswith(f"{path}, line 5: no record")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"sensord_recording":2}\n')
    assert "version 2" in refusal(path)
