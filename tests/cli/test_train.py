"""`sensord train` refuses at the door what it could not finish, and its gate what should not be current."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sqlalchemy import text

from sensord.readings import Floats
from sensord.store.database import open_engine, writing
from tests.cli.rows import Sensord

QUICK = {"SENSORD_TRAINER__STEPS": "2", "SENSORD_TRAINER__HIDDEN": "4"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_missed_before_anything_is_read(sensord: Sensord, tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("no history")
    ended = sensord("train", "history.csv", "--fleet", "pumps", environ={"SENSORD_TRAINER__DEVICE": "cuda"})
    assert ended.code == 78
    assert "trainer.device" in ended.err


def swinging(seed: int, n: int = 1_200) -> Floats:
    """Three devices whose two channels follow each other: (3, n, 2)."""
    rng = np.random.default_rng(seed)
    pull = np.zeros((3, n))
    for t in range(1, n):
        pull[:, t] = 0.95 * pull[:, t - 1] + rng.normal(0, 0.3, 3)
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
