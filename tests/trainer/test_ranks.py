"""Several processes fit one trunk."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.bench.train import Load, write
from sensord.model.bundle import Packed, unpack
from sensord.trainer.fit import FitOptions, Streams
from sensord.trainer.ranks import Ranks

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m")
SETTINGS = {"SENSORD_TRAINER__STEPS": "60", "SENSORD_TRAINER__HIDDEN": "8", "OMP_NUM_THREADS": "1"}


def test_ranks_read_other_devices_in_their_share_of_the_streams() -> None:
    rng = np.random.default_rng(0)
    histories = [(device + rng.uniform(0, 0.5, (100, 1))).astype(np.float32) for device in range(5)]
    seen = []
    for rank in range(2):
        streams = Streams(histories, FitOptions(streams=8, shortest=16), Ranks(rank, 2))
        chunks = [streams.next() for _ in range(20)]
        assert all(len(chunk.seen) == 4 for chunk in chunks)
        seen.append({int(value) for chunk in chunks for value in chunk.seen[chunk.weight[:, :, 0] > 0].ravel()})
    assert seen == [{0, 2, 4}, {1, 3}]


def test_ranks_of_one_device_read_it_at_other_places() -> None:
    values = np.linspace(0, 2, 2_000, dtype=np.float32)[:, None]
    one, other = (Streams([values], FitOptions(streams=8), Ranks(rank, 2)).next().seen for rank in range(2))
    assert not (one == other).any()


@pytest.fixture
def history(tmp_path: Path) -> Path:
    write(tmp_path / "history.csv", Load(devices=4, readings=2_000, channels=3, steps=1))
    return tmp_path / "history.csv"


def trained(history: Path, out: str, *start: str) -> Packed:
    command = [*start, "sensord", "train", str(history), "--fleet", "pumps", "--out", str(history.parent / out)]
    done = subprocess.run(command, env=os.environ | SETTINGS, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written to") == 1
    return Packed.read(history.parent / out)


@pytest.mark.slow
def test_two_processes_make_one_bundle_as_good_as_one_processs_and_the_same_again(history: Path) -> None:
    alone = trained(history, "alone", sys.executable, "-m")
    first, again = (trained(history, name, *TORCHRUN) for name in ("first", "again"))
    assert (first.manifest, first.weights) == (again.manifest, again.weights)
    assert first.weights != alone.weights
    errors = [unpack(each).manifest.metrics["held_out_error_model"] for each in (alone, first)]
    assert errors[1] == pytest.approx(errors[0], rel=0.05)


@pytest.mark.slow
def test_a_process_that_dies_ends_all_and_leaves_no_bundle(history: Path) -> None:
    """The second process is gone when the first waits for its gradients."""
    dying = history.parent / "dying.py"
    dying.write_text(
        "import os, sys\n"
        "from sensord.cli.main import main\n"
        "from sensord.trainer import fit\n"
        "draw = fit.Streams.next\n"
        "def die(self):\n"
        "    if os.environ['RANK'] == '1':\n"
        "        os._exit(9)\n"
        "    return draw(self)\n"
        "fit.Streams.next = die\n"
        "main()\n"
    )
    out = history.parent / "bundle"
    command = [*TORCHRUN[:-1], str(dying), "train", str(history), "--fleet", "pumps", "--out", str(out)]
    done = subprocess.run(command, env=os.environ | SETTINGS, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode != 0
    assert not out.exists()
    assert "exitcode  : 9" in done.stderr
