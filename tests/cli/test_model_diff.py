"""Promises of `sensord model diff`: what the shadow raises beside the current bundle, since both were scored."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from sensord.clock import SystemClock
from sensord.detection.alerts import Alert, Evidence, Kind, Severity, Status
from sensord.store import Engine
from sensord.store.database import open_engine
from sensord.store.registry import Registry
from sensord.store.runs import keep
from tests.builders import packed
from tests.cli.rows import NOON, Sensord
from tests.cli.rows import alert as any_alert

SECOND = 1_000_000
OLD, NEW = packed(seed=1), packed(seed=2, threshold=6.0, device_ids=("pump-1",))
ENTRY = "<b>pump</b>"


def alert(run: str, minute: int, device: str = "pump-1", seconds: int = 30) -> Alert:
    """Closed; of the live run and the old bundle, or of another run and the new one."""
    at = NOON + minute * 60 * SECOND
    end = at + seconds * SECOND
    model = OLD if run == "live" else NEW
    one = any_alert(uuid4(), device, Status.CLOSED, Severity.WARNING, at)
    return replace(one, run=run, model_id=model.bundle_id, last_seen_at=end, closed_at=end)


@pytest.fixture
def engine(on_rows: Sensord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The database of `on_rows`, with an old bundle that is current and a new one beside it."""
    monkeypatch.setenv("SENSORD_FLEETS__PUMPS__TOPICS", '["sensors.pumps"]')
    engine = open_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    registry, at = Registry(engine), SystemClock().now() - 7_200 * SECOND
    for one in (OLD, NEW):
        registry.publish("pumps", one.bundle_id, one.manifest, one.weights, one.sha256, at, "ann")
    registry.promote("pumps", OLD.bundle_id, at, "ann")
    yield engine
    engine.dispose()


@pytest.fixture
def side_by_side(engine: Engine) -> Engine:
    """The new bundle has been the shadow for an hour. Both raise one alert, and each raises one alone.

    There was one before, and one that was going on when the shadow began.
    """
    began = SystemClock().now() - 3_600 * SECOND
    Registry(engine).shadow("pumps", NEW.bundle_id, began, "ann")
    before, going_on = alert("live", -60), alert("live", -10, "pump-5")
    keep(engine, [before, going_on], began - 60 * SECOND)
    after = began + 60 * SECOND
    keep(engine, [replace(going_on, last_offset=99)], after)
    keep(engine, [alert("live", 0), alert("live", 5, "pump-2")], after)
    keep(engine, [alert("shadow", 0, seconds=90), alert("shadow", 7, ENTRY)], after)
    return engine


def test_the_shadow_s_alerts_stand_beside_the_live_ones_since_it_began(on_rows: Sensord, side_by_side: Engine) -> None:
    ended = on_rows("model", "diff", "--format", "json")
    told = json.loads(ended.out)
    assert (told["first"]["run"], told["second"]["run"]) == ("live", "shadow")
    assert (told["first"]["alerts"], told["second"]["alerts"]) == (2, 2)
    assert told["counts"][0] == {"name": "all", "first": 2, "second": 2, "same": 1, "outdated": 1, "new": 1}
    assert [(row["change"], row["device_id"]) for row in told["alerts"]] == [("outdated", "pump-2"), ("new", ENTRY)]


def test_what_was_going_on_when_the_shadow_began_may_be_the_same(on_rows: Sensord, side_by_side: Engine) -> None:
    keep(side_by_side, [alert("shadow", -10, "pump-5")], SystemClock().now())
    told = json.loads(on_rows("model", "diff", "--format", "json").out)
    assert told["counts"][0] == {"name": "all", "first": 3, "second": 3, "same": 2, "outdated": 1, "new": 1}


def test_since_is_when_alerts_opened(on_rows: Sensord, side_by_side: Engine) -> None:
    ended = on_rows("model", "diff", "--since", "2026-11-23T12:06:00Z", "--format", "jsonl")
    [row] = map(json.loads, ended.out.splitlines())
    assert (row["change"], row["device_id"]) == ("new", ENTRY)


def test_a_shadow_that_was_promoted_is_still_compared_for_the_time_before(
    on_rows: Sensord, side_by_side: Engine
) -> None:
    Registry(side_by_side).promote("pumps", NEW.bundle_id, SystemClock().now() - 60 * SECOND, "ann")
    keep(side_by_side, [replace(alert("live", 20, "pump-9"), model_id=OLD.bundle_id)], SystemClock().now())
    told = json.loads(on_rows("model", "diff", OLD.bundle_id, NEW.bundle_id, "--format", "json").out)
    assert told["counts"][0] == {"name": "all", "first": 2, "second": 2, "same": 1, "outdated": 1, "new": 1}


def test_replayed_alerts_can_be_compared_instead(on_rows: Sensord, engine: Engine) -> None:
    ours = replace(alert("replay", 0), model_id=OLD.bundle_id)
    keep(engine, [ours, alert("replay", 0), alert("replay", 3, "pump-3")], SystemClock().now())
    names = (OLD.bundle_id, NEW.bundle_id, "--run", "replay")
    told = json.loads(on_rows("model", "diff", *names, "--format", "json").out)
    assert (told["first"]["run"], told["second"]["run"]) == ("replay", "replay")
    assert told["counts"][0] == {"name": "all", "first": 2 - 1, "second": 2, "same": 1, "outdated": 0, "new": 1}


def test_what_the_bundles_say_of_themselves_is_told_where_it_differs(on_rows: Sensord, side_by_side: Engine) -> None:
    Registry(side_by_side).judged("pumps", NEW.bundle_id, {"objections": "it cries wolf"})
    told = json.loads(on_rows("model", "diff", "--format", "json").out)
    facts = {fact["what"]: (fact["first"], fact["second"]) for fact in told["bundles"]}
    assert facts["fleet's threshold"] == ("3", "6")
    assert facts["gate"] == ("was not asked", "refused: it cries wolf")
    assert facts["stage"] == ("current", "shadow")
    assert facts["devices of its own"] == ("0", "1")
    assert "trunk" not in facts
    table = on_rows("model", "diff").out
    assert "it cries wolf" in table
    assert "1 the same, 1 outdated, 1 new" in table


def test_the_devices_days_are_counted_where_they_were_seen(on_rows: Sensord, side_by_side: Engine) -> None:
    told = json.loads(on_rows("model", "diff", "--since", "2026-11-23T11:00:00Z", "--format", "json").out)
    assert told["first"]["device_days"] == pytest.approx(1 / 86_400)  # of two devices, one seen for a second


def test_every_format_has_the_same_differences(on_rows: Sensord, side_by_side: Engine) -> None:
    cells = list(csv.DictReader(io.StringIO(on_rows("model", "diff", "--format", "csv").out)))
    rows = [json.loads(line) for line in on_rows("model", "diff", "--format", "jsonl").out.splitlines()]
    assert [row["id"] for row in cells] == [row["id"] for row in rows]
    assert len(rows) == 2


def test_the_page_shows_the_evidence_of_each_alert_that_differs(
    on_rows: Sensord, side_by_side: Engine, tmp_path: Path
) -> None:
    silent = replace(alert("shadow", 9, "pump-4"), kind=Kind.SILENT, evidence=Evidence((), (), (), ()), top_channels=())
    keep(side_by_side, [silent], SystemClock().now())
    assert on_rows("model", "diff", "--report", "page.html").code == 0
    html = (tmp_path / "page.html").read_text()
    cards = html.split("<section")[1:]
    assert [card.count("<svg") for card in cards] == [1, 1, 0]  # a silence has no readings to show
    assert ["outdated" in cards[0], "new" in cards[1]] == [True, True]
    assert "fleet&#x27;s threshold" in html
    assert ENTRY not in html
    assert html.count('href="#alert-') == 3


def test_without_a_shadow_it_says_so(on_rows: Sensord, engine: Engine) -> None:
    ended = on_rows("model", "diff")
    assert (ended.code, ended.out) == (78, "")
    assert "no shadow bundle" in ended.err


def test_a_bundle_that_never_was_the_shadow_is_no_live_comparison(on_rows: Sensord, engine: Engine) -> None:
    ended = on_rows("model", "diff", "current", NEW.bundle_id)
    assert (ended.code, ended.out) == (1, "")
    assert f"{NEW.bundle_id} never was shadow" in ended.err
    assert "sensord replay --model A --against B" in ended.err


def test_two_that_were_never_side_by_side_are_no_live_comparison(on_rows: Sensord, side_by_side: Engine) -> None:
    registry, now = Registry(side_by_side), SystemClock().now()
    registry.promote("pumps", NEW.bundle_id, now, "ann")
    registry.shadow("pumps", OLD.bundle_id, now, "ann")
    registry.retire("pumps", OLD.bundle_id, now, "ann")
    registry.promote("pumps", OLD.bundle_id, now + 60 * SECOND, "ann")
    ended = on_rows("model", "diff", OLD.bundle_id, NEW.bundle_id)
    assert (ended.code, ended.out) == (1, "")
    assert "were not scored side by side" in ended.err


def test_a_bundle_is_not_compared_with_itself(on_rows: Sensord, engine: Engine) -> None:
    assert on_rows("model", "diff", "current", OLD.bundle_id).code == 2
