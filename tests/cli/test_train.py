"""`sensord train` refuses at the door what it could not finish, and its gate what should not be current."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import torch
from sqlalchemy import text

from sensord.detection.alerts import AlertChange, Severity, Status
from sensord.readings import Floats, Partition
from sensord.store.database import open_engine, writing
from sensord.store.progress import Checkpoint, Progress
from sensord.store.schema import instant
from sensord.trainer.holes import MARGIN
from tests.cli.rows import Sensord, alert

QUICK = {"SENSORD_TRAINER__STEPS": "2", "SENSORD_TRAINER__HIDDEN": "4"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_missed_before_anything_is_read(sensord: Sensord, tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("no history")
    ended = sensord("train", "history.csv", "--fleet", "pumps", environ={"SENSORD_TRAINER__DEVICE": "cuda"})
    assert ended.code == 78
    assert "trainer.device" in ended.err


def swinging(seed: int, n: int = 1_200, devices: int = 3) -> Floats:
    """Devices whose two channels follow each other: (devices, n, 2)."""
    rng = np.random.default_rng(seed)
    pull = np.zeros((devices, n))
    for t in range(1, n):
        pull[:, t] = 0.95 * pull[:, t - 1] + rng.normal(0, 0.3, devices)
    heat = pull + rng.normal(0, 0.1, pull.shape)
    return np.stack((heat, 2 * pull + rng.normal(0, 0.1, pull.shape)), axis=2).astype(np.float32)


def write(file: Path, values: Floats) -> str:
    lines = ["device_id,timestamp,heat,flow"]
    for device, rows in enumerate(values.round(4).tolist()):
        lines += [
            f"pump-{device},{1_700_000_000_000 + 60_000 * t},{heat},{flow}" for t, (heat, flow) in enumerate(rows)
        ]
    file.write_text("\n".join(lines))
    return file.name


def train(sensord: Sensord, file: str, *options: str, code: int = 0) -> Sequence[str]:
    ended = sensord("train", file, "--fleet", "pumps", "--promote", *options, environ=QUICK)
    assert ended.code == code, ended.err
    return [*ended.out.splitlines(), *ended.err.splitlines()]


def test_the_gate_lets_a_good_bundle_through_and_stops_one_that_would_cry_wolf(
    on_rows: Sensord, tmp_path: Path
) -> None:
    first = train(on_rows, write(tmp_path / "good.csv", swinging(seed=1)))
    assert [line.partition(": ")[2].partition(":")[0] for line in first if line.startswith("gate")] == ["passed"] * 3
    assert first[-1].endswith(": current")

    jumped = swinging(seed=2)
    jumped[:, 1_000:] += 12
    jumped[:, 1_050:1_100] -= 20
    said = train(on_rows, write(tmp_path / "jumped.csv", jumped), code=1)
    assert any(line.startswith("gate: REFUSED: ") and "held-out device-days" in line for line in said)
    [refusal] = [line for line in said if "stays candidate" in line]
    bundle_id = refusal.partition("fleet pumps: ")[2].partition(" ")[0]
    assert f"sensord model promote {bundle_id} --force" in refusal

    rows = json.loads(on_rows("model", "list", "--format", "json").out)
    by_stage = {row["stage"]: row for row in rows}
    assert by_stage["candidate"]["bundle_id"] == bundle_id
    assert by_stage["candidate"]["verdict"]["against"] == by_stage["current"]["bundle_id"]
    checks = {check["name"]: check for check in by_stage["candidate"]["verdict"]["checks"]}
    assert checks["budget"]["figures"]["alarms"] > checks["budget"]["figures"]["allowed"]

    assert on_rows("model", "promote", bundle_id, "--fleet", "pumps").code == 1
    said = train(on_rows, "jumped.csv", "--force")
    assert said[-1] == f"{bundle_id}: current by force"
    [last, *_] = json.loads(on_rows("model", "history", "--fleet", "pumps", "--format", "json").out)
    assert (last["bundle_id"], last["forced"]) == (bundle_id, True)


def test_a_damaged_current_bundle_does_not_keep_a_good_one_out(on_rows: Sensord, tmp_path: Path) -> None:
    file = write(tmp_path / "good.csv", swinging(seed=1))
    train(on_rows, file)
    engine = open_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    with writing(engine) as connection:
        connection.execute(text("UPDATE bundles SET weights = x'00'"))
    engine.dispose()
    said = train(on_rows, file, "--seed", "7")
    assert any(line.startswith("gate: nothing to compare with: ") for line in said)
    assert any(line.endswith(": current") for line in said)


# --- where it is needed ----------------------------------------------------------------------------------------------


def moved(sensord: Sensord) -> list[str]:
    return [
        row["bundle_id"] for row in json.loads(sensord("model", "history", "--fleet", "pumps", "--format", "json").out)
    ]


def test_a_timer_learns_only_what_is_due(on_rows: Sensord, tmp_path: Path) -> None:
    file = write(tmp_path / "good.csv", swinging(seed=1))
    first = train(on_rows, file, "--if-needed")
    assert first[0] == "needed: no bundle is current that could be read"
    assert first[-1].endswith(": current")
    before = moved(on_rows)
    (tmp_path / "none.csv").write_text("no history")
    said = train(on_rows, "none.csv", "--if-needed")
    assert said[0].startswith("not needed: fleet pumps has a bundle"), "and reads nothing"
    assert moved(on_rows) == before
    aged = on_rows(
        *("train", file, "--fleet", "pumps", "--if-needed", "--seed", "7"),
        environ=QUICK | {"SENSORD_TRAINER__MAX_AGE_DAYS": "0.0000001"},
    )
    assert "days old, more than 1e-07" in aged.out
    assert len(moved(on_rows)) == len(before) + 1


def test_a_drift_that_stands_makes_it_due(on_rows: Sensord, tmp_path: Path) -> None:
    file = write(tmp_path / "good.csv", swinging(seed=1))
    train(on_rows, file)
    engine = open_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    with writing(engine) as connection:  # an alert that is there already turns out to be a drift, and a new one
        connection.execute(text("UPDATE alerts SET kind = 'drift', run = 'live', opened_at = '2100-01-01 00:00:00'"))
        connection.execute(text("UPDATE alerts SET feedback = NULL, accepted_at = NULL"))
    said = train(on_rows, file, "--if-needed", "--seed", "7")
    assert said[0].startswith("needed: drifted since: pump-")
    with writing(engine) as connection:
        connection.execute(text("UPDATE alerts SET feedback = 'false_alarm'"))
    assert train(on_rows, file, "--if-needed")[0].startswith("not needed")
    engine.dispose()


def test_a_run_that_fails_leaves_everything_as_it_was(on_rows: Sensord, tmp_path: Path) -> None:
    train(on_rows, write(tmp_path / "good.csv", swinging(seed=1)))
    before = moved(on_rows)
    (tmp_path / "short.csv").write_text("device_id,timestamp,heat,flow\npump-1,1700000000000,1,2\n")
    ended = on_rows(
        *("train", "short.csv", "--fleet", "pumps", "--if-needed", "--promote"),
        environ=QUICK | {"SENSORD_TRAINER__MAX_AGE_DAYS": "0.0000001"},
    )
    assert ended.code == 1
    assert moved(on_rows) == before


def test_if_needed_asks_the_registry(sensord: Sensord) -> None:
    ended = sensord("train", "--fleet", "pumps", "--if-needed", "--out", "bundle")
    assert ended.code == 2
    assert "--if-needed asks the registry" in ended.err


# --- what is left out ------------------------------------------------------------------------------------------------


def at(row: int) -> int:
    """Event time of a reading of `write`, microseconds."""
    return 1_700_000_000_000_000 + 60_000_000 * row


def alerted(url: str, *several: tuple[UUID, str, int, int]) -> None:
    """Alerts of the live run: id, device, first and last reading."""
    engine = open_engine(url)
    progress, partition = Progress(engine), Partition("sensors.pumps", 7)
    claim = progress.claim("pumps", partition, "test", "", at(0))
    rows = [
        replace(
            alert(alert_id, device, Status.CLOSED, Severity.WARNING, at(first)),
            last_seen_at=at(last),
            closed_at=at(last),
        )
        for alert_id, device, first, last in several
    ]
    changes = [AlertChange(row, True, ("opened", "closed")) for row in rows]
    progress.commit([Checkpoint("pumps", partition, claim.epoch, claim.owner, None, 1, changes, ())], at(0))
    engine.dispose()


def test_what_lies_in_windows_and_in_alerts_that_may_be_real_is_not_learned(on_rows: Sensord, tmp_path: Path) -> None:
    unanswered, real, false, accepted = (UUID(int=n << 112) for n in (0x1111, 0x2222, 0x3333, 0x4444))
    alerted(
        f"sqlite:///{tmp_path / 'rows.db'}",
        (unanswered, "pump-0", 300, 399),
        (real, "pump-1", 300, 349),
        (false, "pump-2", 300, 499),
        (accepted, "pump-2", 700, 799),
    )
    assert on_rows("alerts", "feedback", "2222", "real", "--by", "ann").code == 0
    assert on_rows("alerts", "feedback", "3333", "false_alarm", "--by", "ann").code == 0
    engine = open_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    with writing(engine) as connection:
        connection.execute(text("UPDATE alerts SET accepted_at = '2026-01-01' WHERE id = :id"), {"id": accepted.hex})
    engine.dispose()
    span = [instant(at(row)).isoformat() for row in (100, 150)]
    window = ("windows", "add", "--fleet", "pumps", "--device", "pump-?", "--from", span[0], "--to", span[1])
    assert on_rows(*window, "--kind", "maintenance").code == 0

    file = write(tmp_path / "good.csv", swinging(seed=1))
    ended = on_rows("train", file, "--fleet", "pumps", environ=QUICK)
    notes = [line for line in ended.err.splitlines() if line.startswith("note: left out")]
    assert notes == [
        "note: left out: 150 readings in windows",
        f"note: left out: {50 + 2 * MARGIN} readings in alerts that were called real",
        f"note: left out: {100 + 2 * MARGIN} readings in alerts that nobody has called false or accepted",
    ]
    [row] = json.loads(on_rows("model", "list", "--format", "json").out)
    shown = json.loads(on_rows("model", "show", row["bundle_id"], "--fleet", "pumps", "--format", "json").out)
    metrics = shown["metrics"]
    assert (metrics["left_out_window"], metrics["left_out_real"], metrics["left_out_unanswered"]) == (150, 80, 130)

    whole = on_rows("train", file, "--fleet", "pumps", "--keep-alerts")
    aside = on_rows(
        "train", file, "--fleet", "pumps", "--out", "aside", environ={"SENSORD_STORE__URL": "sqlite:///none"}
    )
    assert whole.out.split(":")[0] == aside.out.split(":")[0] != ended.out.split(":")[0]
    assert "left out" not in whole.err + aside.err


def of_confirmed(said: Sequence[str]) -> list[str]:
    return [line for line in said if line.startswith("gate: ") and "confirmed alerts" in line]


def test_a_bundle_that_would_miss_what_people_called_real_is_stopped(on_rows: Sensord, tmp_path: Path) -> None:
    values = swinging(seed=1)
    values[1, 700:760, 0] += 1.2  # heat alone, without the flow that goes with it
    file = write(tmp_path / "history.csv", values)
    alerted(f"sqlite:///{tmp_path / 'rows.db'}", (UUID(int=0x2222 << 112), "pump-1", 700, 775))
    assert on_rows("alerts", "feedback", "2222", "real", "--by", "ann").code == 0
    first = train(on_rows, file)
    assert of_confirmed(first) == ["gate: passed: it finds 1 of 1 confirmed alerts; nothing to compare"]
    [current, *_] = moved(on_rows)

    deaf = "--alarm-budget", "1e-9"  # a false alarm in some million years: so much is an alert no longer
    objection = f"it finds 0 of 1 confirmed alerts, {current} 1: 0 won, 1 lost"
    assert of_confirmed(train(on_rows, file, *deaf, code=1)) == [f"gate: REFUSED: {objection}"]
    rows = json.loads(on_rows("model", "list", "--format", "json").out)
    [refused] = [row for row in rows if row["stage"] == "candidate"]
    assert refused["verdict"]["objections"] == objection
    again = train(on_rows, file, "--seed", "7")
    [current, *_] = moved(on_rows)
    assert of_confirmed(again)[0].endswith(": 0 won, 0 lost")

    forced = train(on_rows, file, *deaf, "--force")
    assert of_confirmed(forced) == [f"gate: REFUSED: it finds 0 of 1 confirmed alerts, {current} 1: 0 won, 1 lost"]
    assert f"{refused['bundle_id']}: current by force" in forced
    assert of_confirmed(train(on_rows, file, "--keep-alerts")) == [], "it asks for no alerts"
