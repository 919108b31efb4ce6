"""The benchmark measures what it says, on a small scale."""

import json
import os
import subprocess
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.bench.quality.labelled import event_f1, line_up_trial
from scripts.bench.throughput import compared, contenders, turns
from scripts.bench.workload import Workload
from sensord.simulate import FleetPlan
from sensord.trainer.evaluation.judging import evaluate
from sensord.trainer.fit import FitOptions

ROOT = Path(__file__).parents[1]


def test_rates_are_compared_within_their_round() -> None:
    seconds = {"poll": [1.0, 2.0, 4.0], "decode": [2.0, 4.0, 8.0], "daemon": [4.0, 10.0, 16.0]}  # ever slower
    figures = compared(dict.fromkeys(seconds, 1_000), seconds)
    assert figures["daemon"].rounds == [250, 100, 62]
    assert figures["daemon"].median == 100
    assert (figures["daemon"].of_poll, figures["daemon"].of_decode) == (0.25, 0.5)
    assert figures["poll"].of_poll == 1
    assert figures["poll"].spread == pytest.approx((1_000 - 250) / 500)


LOAD = Workload(devices=120, readings=6_100, channels=3, hidden=5, partitions=2)


def test_everybody_runs_once_a_round_and_nobody_is_always_first() -> None:
    field = contenders(LOAD, batch_readings=50, skew=0.5, workers=2)
    assert [one.name for one in field] == ["poll", "decode", "daemon", "arrays", "skewed", "workers"]
    order = list(turns(field, 6))
    rounds = [order[first : first + 6] for first in range(0, 36, 6)]
    assert all({one.name for one in each} == {one.name for one in field} for each in rounds)
    assert {each[0].name for each in rounds} == {one.name for one in field}


@pytest.mark.parametrize("changes", [{}, {"per_record": 50}, {"skew": 0.5}, {"skew": 0.5, "per_record": 10}])
def test_the_workload_holds_what_it_says(changes: dict[str, Any]) -> None:
    load = replace(LOAD, **changes).whole()
    records = [json.loads(message.value) for message in load.messages()]
    assert len(records) == load.records
    readings = [reading for one in records for reading in (one if isinstance(one, list) else [one])]
    assert len(readings) == load.readings
    assert all(isinstance(one, list) and len(one) == load.per_record for one in records) or load.per_record == 1
    loudest = sum(reading["device_id"] == "device-000000" for reading in readings)
    assert loudest / len(readings) == pytest.approx(load.skew or 1 / load.devices, abs=0.01)
    by_device = defaultdict(list)
    for reading in readings:
        by_device[reading["device_id"]].append(reading["timestamp"])
    assert all(len(set(stamps)) == len(stamps) and sorted(stamps) == stamps for stamps in by_device.values())


@pytest.mark.slow
def test_the_benchmark_reads_all_with_every_contender(kafka: str) -> None:
    command = ["scripts/bench/throughput", "--kafka", kafka, "--store", "sqlite", "--json", "--rounds", "1"]
    command += ["--devices", "120", "--readings", "6100", "--channels", "3", "--hidden", "5", "--partitions", "2"]
    command += ["--batch-readings", "10"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    rates = found["readings_per_s"]
    assert set(rates) == {"poll", "decode", "daemon", "arrays"}
    assert all(one["rounds"] == [one["median"]] and one["median"] > 0 for one in rates.values())
    assert found["ratio"] == pytest.approx(rates["daemon"]["median"] / rates["decode"]["median"], rel=0.01)
    assert found["workload"]["readings"] == 6_000  # whole seconds of 120 devices
    assert found["alerts"] == 2  # device 0 and device 100
    assert found["store"] == "SQLite"
    assert {"processor", "cores"} <= found["machine"].keys()
    assert {"python", "sensord", "torch", "kafka-python"} <= found["versions"].keys()


@pytest.mark.slow
def test_the_lstm_finds_the_faults_that_need_a_memory_and_no_baseline_does() -> None:
    plan = FleetPlan(devices=10, readings=5_500, healthy_readings=4_000, faults=6, line_ups=True)
    run = evaluate(line_up_trial(plan), FitOptions(steps=400))
    best = max(event_f1(figures) for figures in run.baselines.values())
    assert event_f1(run.model) >= best + 0.2


@pytest.mark.slow
def test_the_cost_of_a_device_is_measured_for_each_size(tmp_path: Path) -> None:
    command = ["scripts/bench/scale", "--devices", "50,1100", "--readings", "5000", "--rounds", "1", "--json"]
    command += ["--channels", "3", "--hidden", "5", "--plot", str(tmp_path / "scale.png")]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [one["devices"] for one in found["sizes"]] == [50, 1_100]
    assert all(min(one["us_per_reading"].values()) > 0 for one in found["sizes"])
    assert all(one["snapshot_s"] > 0 and one["adopt_s"] > 0 for one in found["sizes"])
    assert set(found["largest_to_smallest"]) == {"in order", "at random"}
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")
