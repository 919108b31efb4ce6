"""Labels in files: every form that is promised, and what is refused."""

import json
from pathlib import Path

import pytest

from sensord.errors import RecordingUnreadable
from sensord.simulate import FleetPlan, simulate
from sensord.simulate.writing import write_truth
from sensord.stream.stamps import TimeUnit
from sensord.trainer.evaluation.labels import Label, for_devices, read_labels

NOON, LATER = 1_700_000_000_000_000, 1_700_000_060_000_000
TEXTS = ("2023-11-14T22:13:20Z", "2023-11-14 22:14:20")
WANTED = [Label("pump-1", NOON, LATER, "leak")]


@pytest.mark.parametrize(
    "text",
    [
        f"device_id,start,end,kind\npump-1,{TEXTS[0]},{TEXTS[1]},leak\n",
        f"device_id,start_at,end_at,kind,note\npump-1,{TEXTS[0]},{TEXTS[1]},leak,x\n",
        json.dumps([{"device_id": "pump-1", "start": TEXTS[0], "end": TEXTS[1], "kind": "leak"}]),
        json.dumps({"faults": [{"device_id": "pump-1", "start_at": TEXTS[0], "end_at": TEXTS[1], "kind": "leak"}]}),
        json.dumps({"pump-1": [{"start": TEXTS[0], "end": TEXTS[1], "kind": "leak"}]}),
    ],
)
def test_every_form_says_the_same(tmp_path: Path, text: str) -> None:
    file = tmp_path / "labels"
    file.write_text(text)
    assert read_labels(file) == WANTED


def test_devices_may_have_pairs_of_times(tmp_path: Path) -> None:
    file = tmp_path / "windows.json"
    file.write_text(json.dumps({"plant/pump-1.csv": [list(TEXTS), list(TEXTS)], "pump-2.csv": []}))
    labels = read_labels(file)
    assert labels == [Label("plant/pump-1.csv", NOON, LATER)] * 2
    assert len(for_devices(labels, ["pump-1", "pump-2"])["pump-1"]) == 2


def test_numbers_count_what_the_recording_s_do(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("device_id,start,end\n7,10,20\n")
    assert read_labels(file, TimeUnit.CYCLES) == [Label("7", 10_000_000, 20_000_000)]


def test_the_simulation_s_truth_is_understood(tmp_path: Path) -> None:
    simulation = simulate(FleetPlan(devices=3, readings=900, healthy_readings=300, faults=3))
    write_truth(simulation, tmp_path / "truth.json")
    labels = read_labels(tmp_path / "truth.json")
    assert [(label.device_id, label.kind) for label in labels] == [
        (fault.device_id, fault.kind) for fault in simulation.truth
    ]


def test_without_a_device_they_are_about_the_only_one() -> None:
    label = Label(None, NOON, LATER)
    assert for_devices([label], ["pump-1"])["pump-1"][0].span.device_id == "pump-1"
    with pytest.raises(RecordingUnreadable, match="recording has 2"):
        for_devices([label], ["pump-1", "pump-2"])


def test_labels_of_other_devices_are_left_out_but_not_all() -> None:
    other = Label("pump-9", NOON, LATER)
    assert list(for_devices([other, *WANTED], ["pump-1"])) == ["pump-1"]
    with pytest.raises(RecordingUnreadable, match="none of 1 labels"):
        for_devices([other], ["pump-1"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("device_id,start\npump-1,2023-11-14\n", "line 2: an interval has start and end"),
        ("device_id,start,end\npump-1,2023-11-15,2023-11-14\n", "line 2: ends before it starts"),
        ("device_id,start,end\npump-1,yesterday,2023-11-14\n", "line 2: .*no time stamp"),
        ('{"faults": 3}', "no list of intervals"),
        ('{"pump-1": [3]}', "interval 1: an interval has"),
        ('{"pump-1": 3}', "no list of intervals"),
        ("[", "labels: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "labels"
    file.write_text(text)
    with pytest.raises(RecordingUnreadable, match=said):
        read_labels(file)
