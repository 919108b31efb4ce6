import json
from pathlib import Path
from typing import Any

import pytest

from sensord.clock import ManualClock
from sensord.errors import RecordingUnreadable
from sensord.readings import Partition, Record
from sensord.stream.recordings import create_recording
from sensord.stream.replay import Message, Pace, identity, messages, shifted, survey

AT_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z


def message(timestamp: Any = "2026-11-23T12:00:00Z", timestamp_ms: int = AT_MS) -> Message:
    value = {"device_id": "pump-7", "timestamp": timestamp, "values": {"flow": 0.1}}
    return Message(b"pump-7", json.dumps(value).encode(), timestamp_ms)


def timestamp(message: Message) -> Any:
    return json.loads(message.value or b"")["timestamp"]


def test_a_recorded_topic_gives_its_records_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with create_recording(path) as recording:
        recording.write(Partition("pumps", 3), Record(9, AT_MS, b"\xff", b"poison"))
    assert list(messages([path])) == [Message(b"\xff", b"poison", AT_MS, partition=3)]


def test_lines_of_messages_give_themselves_keyed_by_device(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = ['{"device_id": "a", "timestamp": "2026-11-23T12:00:00Z", "values": {}}', "{poison", '[{"device_id": "b"}]']
    path.write_text("\n".join(lines) + "\n")
    assert list(messages([path])) == [
        Message(b"a", lines[0].encode(), AT_MS),
        Message(None, b"{poison", AT_MS),
        Message(b"b", lines[2].encode(), AT_MS),
    ]


def test_rows_of_several_files_are_merged_by_time(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,flow\n2026-11-23T12:00:00,1\n2026-11-23T12:00:02,0.1\n")
    (tmp_path / "b.csv").write_text("time,flow\n2026-11-23T12:00:01,\n2026-11-23T12:00:03.000004,2\n")
    found = list(messages([tmp_path / "a.csv", tmp_path / "b.csv"]))
    assert [(one.key, one.timestamp_ms - AT_MS) for one in found] == [
        (b"a", 0),
        (b"b", 1_000),
        (b"a", 2_000),
        (b"b", 3_000),
    ]
    last = {"device_id": "b", "timestamp": "2026-11-23T12:00:03.000004Z", "values": {"flow": 2.0}}
    assert json.loads(found[3].value or b"") == last
    assert json.loads(found[1].value or b"")["values"] == {"flow": None}


def test_files_of_several_kinds_are_merged_by_time(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,flow\n2026-11-23T12:00:01,1\n")
    (tmp_path / "b.jsonl").write_text('{"device_id": "b", "timestamp": "2026-11-23T12:00:00Z", "values": {}}\n')
    assert [one.key for one in messages([tmp_path / "a.csv", tmp_path / "b.jsonl"])] == [b"b", b"a"]


def test_a_cut_off_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"values": {}}\n{"val')
    with pytest.raises(RecordingUnreadable, match="line 2: cut off"):
        list(messages([path]))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2026-11-23T12:00:00Z", "2026-11-23T13:00:00Z"),
        ("2026-11-23T12:00:00.000001+02:00", "2026-11-23T13:00:00.000001+02:00"),
        (AT_MS, AT_MS + 3_600_000),
    ],
)
def test_a_shift_moves_a_time_in_the_form_it_has(before: Any, after: Any) -> None:
    moved = shifted(message(before), 3_600_000, now_ms=2 * AT_MS)
    assert timestamp(moved) == after
    assert moved.timestamp_ms == AT_MS + 3_600_000


@pytest.mark.parametrize("value", [b"{poison", b'{ "values": {"flow": NaN} }', b"[ 7 ]", b'{"timestamp":"soon"}', None])
def test_a_shift_leaves_what_has_no_time_byte_for_byte(value: bytes | None) -> None:
    assert shifted(Message(None, value, AT_MS), 1, now_ms=2 * AT_MS).value == value


def test_a_shift_moves_every_element_of_an_array() -> None:
    value = json.dumps([{"timestamp": AT_MS}, {"timestamp": AT_MS + 1}]).encode()
    moved = shifted(Message(None, value, AT_MS), 5, now_ms=2 * AT_MS)
    assert [one["timestamp"] for one in json.loads(moved.value or b"")] == [AT_MS + 5, AT_MS + 6]


def test_no_record_is_stamped_beyond_now() -> None:
    assert shifted(message(), 1_000, now_ms=AT_MS + 10).timestamp_ms == AT_MS + 10


def test_a_survey_counts_and_tells_event_times() -> None:
    found = survey([message(AT_MS - 5, AT_MS), message("soon", AT_MS - 9), message(AT_MS - 1, AT_MS)])
    assert (found.count, found.first_ms, found.last_ms, found.oldest_ms) == (3, AT_MS - 5, AT_MS - 1, AT_MS - 9)


def test_nothing_to_replay_is_said() -> None:
    with pytest.raises(RecordingUnreadable, match="nothing to replay"):
        survey([])


def test_messages_are_due_at_the_recorded_pace_times_the_speed() -> None:
    clock = ManualClock(50.0)
    pace = Pace(10.0, clock, clock.advance)
    times = []
    for after_ms in (0, 1_000, 500, 3_000):
        pace.wait_for(AT_MS + after_ms)
        times.append(clock.monotonic())
    assert times == pytest.approx([50.0, 50.1, 50.1, 50.3])


def test_a_change_in_a_file_changes_its_identity(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    before = identity([path])
    assert identity([path]) == before
    path.write_text("two")
    assert identity([path]) != before
