"""Promises of `sensord replay --model`: what differs is told and kept, twice is once, and wrong options are named."""

import csv
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from sensord.model.bundle import Packed
from tests.builders import START, packed
from tests.cli.rows import Sensord

SECOND = 1_000_000
ROWS = 300
KEEN, DULL = packed(seed=1, device_ids=("pump-0", "pump-1")), packed(seed=2, threshold=12.0)


@pytest.fixture
def on_bundles(on_rows: Sensord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sensord:
    """As `on_rows`, with a keen bundle that is current and a dull candidate, and a recording `pumps.csv`."""
    monkeypatch.setenv("SENSORD_FLEETS__PUMPS__TOPICS", '["sensors.pumps"]')
    publish(on_rows, tmp_path, KEEN, DULL)
    assert on_rows("model", "promote", KEEN.bundle_id).code == 0
    record(tmp_path / "pumps.csv")
    return on_rows


def publish(sensord: Sensord, folder: Path, *bundles: Packed) -> None:
    for bundle in bundles:
        bundle.write(folder / bundle.bundle_id)
        assert sensord("model", "import", str(folder / bundle.bundle_id)).code == 0


def record(path: Path) -> None:
    """Four pumps, a reading a second: two that jump high, one that jumps a little, one that is calm."""
    rows = []
    for number, jump in enumerate((9.0, 9.0, 3.0, 0.0)):
        values = np.random.default_rng(number).normal(0, 0.3, (ROWS, 2))
        values[150:180] += jump
        stamps = ((START + np.arange(ROWS) * SECOND) // 1000).tolist()
        rows += [(at, f"pump-{number}", *map(float, row)) for at, row in zip(stamps, values, strict=True)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "device_id", "heat", "noise"])
        writer.writerows(sorted(rows))


def replayed(folder: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "rows.db")) as connection:
        return connection.execute("SELECT * FROM alerts WHERE run = 'replay' ORDER BY id").fetchall()


def against(sensord: Sensord, *more: str) -> str:
    ended = sensord("replay", "pumps.csv", "--model", "current", "--against", DULL.bundle_id, *more)
    assert ended.code == 0, ended.err
    return ended.out


def test_both_bundles_alerts_are_told_apart_and_counted(on_bundles: Sensord) -> None:
    told = json.loads(against(on_bundles, "--format", "json"))
    assert (told["first"]["bundle_id"], told["second"]["bundle_id"]) == (KEEN.bundle_id, DULL.bundle_id)
    [every, *sorts] = told["counts"]
    assert every == {"name": "all", "first": 3, "second": 2, "same": 2, "outdated": 1, "new": 0}
    assert {count["name"] for count in sorts} >= {"anomaly", "critical"}
    [alert] = told["alerts"]
    assert (alert["change"], alert["device_id"], alert["model_id"]) == ("outdated", "pump-2", KEEN.bundle_id)
    days = 4 * ROWS / 86_400
    assert told["first"]["device_days"] == pytest.approx(days)
    assert told["first"]["per_device_day"] == pytest.approx(3 / days)


def test_the_other_way_round_what_was_outdated_is_new(on_bundles: Sensord) -> None:
    ended = on_bundles(
        "replay", "pumps.csv", "--model", DULL.bundle_id[:8], "--against", "current", "--format", "jsonl"
    )
    [row] = map(json.loads, ended.out.splitlines())
    assert (row["change"], row["device_id"]) == ("new", "pump-2")


def test_people_see_the_counts_and_what_differs(on_bundles: Sensord) -> None:
    out = against(on_bundles)
    assert (
        f"{KEEN.bundle_id} against {DULL.bundle_id}, 1,200 readings of 4 devices: 2 the same, 1 outdated, 0 new" in out
    )
    assert "alerts per device-day" in out
    assert "outdated  " in out
    assert "pump-2" in out


def test_every_format_has_the_same_differences(on_bundles: Sensord) -> None:
    [cells] = csv.DictReader(io.StringIO(against(on_bundles, "--format", "csv")))
    [row] = map(json.loads, against(on_bundles, "--format", "jsonl").splitlines())
    assert cells["id"] == row["id"]
    assert list(cells) == list(row)


def test_twice_leaves_the_same_rows_whatever_the_workers(on_bundles: Sensord, tmp_path: Path) -> None:
    outs, rows = [], []
    for workers in ("1", "2", "4"):
        outs.append(against(on_bundles, "--workers", workers, "--format", "json"))
        rows.append(replayed(tmp_path))
    assert outs[0] == outs[1] == outs[2]
    assert rows[0] == rows[1] == rows[2]
    assert len(rows[0]) == 5


def test_nobody_is_told_of_it_and_live_alerts_stay_as_they_are(on_bundles: Sensord, tmp_path: Path) -> None:
    def live() -> list[object]:
        with closing(sqlite3.connect(tmp_path / "rows.db")) as connection:
            events = connection.execute("SELECT * FROM alert_events ORDER BY sequence").fetchall()
            return [events, connection.execute("SELECT * FROM alerts WHERE run = 'live' ORDER BY id").fetchall()]

    before = live()
    against(on_bundles)
    assert live() == before
    assert {row["run"] for row in json.loads(on_bundles("alerts", "list", "--format", "json").out)} == {"live"}
    listed = json.loads(on_bundles("alerts", "list", "--run", "replay", "--format", "json").out)
    assert {row["model_id"] for row in listed} == {KEEN.bundle_id, DULL.bundle_id}
    assert {row["status"] for row in listed} == {"closed"}


def test_one_bundle_alone_shows_all_its_alerts(on_bundles: Sensord, tmp_path: Path) -> None:
    ended = on_bundles("replay", "pumps.csv", "--model", "current", "--format", "json")
    told = json.loads(ended.out)
    assert (told["second"], {row["change"] for row in told["alerts"]}) == (None, {None})
    assert len(told["alerts"]) == len(replayed(tmp_path)) == 3
    assert "3 alerts on 1,200 readings of 4 devices" in on_bundles("replay", "pumps.csv", "--model", "current").out


def test_a_stretch_of_the_time_can_be_named(on_bundles: Sensord) -> None:
    at = f"{np.datetime64(START + 240 * SECOND, 'us')}"
    told = json.loads(against(on_bundles, "--since", at, "--format", "json"))
    assert told["first"]["device_days"] == pytest.approx(4 * 60 / 86_400)
    ended = on_bundles("replay", "pumps.csv", "--model", "current", "--since", "2100-01-01")
    assert (ended.code, ended.out) == (1, "")
    assert "pumps.csv: no readings in that time" in ended.err


def test_the_page_has_what_the_terminal_has_and_a_picture_of_each_alert(on_bundles: Sensord, tmp_path: Path) -> None:
    against(on_bundles, "--report", "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "2 the same, 1 outdated, 0 new" in html
    assert html.count("<section") == html.count("<svg") == 1
    assert "src=" not in html


def test_the_shadow_goes_by_that_word(on_bundles: Sensord) -> None:
    ended = on_bundles("replay", "pumps.csv", "--model", "current", "--against", "shadow")
    assert ended.code == 78
    assert "no shadow bundle" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "current", "--speed", "10"], "--speed is for publishing"),
        (["--model", "current", "--partitions", "4"], "--partitions is for publishing"),
        (["--model", "current", "--topic", "t"], "either FILE... or --topic"),
        (["--model", "current", "--since-offset", "5"], "--since-offset goes with --topic"),
        (["--model", "current", "--kafka", "there:9092"], "--kafka goes with --topic"),
        (["--model", "current", "--against", "current"], "the same bundle"),
        (["--topic", "t", "--against", "current"], "--against goes with --model"),
        (["--topic", "t", "--workers", "2"], "--workers goes with --model"),
        (["--topic", "t", "--format", "json"], "--format goes with --model"),
        ([], "--topic"),
    ],
)
def test_options_that_do_not_go_together_are_named(on_bundles: Sensord, arguments: list[str], said: str) -> None:
    ended = on_bundles("replay", "pumps.csv", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_without_files_or_a_topic_there_is_nothing_to_score(on_bundles: Sensord) -> None:
    assert "either FILE... or --topic" in on_bundles("replay", "--model", "current").err
    of_file = on_bundles("replay", "--model", "current", "--topic", "t", "--channels", "heat")
    assert "--channels goes with FILE..." in of_file.err
    assert "at least one FILE" in on_bundles("replay", "--topic", "t").err


@pytest.mark.slow
def test_a_topic_s_readings_give_what_the_file_s_give(on_bundles: Sensord, kafka: str, tmp_path: Path) -> None:
    topic = f"backtest.{tmp_path.name}"
    where = ("--topic", topic, "--kafka", kafka)
    assert on_bundles("replay", "pumps.csv", *where, "--partitions", "3").code == 0
    both = ("--model", "current", "--against", DULL.bundle_id, "--format", "json")
    told, of_file = (json.loads(on_bundles("replay", *source, *both).out) for source in (where, ("pumps.csv",)))
    assert told["counts"] == of_file["counts"]
    [alert] = told["alerts"]
    assert alert["topic"] == topic
    part = json.loads(on_bundles("replay", *where, *both, "--until-offset", "10").out)
    assert part["first"]["device_days"] == pytest.approx(30 / 86_400)
