import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import zstandard
from click.testing import CliRunner

from sensord.cli.simulate import simulate as command
from sensord.simulate import FleetPlan, Simulation, simulate
from sensord.simulate.writing import write_recording, write_truth


@pytest.fixture(scope="module")
def fleet() -> Simulation:
    return simulate(FleetPlan(devices=3, readings=500, healthy_readings=150, faults=1))


def test_each_line_is_a_message_of_the_design_in_order_of_time(fleet: Simulation, tmp_path: Path) -> None:
    path = tmp_path / "fleet.jsonl"
    write_recording(fleet, path)
    messages = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(messages) == 1_500
    assert [message["timestamp"] for message in messages] == sorted(message["timestamp"] for message in messages)
    first = messages[0]
    machine = fleet.device_ids.index(first["device_id"])
    assert first["timestamp"].endswith("Z")
    assert list(first["values"]) == [channel.name for channel in fleet.channels]
    assert list(first["values"].values()) == fleet.values[0, machine].tolist()


def test_csv_holds_the_same_readings_as_jsonl(fleet: Simulation, tmp_path: Path) -> None:
    write_recording(fleet, tmp_path / "fleet.jsonl")
    write_recording(fleet, tmp_path / "fleet.csv")
    messages = [json.loads(line) for line in (tmp_path / "fleet.jsonl").read_text().splitlines()]
    with (tmp_path / "fleet.csv").open() as file:
        lines = list(csv.DictReader(file))
    for message, line in zip(messages, lines, strict=True):
        assert (line["device_id"], line["timestamp"]) == (message["device_id"], message["timestamp"])
        assert {name: float(line[name]) for name in message["values"]} == message["values"]


def test_packed_recordings_hold_the_same_text_and_the_same_bytes_each_time(fleet: Simulation, tmp_path: Path) -> None:
    write_recording(fleet, tmp_path / "fleet.csv")
    plain = (tmp_path / "fleet.csv").read_bytes()
    for suffix, unpack in ((".gz", gzip.decompress), (".zst", lambda data: zstandard.decompress(data, len(plain)))):
        paths = [tmp_path / f"one.csv{suffix}", tmp_path / f"two.csv{suffix}"]
        for path in paths:
            write_recording(fleet, path)
        assert unpack(paths[0].read_bytes()) == plain
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_an_interrupted_recording_leaves_no_file(fleet: Simulation, tmp_path: Path) -> None:
    def stop(readings: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_recording(fleet, tmp_path / "fleet.jsonl", stop)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_recording_and_truth(tmp_path: Path) -> None:
    out, truth = tmp_path / "pumps.jsonl.zst", tmp_path / "truth.json"
    wanted = ["--devices", "2", "--readings", "700", "--healthy", "300", "--faults", "2", "--seed", "5"]
    result = CliRunner().invoke(command, [*wanted, "--out", str(out), "--truth", str(truth)])
    assert result.exit_code == 0, result.output
    assert out.stat().st_size > 0
    told = json.loads(truth.read_text())
    assert len(told["faults"]) == 2
    assert all(told["live_at"] < fault["start_at"] < fault["end_at"] for fault in told["faults"])


@pytest.mark.parametrize("wrong", [["--readings", "100"], ["--out", "pumps.parquet"], ["--devices", "0"]])
def test_the_command_refuses_what_it_cannot_do_as_wrong_usage(tmp_path: Path, wrong: list[str]) -> None:
    result = CliRunner().invoke(command, ["--out", str(tmp_path / "pumps.jsonl"), *wrong])
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_truth_names_the_first_and_last_faulty_reading(fleet: Simulation, tmp_path: Path) -> None:
    write_truth(fleet, tmp_path / "truth.json")
    (told,) = json.loads((tmp_path / "truth.json").read_text())["faults"]
    start = np.datetime64(told["start_at"].removesuffix("Z"), "us").astype(np.int64)
    assert start == fleet.truth[0].start_at
    assert told["device_id"] == fleet.truth[0].device_id
