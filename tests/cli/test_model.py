"""Promises of `sensord model`: what is exported can be imported, what is damaged is refused, one bundle is current."""

import csv
import io
import json
from pathlib import Path

import pytest

from sensord.cli.model import COMMANDS
from sensord.model.bundle import MANIFEST_FILE, WEIGHTS_FILE
from tests.builders import packed
from tests.cli.rows import Sensord

OLD, NEW = packed(seed=1), packed(seed=2)


@pytest.fixture
def on_bundles(on_rows: Sensord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sensord:
    """As `on_rows`, with two bundles published for the fleet pumps, which the settings name; neither is current."""
    monkeypatch.setenv("SENSORD_FLEETS__PUMPS__TOPICS", '["sensors.pumps"]')
    for bundle in (OLD, NEW):
        bundle.write(tmp_path / bundle.bundle_id)
        assert on_rows("model", "import", str(tmp_path / bundle.bundle_id)).code == 0
    return on_rows


def stages(sensord: Sensord) -> dict[str, str]:
    rows = json.loads(sensord("model", "list", "--format", "json").out)
    return {row["bundle_id"]: row["stage"] for row in rows}


def test_a_bundle_is_promoted_and_rolled_back(on_bundles: Sensord) -> None:
    assert stages(on_bundles) == {OLD.bundle_id: "candidate", NEW.bundle_id: "candidate"}
    assert on_bundles("model", "promote", OLD.bundle_id).code == 0
    assert on_bundles("model", "promote", NEW.bundle_id, "--fleet", "pumps").code == 0
    assert stages(on_bundles) == {OLD.bundle_id: "retired", NEW.bundle_id: "current"}
    assert on_bundles("model", "rollback").out == f"fleet pumps: {OLD.bundle_id} is current\n"
    assert stages(on_bundles) == {OLD.bundle_id: "current", NEW.bundle_id: "retired"}


def test_a_bundle_is_scored_beside_the_current_one(on_bundles: Sensord) -> None:
    on_bundles("model", "promote", OLD.bundle_id)
    told = on_bundles("model", "shadow", NEW.bundle_id, "--by", "ann", "--why", "looks better")
    assert told.out == f"fleet pumps: {NEW.bundle_id} is shadow\n"
    assert stages(on_bundles) == {OLD.bundle_id: "current", NEW.bundle_id: "shadow"}
    [move, *_] = json.loads(on_bundles("model", "history", "--format", "json").out)
    assert (move["to_stage"], move["by"], move["why"]) == ("shadow", "ann", "looks better")
    refused = on_bundles("model", "shadow", OLD.bundle_id)
    assert refused.code == 1
    assert "is current; a shadow is scored beside that" in refused.err


def test_who_moved_what_and_why_is_told(on_bundles: Sensord) -> None:
    on_bundles("model", "promote", OLD.bundle_id, "--by", "ann", "--why", "the first")
    assert on_bundles("model", "retire", NEW.bundle_id, "--by", "ben", "--why", "too loud").code == 0
    refused = on_bundles("model", "retire", OLD.bundle_id)
    assert refused.code == 1
    assert "is current" in refused.err

    moves = json.loads(on_bundles("model", "history", "--format", "json").out)
    told = [(one["bundle_id"], one["from_stage"], one["to_stage"], one["by"], one["why"]) for one in moves[:2]]
    assert told == [
        (NEW.bundle_id, "candidate", "retired", "ben", "too loud"),
        (OLD.bundle_id, "candidate", "current", "ann", "the first"),
    ]
    of_one = json.loads(on_bundles("model", "history", NEW.bundle_id, "--format", "json").out)
    assert {one["bundle_id"] for one in of_one} == {NEW.bundle_id}
    table = on_bundles("model", "history").out
    assert "too loud" in table
    assert "ann" in table


def test_the_list_has_the_same_bundles_in_every_format(on_bundles: Sensord) -> None:
    names = {OLD.bundle_id, NEW.bundle_id}
    lines = on_bundles("model", "list", "--format", "jsonl").out.splitlines()
    assert {json.loads(line)["bundle_id"] for line in lines} == names
    cells = csv.DictReader(io.StringIO(on_bundles("model", "list", "--format", "csv").out))
    assert {row["bundle_id"] for row in cells} == names
    table = on_bundles("model", "list").out
    assert all(name in table for name in names)


def test_an_exported_bundle_is_the_published_one_byte_for_byte(on_bundles: Sensord, tmp_path: Path) -> None:
    ended = on_bundles("model", "export", NEW.bundle_id, str(tmp_path / "out"))
    assert ended.code == 0, ended.err
    assert (tmp_path / "out" / MANIFEST_FILE).read_bytes() == NEW.manifest
    assert (tmp_path / "out" / WEIGHTS_FILE).read_bytes() == NEW.weights


def test_an_export_overwrites_nothing(on_bundles: Sensord, tmp_path: Path) -> None:
    ended = on_bundles("model", "export", NEW.bundle_id, str(tmp_path / OLD.bundle_id))
    assert ended.code == 2
    assert (tmp_path / OLD.bundle_id / MANIFEST_FILE).read_bytes() == OLD.manifest


def test_a_damaged_bundle_is_not_imported(on_bundles: Sensord, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    packed(seed=3).write(folder)
    weights = bytearray((folder / WEIGHTS_FILE).read_bytes())
    weights[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(weights)
    ended = on_bundles("model", "import", str(folder), "--promote")
    assert (ended.code, ended.out) == (78, "")
    assert "SHA-256" in ended.err
    assert len(stages(on_bundles)) == 2


def test_an_import_can_promote_at_once(on_bundles: Sensord, tmp_path: Path) -> None:
    on_bundles("model", "import", str(tmp_path / NEW.bundle_id), "--promote")
    assert stages(on_bundles)[NEW.bundle_id] == "current"
    shown = json.loads(on_bundles("model", "show", "--format", "json").out)
    assert (shown["stage"], shown["bundle_id"]) == ("current", NEW.bundle_id)
    assert NEW.bundle_id in on_bundles("model", "show").out


def test_what_is_not_published_exits_with_78_and_the_names_that_are(on_bundles: Sensord) -> None:
    ended = on_bundles("model", "promote", "valves-1")
    assert ended.code == 78
    assert NEW.bundle_id in ended.err
    assert on_bundles("model", "show").code == 78


def test_the_fleet_must_be_named_where_settings_do_not_tell(on_rows: Sensord) -> None:
    ended = on_rows("model", "rollback")
    assert ended.code == 2
    assert "--fleet" in ended.err


def test_help_lists_every_command_with_its_line(sensord: Sensord) -> None:
    listed = " ".join(sensord("model", "--help").out.split())
    assert [name for name, entry in COMMANDS.items() if f"{name} {entry.help}" not in listed] == []
