"""The benchmark measures what it says, on a small scale."""

import json
import math
import os
import subprocess
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.bench import peers
from scripts.bench.daemon import Sample, steady
from scripts.bench.latency import waits
from scripts.bench.memory import ROUNDS_OF_A_KIND, Seen, endless, growth
from scripts.bench.quality.ageing import (
    REGIMES,
    SIZES,
    SORTS,
    SPEEDS,
    TOGETHER,
    Ageing,
    Course,
    Length,
    ageing,
    course,
    grown,
    plant,
    told,
)
from scripts.bench.quality.labelled import event_f1, line_up_trial
from scripts.bench.sender import fault_times, prepared, readings
from scripts.bench.throughput import compared, contenders, turns
from scripts.bench.workload import FAULT, START_S, Workload
from sensord.detection.alerts import Alert, Kind
from sensord.simulate import CHANNELS, FleetPlan
from sensord.trainer.evaluation.judging import evaluate
from sensord.trainer.fit import FitOptions
from sensord.trainer.offline import Recorded
from tests.builders import START
from tests.store.rows import alert

ROOT = Path(__file__).parents[1]


def test_rates_are_compared_within_their_round() -> None:
    seconds = {"poll": [1.0, 2.0, 4.0], "decode": [2.0, 4.0, 8.0], "daemon": [4.0, 10.0, 16.0]}  # ever slower
    calm = {name: [math.nan, 7.0] if name == "daemon" else [math.nan] for name in seconds}
    figures = compared(dict.fromkeys(seconds, 1_000), seconds, calm)
    assert [figures[name].steady for name in ("daemon", "poll")] == [7, None]
    assert figures["daemon"].rounds == [250, 100, 62]
    assert figures["daemon"].median == 100
    assert (figures["daemon"].of_poll, figures["daemon"].of_decode) == (0.25, 0.5)
    assert figures["poll"].of_poll == 1
    assert figures["poll"].spread == pytest.approx((1_000 - 250) / 500)


def test_a_steady_rate_is_of_the_time_when_all_partitions_are_held_and_none_is_at_its_end() -> None:
    states = [(0, 0), (40, 30), (40, 30), (60, 30), (80, 60), (110, 80), (160, 130), (200, 150), (200, 200)]
    samples = [Sample(float(second), dict(enumerate(offsets))) for second, offsets in enumerate(states)]
    assert steady(samples, adopted=1_500_000) == (160 + 130 - 80 - 60) / 2  # replayed until the fourth second
    assert math.isnan(steady(samples, adopted=6_500_000))  # it was over by then


def bench(name: str, *options: str) -> dict[str, Any]:
    """What a benchmark prints as JSON."""
    command = [str(ROOT / "scripts/bench" / name), *options, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


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


def test_what_is_sent_in_time_goes_on_where_the_topic_ends() -> None:
    before = replace(LOAD, readings=240, healthy=True).whole()
    filled = list(before.messages())
    sent = list(islice(readings(before, prepared(before)), 360))
    assert [one.device for one in sent] == 3 * [one.device for one in filled[:120]]
    assert [one.at_ms for one in sent[::120]] == [filled[-1].at_ms + 1_000 * second for second in (1, 2, 3)]
    told = [json.loads(one.value) for one in (*filled, *sent)]
    stamps = [datetime.fromisoformat(one["timestamp"]).timestamp() * 1_000 for one in told]
    assert stamps == [one.at_ms for one in (*filled, *sent)]


def test_a_fault_comes_once_in_each_interval_but_not_in_step() -> None:
    at = list(fault_times(20, 2.0))
    assert [int(each / 2) for each in at] == list(range(10))
    assert len({round(each % 2, 3) for each in at}) == 10


def test_only_alerts_that_came_have_a_latency() -> None:
    assert waits({(0, 1): 10.0, (0, 2): 20.0, (1, 1): 30.0}, {(0, 1): 11.0, (1, 1): 33.0})["max"] == 3.0


def test_a_peer_is_compared_within_its_round_and_one_that_fails_is_named() -> None:
    told = {
        "sensord": [peers.Told(100.0, {}), peers.Told(50.0, {})],
        "plain": [peers.Told(10.0, {"torch": "1"}), peers.Told(10.0, {"torch": "1"})],
        "quix": [peers.Told(None, {}, "ImportError"), peers.Told(25.0, {})],
        "river": [peers.Told(None, {}, "no"), peers.Told(None, {}, "no")],
    }
    figures = peers.compared(told)
    assert (figures["plain"].median, figures["plain"].sensord_times) == (10, 7.5)
    assert (figures["quix"].rounds, figures["quix"].sensord_times, figures["quix"].failure) == ([25], 2, "ImportError")
    assert (figures["river"].median, figures["river"].sensord_times) == (None, None)
    assert peers.line("river", figures["river"]).endswith("failed: no")


@pytest.mark.slow
def test_the_latency_of_every_alert_is_measured(kafka: str) -> None:
    options = ["--kafka", kafka, "--store", "sqlite", "--rate", "500"]
    options += ["--devices", "50", "--channels", "3", "--hidden", "5", "--seconds", "5", "--faults-every", "0.5"]
    found = bench("latency", *options)
    assert (found["alerts"], found["missed"], found["unasked"]) == (10, 0, 0)
    assert 0 < found["latency_s"]["p50"] <= found["latency_s"]["p99"] <= found["latency_s"]["max"]
    assert found["acknowledged_s"]["max"] <= found["latency_s"]["max"]
    assert found["p99_less_commit_interval_s"] == found["latency_s"]["p99"] - found["commit_interval_s"]


@pytest.mark.long
def test_the_benchmark_reads_all_with_every_contender(kafka: str) -> None:
    options = ["--kafka", kafka, "--store", "sqlite", "--rounds", "1"]
    options += ["--devices", "120", "--readings", "6100", "--channels", "3", "--hidden", "5", "--partitions", "2"]
    options += ["--batch-readings", "10"]
    found = bench("throughput", *options)
    rates = found["readings_per_s"]
    assert set(rates) == {"poll", "decode", "daemon", "arrays"}
    assert all(one["rounds"] == [one["median"]] and one["median"] > 0 for one in rates.values())
    assert found["ratio"] == pytest.approx(rates["daemon"]["median"] / rates["decode"]["median"], rel=0.01)
    assert found["workload"]["readings"] == 6_000  # whole seconds of 120 devices
    assert found["alerts"] == 2  # device 0 and device 100
    assert found["store"] == "SQLite"
    assert {"processor", "cores"} <= found["machine"].keys()
    assert {"python", "sensord", "torch", "kafka-python"} <= found["versions"].keys()


@pytest.mark.long
def test_the_lstm_finds_the_faults_that_need_a_memory_and_no_baseline_does() -> None:
    plan = FleetPlan(devices=10, readings=5_500, healthy_readings=4_000, faults=6, line_ups=True)
    run = evaluate(line_up_trial(plan), FitOptions(steps=400))
    best = max(event_f1(figures) for figures in run.baselines.values())
    assert event_f1(run.model) >= best + 0.2


def test_an_ageing_goes_straight_to_its_size_and_stays_there() -> None:
    live = Recorded("pump-1", START + np.arange(6), np.ones((6, 2), np.float32))
    aged = grown(live, Ageing((1,), -0.5, readings=2), np.array([1, 4], np.float32), begin=3)
    assert aged.values[:, 1].tolist() == [1, 1, 1, 0, -1, -1]
    assert (aged.values[:, 0] == 1).all()
    assert (live.values == 1).all()


def test_every_size_is_planted_at_every_speed_and_on_every_channel() -> None:
    planted = [each for seed in (1, 2) for each in plant(seed, 6 * SORTS)]
    counts = Counter((abs(each.size), each.readings) for each in planted)
    assert counts == {(size, readings): 12 for size in SIZES for readings in SPEEDS}
    assert {each.channels for each in planted} > {(place,) for place in range(len(CHANNELS))}
    assert {len(each.channels) for each in planted} == {1, TOGETHER}


def test_what_a_pump_raises_in_health_too_tells_no_ageing() -> None:
    device = Recorded("pump-1", START + 1_000 * np.arange(9_000), np.zeros((9_000, 1), np.float32))

    def opened(kind: Kind, *readings: int) -> list[Alert]:
        return [alert(kind=kind, opened_at=START + 1_000 * at) for at in readings]

    healthy = opened(Kind.DRIFT, 500, 8_000) + opened(Kind.SPIKE, 3_150)
    alerts = opened(Kind.DRIFT, 500, 4_000) + opened(Kind.SPIKE, 3_100, 4_600)
    found = course("a", Ageing((0,), 1.0, 2_000), device, 3_000, alerts, healthy)
    assert (found.drift, found.other, found.gone, found.lead) == (1_000, 1_600, 0.5, 600)


def test_ageings_that_nothing_tells_count_among_the_planted() -> None:
    one = Ageing((0,), -2.0, 1_000)
    courses = [Course("a", one, *each) for each in ((500, 900), (1_500, 700), (200, None), (None, None))]
    found = told("some", courses)
    assert (found.planted, found.drift, found.growing, found.other) == (4, 0.75, 0.5, 0.5)
    assert (found.first, found.nothing) == (0.5, 0.25)
    assert (found.gone, found.lead) == (1.0, (400 - 800) / 2)


@pytest.mark.slow
def test_ageing_is_measured_for_every_sort_and_beside_health() -> None:
    length = Length(history=10_000, healthy=2_500, longest=4_000, after=1_000)
    found = ageing([1], pumps=SORTS // len(REGIMES), length=length, steps=5)
    by_name = {each.sort: each for each in found.told}
    assert by_name["all"].planted == SORTS
    assert [by_name[regime.name].planted for regime in REGIMES] == [SORTS // len(REGIMES)] * len(REGIMES)
    assert sum(each.planted for name, each in by_name.items() if name.startswith("size ")) == SORTS
    assert by_name["size 2"].nothing == 0
    assert all(each.growing <= each.drift <= 1 - each.nothing for each in found.told)
    assert [each.regime for each in found.calm] == [regime.name for regime in REGIMES]
    months = SORTS / len(REGIMES) * (7_500 - 2_000) * 300 / 86_400 / 30
    assert [each.months for each in found.calm] == pytest.approx([months] * len(REGIMES))


@pytest.mark.slow
def test_the_cost_of_a_device_is_measured_for_each_size(tmp_path: Path) -> None:
    options = ["--devices", "50,1100", "--readings", "5000", "--rounds", "1"]
    options += ["--channels", "3", "--hidden", "5", "--plot", str(tmp_path / "scale.png")]
    found = bench("scale", *options)
    assert [one["devices"] for one in found["sizes"]] == [50, 1_100]
    for one in found["sizes"]:
        for order, took in one["us_per_reading"].items():
            assert took > one["us_of_scoring"][order] > 0
    for one in found["sizes"]:
        took = one["stored_s"]
        assert 0 < took["pause"] < took["snapshot"]
        assert took["adopt"] > 0
    assert set(found["largest_to_smallest"]) == {"in order", "at random"}
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
def test_training_is_timed_for_each_number_of_processes() -> None:
    command = ["scripts/bench/train", "--devices", "4", "--readings", "1201", "--channels", "2", "--json"]
    command += ["--steps", "2", "--processes", "1,2"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["by_processes"]) == {"1", "2"}
    assert all(one["rounds"] == [one["median_s"]] and one["cpu_s"] > 0 for one in found["by_processes"].values())
    assert all(one["anonymous_mb"] > 50 for one in found["by_processes"].values())
    assert found["load"]["readings"] == 1_201
    assert {"python", "sensord", "torch", "numba"} <= found["versions"].keys()


def test_growth_is_the_slope_of_memory() -> None:
    seen = [Seen(at=60.0 * minute, mb=400 + 2 * minute + (minute % 2), records=0) for minute in range(40)]
    assert growth(seen) == pytest.approx(2, abs=0.01)


def test_an_endless_workload_goes_on_in_time_and_has_both_kinds() -> None:
    load = Workload(devices=100, readings=100 * 4, channels=2, hidden=4, partitions=2, per_record=4)
    sent = list(islice(endless(load), 100 * ROUNDS_OF_A_KIND * 2))
    first = [reading for message in sent if message.device == "device-000000" for reading in json.loads(message.value)]
    times = [datetime.fromisoformat(reading["timestamp"]).timestamp() for reading in first]
    assert times == [START_S + second for second in range(len(times))]
    failing = [reading["values"]["channel_0"] > FAULT / 2 for reading in first]
    assert not any(failing[: len(failing) // 2])
    assert sum(failing[len(failing) // 2 :]) == len(failing) // 4


@pytest.mark.long
def test_memory_is_watched_at_full_load(kafka: str) -> None:
    options = ["--devices", "50", "--minutes", "0.2", "--settle", "0", "--kafka", kafka, "--store", "sqlite"]
    found = bench("memory", *options)
    assert found["readings_per_s"] > 0
    assert found["largest"] > 50
    assert len(found["seen"]) >= 3


@pytest.mark.long
def test_a_backtest_is_timed_and_leaves_the_same_alerts_whatever_the_workers() -> None:
    found = bench("backtest", "--devices", "20", "--seconds", "300", "--workers", "1,2")
    assert found["agree"] is True
    assert found["alerts"] > 0
    assert set(found["times_real_time"]) == {"1", "2"}
