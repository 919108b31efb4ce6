import gzip
from pathlib import Path

import numpy as np
import pytest
import zstandard

from sensord.errors import RecordingUnreadable
from sensord.readings import Partition, Record
from sensord.simulate import FleetPlan, simulate
from sensord.simulate.writing import write_recording
from sensord.stream.files import FileOptions, Table, TimeUnit, device_names, read_tables
from sensord.stream.recordings import create_recording

START = 1_583_749_000_000_000  # 2020-03-09 10:16:40 UTC
ENGINE = ("unit", "cycle", "setting1", "setting2", "setting3", *(f"sensor{number}" for number in range(1, 22)))


def written(folder: Path, text: str, name: str = "pump-7.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def read(path: Path, **options: object) -> list[Table]:
    return list(read_tables([path], FileOptions(**options)))  # type: ignore[arg-type]


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(RecordingUnreadable) as caught:
        read(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " ", ", ", "   "])
def test_any_separator_gives_the_same_readings(tmp_path: Path, separator: str) -> None:
    lines = [["time", "flow", "pressure"], ["2020-03-09T10:16:40", "1.5", "-2"], ["2020-03-09T10:16:41", "nan", "3e2"]]
    (table,) = read(written(tmp_path, "\n".join(separator.join(line) for line in lines)))
    assert (table.device_id, table.channels) == ("pump-7", ("flow", "pressure"))
    assert table.at.tolist() == [START, START + 1_000_000]
    np.testing.assert_array_equal(table.values, np.array([[1.5, -2], [np.nan, 300]], np.float32))
    assert table.lines.tolist() == [2, 3]


def test_a_date_with_a_blank_in_it_does_not_pass_for_two_columns(tmp_path: Path) -> None:
    (table,) = read(
        written(tmp_path, "datetime;Volume Flow RateRMS\n2020-03-09 10:16:40;32.0\n2020-03-09 10:16:41;33\n")
    )
    assert table.channels == ("Volume Flow RateRMS",)
    assert table.at[0] == START


@pytest.mark.parametrize(
    ("text", "unit", "at"),
    [
        ("2020-03-09 10:16:40", None, START),
        ("2020-03-09T10:16:40.25Z", None, START + 250_000),
        ("2020-03-09T12:16:40+02:00", None, START),
        (str(START // 1_000), None, START),
        (str(START // 1_000_000), TimeUnit.S, START),
        ("1583749000.5", TimeUnit.S, START + 500_000),
        (str(START), TimeUnit.US, START),
        ("17", TimeUnit.CYCLES, 17_000_000),
    ],
)
def test_time_stamps_in_every_usual_form(tmp_path: Path, text: str, unit: TimeUnit | None, at: int) -> None:
    (table,) = read(written(tmp_path, f"time,flow\n{text},1\n"), time_unit=unit)
    assert table.at.tolist() == [at]


@pytest.mark.parametrize("text", ["1583749000", "17", "20200309", "1583749000000000", "1583749000000.5"])
def test_a_number_whose_unit_is_not_clear_is_refused_with_the_remedy(tmp_path: Path, text: str) -> None:
    message = refusal(written(tmp_path, f"time,flow\n{text},1\n"))
    assert message.startswith(f", line 2, column 'time': '{text}' ")
    assert "--time-unit cycles, s, ms or us" in message


def test_a_device_column_makes_a_table_a_device_in_order_of_appearance(tmp_path: Path) -> None:
    text = "machine,time,flow\nb,2020-03-09T10:16:40,1\na,2020-03-09T10:16:40,2\nb,2020-03-09T10:16:41,3\n"
    b, a = read(written(tmp_path, text), device_column="machine")
    assert (b.device_id, b.values[:, 0].tolist(), b.lines.tolist()) == ("b", [1, 3], [2, 4])
    assert (a.device_id, a.values[:, 0].tolist(), a.lines.tolist()) == ("a", [2], [3])


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    paths = [Path("x/valve1/0.csv"), Path("x/valve2/0.csv.gz"), Path("x/valve2/1.5.csv")]
    assert device_names(paths) == ["valve1/0", "valve2/0", "valve2/1.5"]
    assert device_names(paths[1:]) == ["0", "1.5"]
    with pytest.raises(RecordingUnreadable, match="rename one"):
        device_names([Path("x/0.csv"), Path("x/0.csv.gz")])


def test_channels_are_the_numeric_columns_that_are_not_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, ",time,flow,state,anomaly,spare\n0,2020-03-09,1,on,0,\n1,2020-03-10,2,off,1,\n")
    assert read(path)[0].channels == ("flow", "anomaly", "spare")
    assert read(path, ignore=("anomaly", "spare"))[0].channels == ("flow",)
    assert read(path, channels=("anomaly", "flow"))[0].values.tolist() == [[0, 1], [1, 2]]


def test_absent_values_are_nan_in_every_usual_spelling(tmp_path: Path) -> None:
    rows = "".join(f"2020-03-09T10:16:{second}Z,{word}\n" for second, word in enumerate(["", "NA", "null", "NaN"], 40))
    (table,) = read(written(tmp_path, f"time,flow\n2020-03-09T10:16:30Z,1\n{rows}"))
    assert np.isnan(table.values[1:]).all()


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("time,flow\n2020-03-09,1\n\n2020-03-10,one\n", {}, ", line 4, column 'flow': 'one' is no number"),
        (
            "time;flow\n2020-03-09;1.5\n2020-03-10;1,5\n",
            {},
            ", line 3, column 'flow': '1,5' is no number; write decimals",
        ),
        ("time,flow\n2020-03-09,inf\n", {}, ", line 2, column 'flow': 'inf' is infinite"),
        ("time,flow\n2020-03-09,1e39\n", {}, ", line 2, column 'flow': '1e39' is infinite or beyond float32"),
        ("time,flow\nyesterday,1\n", {}, ", line 2, column 'time': 'yesterday' is no time stamp"),
        ("time,flow\n2020-03-09,1\n2020-03-10,1,2\n", {}, ", line 3: 3 cells where 2 columns are named"),
        ("time,flow\n2020-03-09,1\n2020-03-10\n", {}, ", line 3: 1 cells where 2 columns are named"),
        ('time,flow\n2020-03-09,"1\n', {}, ", line 2: unexpected end of data"),
        ("when,flow\n2020-03-09,1\n", {}, ": no column is called datetime, timestamp, time or the like; name it"),
        (
            "time,flow\n2020-03-09,1\n",
            {"time_column": "when"},
            ": no column 'when' (--time-column); there are time, flow",
        ),
        ("time,flow\n2020-03-09,1\n", {"channels": ("heat",)}, ": no column 'heat' (--channels)"),
        ("time,flow\n2020-03-09,1\n", {"device_column": "id"}, ": no column 'id' (--device-column)"),
        ("device_id,time,flow\n ,2020-03-09,1\n", {}, ", line 2: the device id is empty"),
        ("time,flow,flow\n2020-03-09,1,2\n", {}, ", line 1: more than one column 'flow'"),
        ("1 1 0.5\n1 2 0.6\n", {}, ", line 1: numbers where the header should be; give --column-names"),
        ("time,state\n2020-03-09,on\n", {}, ": no numeric channel"),
        ("time,flow\n", {}, ": holds no readings"),
        ("\n\n", {}, ": holds no readings"),
        ("", {}, ": holds no readings"),
        ("flow\n1\n2\n", {}, ": one column only"),
    ],
)
def test_what_cannot_be_read_is_refused_by_line_and_column(
    tmp_path: Path, text: str, options: dict[str, object], said: str
) -> None:
    assert refusal(written(tmp_path, text), **options).startswith(said)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_packing_is_told_by_content_not_by_name(tmp_path: Path, form: str) -> None:
    plain = tmp_path / f"fleet.{form}"
    write_recording(simulate(FleetPlan(devices=2, readings=50, healthy_readings=50, faults=0)), plain)
    expected = read(plain)
    halves = plain.read_bytes()[:1_000], plain.read_bytes()[1_000:]
    for pack in (gzip.compress, zstandard.compress):
        path = tmp_path / f"packed.{form}"
        path.write_bytes(b"".join(map(pack, halves)))  # several members or frames are one text
        for one, other in zip(read(path), expected, strict=True):
            assert one.device_id == other.device_id
            np.testing.assert_array_equal(one.values, other.values)


def test_jsonl_and_csv_of_one_fleet_hold_the_same_tables(tmp_path: Path) -> None:
    fleet = simulate(FleetPlan(devices=3, readings=60, healthy_readings=60, faults=0))
    for name in ("fleet.csv", "fleet.jsonl"):
        write_recording(fleet, tmp_path / name)
    tables = list(read_tables([tmp_path / "fleet.csv"])), list(read_tables([tmp_path / "fleet.jsonl"]))
    for one, other in zip(*tables, strict=True):
        machine = fleet.device_ids.index(one.device_id)
        assert (one.device_id, one.channels) == (other.device_id, other.channels)
        np.testing.assert_array_equal(one.at, fleet.at[:, machine])
        np.testing.assert_array_equal(other.at, one.at)
        np.testing.assert_array_equal(one.values, fleet.values[:, machine].astype(np.float32))
        np.testing.assert_array_equal(other.values, one.values)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstandard"])
@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_a_packed_file_that_is_cut_off_is_refused(tmp_path: Path, pack: object, keep: float) -> None:
    rows = "".join(f"2020-03-09T10:{n // 60:02d}:{n % 60:02d},{n * 37 % 101}\n" for n in range(3_000))
    packed = pack(f"time,flow\n{rows}".encode())  # type: ignore[operator]
    path = tmp_path / "cut.csv"
    path.write_bytes(packed[: int(keep * len(packed))])
    assert refusal(path).startswith(": damaged or cut off")


def test_json_lines_are_messages_or_arrays_of_them_and_channels_may_come_and_go(tmp_path: Path) -> None:
    text = (
        '{"device_id":"a","timestamp":"2020-03-09T10:16:40Z","values":{"flow":1}}\n\n'
        '[{"device_id":"a","timestamp":1583749001000,"values":{"flow":null,"heat":2}},'
        '{"timestamp":1583749001000,"values":{"heat":3}}]\n'
    )
    a, unnamed = read(written(tmp_path, text, "pump-9.jsonl"))
    assert a.channels == unnamed.channels == ("flow", "heat")
    assert a.at.tolist() == [START, START + 1_000_000]
    np.testing.assert_array_equal(a.values, np.array([[1, np.nan], [np.nan, 2]], np.float32))
    assert a.lines.tolist() == [1, 3]
    assert (unnamed.device_id, unnamed.values[0, 1]) == ("pump-9", 3)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"device_id":"a","values":{"flow":1}', ", line 2: malformed: not JSON"),
        ('{"device_id":"a","timestamp":1583749000,"values":{"flow":1}}', ", line 2: bad_time: "),
        ('{"device_id":"a","values":{"flow":1}}', ", line 2: bad_time: "),
        (
            '{"device_id":"a","timestamp":"2020-03-09T10:16:41Z","values":{"flow":"1"}}',
            ", line 2: malformed: 'flow' is",
        ),
        ('{"device_id":"a","timestamp":"2020-03-09T10:16:41Z"}', ", line 2: malformed: values is missing"),
    ],
)
def test_a_message_that_the_daemon_would_refuse_is_refused_by_line(tmp_path: Path, line: str, said: str) -> None:
    good = '{"device_id":"a","timestamp":"2020-03-09T10:16:40Z","values":{"flow":1}}'
    assert refusal(written(tmp_path, f"{good}\n{line}\n", "a.jsonl")).startswith(said)


def test_a_recorded_topic_gives_the_readings_of_its_messages(tmp_path: Path) -> None:
    path = tmp_path / "topic.jsonl.zst"
    with create_recording(path) as recording:
        for offset, key in enumerate([b"b", b"a", b"b"]):
            value = f'{{"timestamp":{START // 1_000 + offset},"values":{{"flow":{offset}}}}}'.encode()
            recording.write(Partition("pumps", offset % 2), Record(70 + offset, START // 1_000, key, value))
    b, a = read(path)
    assert (b.device_id, b.values[:, 0].tolist(), b.lines.tolist()) == ("b", [0, 2], [2, 4])
    assert (a.device_id, a.at.tolist()) == ("a", [START + 1_000])


def test_noise_in_a_recorded_topic_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "topic.jsonl"
    with create_recording(path) as recording:
        recording.write(Partition("pumps", 0), Record(7, START // 1_000, b"a", b"\xff"))
    assert refusal(path).startswith(", line 2: malformed: not JSON")


def test_a_missing_file_and_a_binary_file_are_refused_by_name(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.csv") == ": No such file or directory"
    path = tmp_path / "picture.csv"
    path.write_bytes(b"time,flow\n\xff\xfe\x00")
    assert refusal(path).startswith(": not UTF-8 text")


def test_a_file_longer_than_a_chunk_keeps_its_order_and_lines(tmp_path: Path) -> None:
    count = 45_000
    stamps = np.datetime_as_string((START + np.arange(count) * 1_000_000).astype("datetime64[us]"), unit="s")
    rows = "".join(f"p{row % 2},{stamp},{row}\n" for row, stamp in enumerate(stamps.tolist()))
    even, odd = read(written(tmp_path, f"device_id,time,row\n{rows}"))
    np.testing.assert_array_equal(even.values[:, 0], np.arange(0, count, 2, dtype=np.float32))
    np.testing.assert_array_equal(odd.lines, np.arange(1, count, 2) + 2)
    np.testing.assert_array_equal(odd.at, START + np.arange(1, count, 2) * 1_000_000)


def test_the_water_pump_recordings_are_read(shared_data: Path) -> None:
    paths = sorted((shared_data / "skab").glob("valve*/*.csv"))
    tables = list(read_tables(paths, FileOptions(ignore=("anomaly", "changepoint"))))
    assert [table.device_id for table in tables][:2] == ["valve1/0", "valve1/1"]
    assert {len(table.channels) for table in tables} == {8}
    first = next(table for table in tables if table.device_id == "valve1/0")
    assert (len(first), first.lines[0]) == (1_147, 2)
    assert np.datetime64(int(first.at[0]), "us") == np.datetime64("2020-03-09T10:14:33")
    assert first.values[0, 2] == np.float32(1.3302)


def test_the_turbofans_are_read_without_a_header(shared_data: Path) -> None:
    path = shared_data / "cmapss" / "train_FD001.txt"
    engines = read(path, column_names=ENGINE, device_column="unit", time_unit=TimeUnit.CYCLES)
    assert len(engines) == 100
    assert (engines[0].device_id, len(engines[0]), engines[0].channels) == ("1", 192, ENGINE[2:])
    assert engines[0].at[:2].tolist() == [1_000_000, 2_000_000]
    assert sum(len(engine) for engine in engines) == 20_631
