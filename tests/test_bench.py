"""The benchmark measures what it says, on a small scale."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from scripts.bench.quality.labelled import event_f1, line_up_trial
from scripts.bench.throughput import CONTENDERS, compared, turns
from sensord.simulate import FleetPlan
from sensord.trainer.evaluation.judging import evaluate
from sensord.trainer.fit import FitOptions

ROOT = Path(__file__).parents[1]


def test_rates_are_compared_within_their_round() -> None:
    seconds = {"poll": [1.0, 2.0, 4.0], "decode": [2.0, 4.0, 8.0], "daemon": [4.0, 10.0, 16.0]}  # ever slower
    figures = compared(1_000, seconds)
    assert figures["daemon"].rounds == [250, 100, 62]
    assert figures["daemon"].median == 100
    assert (figures["daemon"].of_poll, figures["daemon"].of_decode) == (0.25, 0.5)
    assert figures["poll"].of_poll == 1
    assert figures["poll"].spread == pytest.approx((1_000 - 250) / 500)


def test_everybody_runs_once_a_round_and_nobody_is_always_first() -> None:
    order = list(turns(3))
    rounds = [order[first : first + 3] for first in (0, 3, 6)]
    assert all(sorted(one) == sorted(CONTENDERS) for one in rounds)
    assert {one[0] for one in rounds} == set(CONTENDERS)


@pytest.mark.slow
def test_the_benchmark_reads_all_with_every_contender(kafka: str) -> None:
    command = ["scripts/bench/throughput", "--kafka", kafka, "--store", "sqlite", "--json", "--rounds", "1"]
    command += ["--devices", "120", "--readings", "6100", "--channels", "3", "--hidden", "5", "--partitions", "2"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    rates = found["readings_per_s"]
    assert set(rates) == set(CONTENDERS)
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
