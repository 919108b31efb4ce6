"""Promises of `alerts stats`, `export`, `tail`, and of the curves that `show` draws."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sensord.cli.sparkline import extent, sparkline
from sensord.clock import MICROSECONDS
from sensord.store.alerts import Feedback, feedback
from sensord.store.database import open_engine
from tests.cli.rows import FIRST, NOON, SECOND, Sensord
from tests.end_to_end.plant import wait_for

PATIENCE_S = 30


@pytest.mark.parametrize(
    ("by", "names"),
    [("device", 2), ("fleet", 1), ("kind", 1), ("channel", 1), ("bundle", 1), ("day", 1)],
)
def test_alerts_are_counted_by_what_they_have_in_common(on_rows: Sensord, by: str, names: int) -> None:
    rows = json.loads(on_rows("alerts", "stats", "--by", by, "--format", "json").out)
    assert (len(rows), sum(row["alerts"] for row in rows)) == (names, 2)
    assert {"day": "2026-11-23", "fleet": "pumps"}.get(by, rows[0]["name"]) == rows[0]["name"]


def test_counts_say_what_people_said(on_rows: Sensord, tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    feedback(engine, str(FIRST), Feedback.REAL, "ann", NOON)
    engine.dispose()
    [row] = json.loads(on_rows("alerts", "stats", "--by", "fleet", "--format", "json").out)
    assert (row["real"], row["false_alarms"], row["unanswered"], row["open"], row["critical"]) == (1, 0, 1, 1, 1)


def test_an_export_has_every_alert_with_its_evidence_in_either_form(on_rows: Sensord, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in on_rows("alerts", "export").out.splitlines()]
    assert [line["id"] for line in lines] == [str(FIRST), str(SECOND)]
    assert lines[0]["evidence"]["channels"]
    ended = on_rows("alerts", "export", "--format", "csv", "--out", "alerts.csv")
    assert ended.err == "alerts.csv: 2 alerts\n"
    table = list(csv.DictReader(io.StringIO((tmp_path / "alerts.csv").read_text())))
    assert [row["id"] for row in table] == [str(FIRST), str(SECOND)]
    assert json.loads(table[0]["evidence"]) == lines[0]["evidence"]
    assert on_rows("alerts", "export", "--severity", "critical").out.count("\n") == 1


def test_tail_shows_what_has_happened_and_then_what_happens(on_rows: Sensord, tmp_path: Path) -> None:
    url, log = f"sqlite:///{tmp_path / 'rows.db'}", tmp_path / "tail.out"
    command = [sys.executable, "-u", "-m", "sensord", "alerts", "tail", "--every-s", "0.1", "--device", "pump-1"]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out) as process:
        try:
            wait_for(lambda: "opened" in log.read_text(), [], "what has happened")
            engine = open_engine(url)
            feedback(engine, str(FIRST), Feedback.REAL, "ann", NOON + MICROSECONDS, "bearing")
            feedback(engine, str(SECOND), Feedback.REAL, "ann", NOON + MICROSECONDS)
            engine.dispose()
            wait_for(lambda: "feedback" in log.read_text(), [], "what happens")
        finally:
            process.terminate()
    opened, _, said = log.read_text().splitlines()
    assert opened.endswith("aaaa0000 opened       critical pumps pump-1  anomaly 4.2 x limit, because of vibration")
    assert said.endswith("pumps pump-1  anomaly, says ann: bearing")


def test_a_curve_is_as_high_as_its_values_and_has_gaps(on_rows: Sensord) -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7, None, 8], 0, 8) == "▁▂▃▄▅▆▇█ █"
    assert sparkline([5.0, 5.0], 5.0, 5.0) == "▁▁"
    assert extent([1.0, None], [-2.0]) == (-2.0, 1.0)
    assert extent([None]) == (0.0, 0.0)
    assert any(bar in on_rows("alerts", "show", str(FIRST)).out for bar in "▁█")
