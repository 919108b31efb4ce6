"""Promises of what lists: every format on the same rows, stable for programs, harmless for terminals."""

import csv
import io
import json
from collections.abc import Callable

import pytest

from tests.cli.rows import FIRST, HOSTILE, SECOND, Sensord

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


def test_an_unknown_alert_is_a_failure_that_names_it(on_rows: Sensord) -> None:
    ended = on_rows("alerts", "show", "cccc")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("sensord: ")
    assert "cccc" in ended.err
