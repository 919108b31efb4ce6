"""Promises of what lists: every format on the same rows, stable for programs, harmless for terminals."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from sensord.detection.alerts import AlertChange, Severity, Status
from sensord.readings import Partition
from sensord.store.database import open_engine
from sensord.store.progress import Checkpoint, Progress
from tests.cli.rows import FIRST, HOSTILE, NOON, SECOND, Sensord, alert

LISTS: dict[str, tuple[str, list[object]]] = {
    "alerts": ("id", [str(SECOND), str(FIRST)]),
    "devices": ("device_id", [HOSTILE, "pump-1"]),
    "dead-letters": ("reason", ["malformed"]),
}


def _csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


PARSERS: dict[str, Callable[[str], list[dict[str, object]]]] = {
    "json": json.loads,
    "jsonl": lambda text: [json.loads(line) for line in text.splitlines()],
    "csv": _csv,  # type: ignore[dict-item]
}


@pytest.mark.parametrize("command", LISTS)
@pytest.mark.parametrize("form", PARSERS)
def test_programs_read_the_same_rows_in_every_format(on_rows: Sensord, command: str, form: str) -> None:
    ended = on_rows(command, "list", "--format", form)
    key, expected = LISTS[command]
    assert (ended.err, ended.code) == ("", 0)
    assert sorted(str(row[key]) for row in PARSERS[form](ended.out)) == sorted(map(str, expected))


@pytest.mark.parametrize("command", LISTS)
def test_csv_and_json_have_the_same_columns_in_the_same_order(on_rows: Sensord, command: str) -> None:
    from_csv, from_json = (on_rows(command, "list", "--format", form).out for form in ("csv", "json"))
    assert list(_csv(from_csv)[0]) == list(json.loads(from_json)[0])


@pytest.mark.parametrize("command", LISTS)
def test_the_columns_are_there_without_rows(on_rows: Sensord, command: str) -> None:
    empty = on_rows(command, "list", "--fleet", "none", "--format", "csv").out
    assert empty == on_rows(command, "list", "--format", "csv").out.splitlines()[0] + "\n"


@pytest.mark.parametrize("command", LISTS)
def test_a_table_shows_every_row_and_steers_no_terminal(on_rows: Sensord, command: str) -> None:
    ended = on_rows(command, "list")
    assert ended.code == 0
    assert len(ended.out.splitlines()) == 1 + len(LISTS[command][1])
    assert ended.out.replace("\n", "").isprintable()


def test_times_are_utc_in_iso_8601_for_programs(on_rows: Sensord) -> None:
    (row,) = json.loads(on_rows("alerts", "list", "--open", "--format", "json").out)
    assert (row["opened_at"], row["closed_at"]) == ("2026-11-23T12:00:00Z", None)
    (cells,) = _csv(on_rows("alerts", "list", "--open", "--format", "csv").out)
    assert (cells["opened_at"], cells["closed_at"]) == ("2026-11-23T12:00:00Z", "")


def test_the_last_opened_alert_comes_first(on_rows: Sensord) -> None:
    rows = json.loads(on_rows("alerts", "list", "--format", "json").out)
    assert [row["id"] for row in rows] == [str(SECOND), str(FIRST)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--open"], [FIRST]),
        (["--severity", "warning"], [SECOND]),
        (["--device", "pump-?"], [FIRST]),
        (["--since", "2026-11-23T12:00:01Z"], [SECOND]),
        (["--since", "2026-11-23T13:00:01+01:00"], [SECOND]),
        (["--kind", "stuck"], []),
        (["--run", "replay"], []),
        (["--run", "live"], [SECOND, FIRST]),
        (["--run", "all"], [SECOND, FIRST]),
    ],
)
def test_alerts_can_be_narrowed(on_rows: Sensord, arguments: list[str], expected: list[object]) -> None:
    rows = json.loads(on_rows("alerts", "list", "--format", "json", *arguments).out)
    assert [row["id"] for row in rows] == list(map(str, expected))


def test_a_list_that_was_cut_says_so_on_stderr(on_rows: Sensord) -> None:
    ended = on_rows("alerts", "list", "--limit", "1", "--format", "jsonl")
    assert (len(ended.out.splitlines()), ended.err) == (1, "only 1 are shown; more with --limit\n")
    assert on_rows("alerts", "list", "--limit", "2", "--format", "jsonl").err == ""


def test_an_alert_is_shown_by_the_beginning_of_its_id_with_all_that_explains_it(on_rows: Sensord) -> None:
    ended = on_rows("alerts", "show", str(FIRST)[:4])
    assert ended.code == 0
    for text in (
        str(FIRST),
        "critical anomaly, open",
        "pump-1",
        "vibration",
        "75%",
        "7.5",
        "mm/s",
        "escalated",
        "40 to 60",
    ):
        assert text in ended.out


def test_an_alert_for_programs_has_its_evidence_and_history(on_rows: Sensord) -> None:
    shown = json.loads(on_rows("alerts", "show", str(SECOND), "--format", "json").out)
    assert shown["evidence"]["observed"] == [[71.0, 2.5], [None, 7.5]]
    assert [event["event"] for event in shown["events"]] == ["opened", "closed"]


def test_people_answer_an_alert_and_the_answer_is_shown(on_rows: Sensord) -> None:
    assert on_rows("alerts", "ack", "aaaa", "--by", "ann").code == 0
    assert on_rows("alerts", "feedback", "aaaa", "false_alarm", "--comment", "filter change", "--by", "bob").code == 0
    shown = on_rows("alerts", "show", "aaaa").out
    assert "false_alarm, says bob" in shown
    assert "filter change" in shown
    assert [line for line in shown.splitlines() if line.startswith("acknowledged") and "ann" in line]


def test_an_open_alert_can_be_called_normal_a_closed_one_not(on_rows: Sensord) -> None:
    ended = on_rows("alerts", "accept", str(FIRST)[:6], "--by", "ann")
    assert ended.code == 0
    assert "accepted by ann" in ended.out
    assert "accepted      ann at" in on_rows("alerts", "show", str(FIRST)).out
    refused = on_rows("alerts", "accept", str(SECOND))
    assert refused.code == 1
    assert "closed already" in refused.err


def test_an_answer_may_have_a_comment_and_may_be_taken_back(on_rows: Sensord) -> None:
    assert on_rows("alerts", "ack", "aaaa", "--by", "ann", "--comment", "on my way").code == 0
    assert on_rows("alerts", "accept", "aaaa", "--by", "ann", "--comment", "new impeller").code == 0
    assert on_rows("alerts", "feedback", "aaaa", "real", "--by", "ann").code == 0
    undone = on_rows("alerts", "feedback", "aaaa", "none", "--by", "bob", "--comment", "wrong pump")
    assert (undone.code, undone.out) == (0, f"{FIRST}: taken back by bob\n")
    row = json.loads(on_rows("alerts", "show", "aaaa", "--format", "json").out)
    assert [row[name] for name in ("feedback", "feedback_by", "feedback_at", "feedback_comment")] == [None] * 4
    assert [(event["event"], event["comment"]) for event in row["events"][2:]] == [
        ("acknowledged", "on my way"),
        ("accepted", "new impeller"),
        ("feedback", None),
        ("feedback_undone", "wrong pump"),
    ]
    assert on_rows("alerts", "feedback", "aaaa").code == 2


NOON_TO_ONE = ("--from", "2026-11-23T12:00:00Z", "--to", "2026-11-23T13:00:00Z")


def test_a_window_hides_its_alerts_until_it_is_removed(on_rows: Sensord) -> None:
    window = ("windows", "add", "--fleet", "pumps", "--device", "pump-*", *NOON_TO_ONE, "--kind", "maintenance")
    added = on_rows(*window, "--comment", "oil", "--by", "ann")
    assert (added.code, added.out) == (0, "window 1 added; it suppresses 2 alerts that are there already\n")

    def listed(*options: str) -> list[str]:
        return [row["id"] for row in json.loads(on_rows("alerts", "list", "--format", "json", *options).out)]

    assert listed("--suppressed") == [str(SECOND), str(FIRST)]
    assert str(SECOND) not in listed()
    assert "suppressed    by window 1" in on_rows("alerts", "show", "bbbb").out
    [row] = json.loads(on_rows("windows", "list", "--fleet", "pumps", "--format", "json").out)
    assert (row["id"], row["device"], row["kind"], row["comment"], row["created_by"]) == (
        1,
        "pump-*",
        "maintenance",
        "oil",
        "ann",
    )
    assert "maintenance" in on_rows("windows", "list").out
    assert on_rows("windows", "remove", "1").out == "window 1 removed; 2 alerts are shown again\n"
    assert on_rows("windows", "remove", "1").code == 1
    assert listed() == [str(SECOND), str(FIRST)]


def test_a_window_that_ends_before_it_begins_is_refused(on_rows: Sensord) -> None:
    ends = ("--from", "2026-11-23T13:00:00Z", "--to", "2026-11-23T12:00:00Z", "--kind", "exclude")
    assert on_rows("windows", "add", "--fleet", "pumps", *ends).code == 2


@pytest.mark.parametrize(("options", "count"), [([], 2), (["--run", "all"], 3), (["--run", "shadow"], 1)])
def test_only_the_live_run_is_shown_unasked(on_rows: Sensord, tmp_path: Path, options: list[str], count: int) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    progress = Progress(engine)
    claim = progress.claim("pumps", Partition("sensors.pumps", 1), "test", "", NOON)
    shadow = replace(alert(UUID(int=3), "pump-1", Status.OPEN, Severity.WARNING, NOON), run="shadow")
    change = AlertChange(shadow, True, ())
    progress.commit([Checkpoint("pumps", claim.partition, claim.epoch, claim.owner, None, 1, [change], ())], NOON)
    engine.dispose()
    assert len(json.loads(on_rows("alerts", "list", "--format", "json", *options).out)) == count


def test_what_is_like_a_false_alarm_says_so(on_rows: Sensord, tmp_path: Path) -> None:
    assert on_rows("alerts", "feedback", "aaaa", "false_alarm", "--by", "ann").code == 0
    engine = open_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    progress = Progress(engine)
    claim = progress.claim("pumps", Partition("sensors.pumps", 1), "test", "", NOON)
    change = AlertChange(alert(UUID(int=3), "pump-1", Status.OPEN, Severity.CRITICAL, NOON), True, ("opened",))
    progress.commit([Checkpoint("pumps", claim.partition, claim.epoch, claim.owner, None, 1, [change], ())], NOON)
    engine.dispose()
    assert f"suppressed    like {FIRST}, which was called a false alarm" in on_rows("alerts", "show", "0000").out
    assert len(json.loads(on_rows("alerts", "list", "--format", "json").out)) == 2


def test_an_unknown_alert_is_a_failure_that_names_it(on_rows: Sensord) -> None:
    ended = on_rows("alerts", "show", "cccc")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("sensord: ")
    assert "cccc" in ended.err
