"""Seconds and memory of `sensord train` over a file of synthetic readings, from its start to the bundle it has written.

\b
A CSV file is written first, and a small training run, so that all is compiled. Then, round by round, for each number
of processes that is asked for (--processes):
1       `sensord train` by itself
more    the same under torchrun
Memory is what no file stands behind (RssAnon) of all processes together, looked at 20 times a second. What lies in
temporary files is left out: the system takes its pages back when it needs them.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from scripts.bench.surroundings import anonymous_mb, machine

PACKAGES = ("sensord", "torch", "numpy", "numba")
LOOK_EVERY_S = 0.05
PERIOD_MS = 10_000
START_MS = 1_700_000_000_000
WARM_UP = (2, 400)  # devices and readings of each
MEMORY = 0.9  # of one reading in the next
MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to learn from: so many devices, readings in all."""

    devices: int
    readings: int
    channels: int
    steps: int


@dataclass(frozen=True, slots=True)
class Ran:
    """How long one training took, by the clock and of all cores together, and its largest anonymous memory."""

    seconds: float
    cpu_s: float
    anonymous_mb: float


@dataclass(frozen=True, slots=True)
class Figures:
    """By so many processes: seconds of each round, their median, readings a second, and the most memory.

    cpu_s: the median of the seconds of all cores together, which other work on the machine hardly changes.
    """

    rounds: list[float]
    median_s: float
    cpu_s: float
    readings_per_s: int
    anonymous_mb: int


@dataclass(frozen=True, slots=True)
class Found:
    """All that is printed."""

    by_processes: dict[int, Figures]
    load: Load
    file_mb: int
    machine: dict[str, str]
    versions: dict[str, str]


@click.command(help=__doc__)
@click.option("--devices", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--readings", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="Of all devices.")
@click.option("--channels", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=600, show_default=True, help="trainer.steps.")
@click.option("--processes", default="1,2", show_default=True, help="How many, separated by commas.")
@click.option("--rounds", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
def main(devices: int, readings: int, channels: int, steps: int, processes: str, rounds: int, as_json: bool) -> None:
    load = Load(devices, readings, channels, steps)
    counts = [int(count) for count in processes.split(",")]
    with TemporaryDirectory(prefix="sensord-bench-") as folder:
        found = measured(Path(folder), load, counts, rounds)
    click.echo(json.dumps(asdict(found)) if as_json else text(found))


def measured(folder: Path, load: Load, counts: Sequence[int], rounds: int) -> Found:
    """Every number of processes takes its turn in every round."""
    small, file = folder / "small.csv", folder / "history.csv"
    write(small, Load(WARM_UP[0], WARM_UP[0] * WARM_UP[1], load.channels, 1))
    write(file, load)
    train(folder, small, 1)
    runs: dict[int, list[Ran]] = {count: [] for count in counts}
    for _ in range(rounds):
        for count in counts:
            runs[count].append(train(folder, file, load.steps, count))
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
    figures = {count: figures_of(ran, load.readings) for count, ran in runs.items()}
    return Found(figures, load, file.stat().st_size // MB, machine(), versions)


def figures_of(runs: Sequence[Ran], readings: int) -> Figures:
    median = statistics.median(ran.seconds for ran in runs)
    cpu_s = round(statistics.median(ran.cpu_s for ran in runs), 1)
    most = round(max(ran.anonymous_mb for ran in runs))
    return Figures([round(ran.seconds, 1) for ran in runs], round(median, 1), cpu_s, round(readings / median), most)


def write(file: Path, load: Load) -> None:
    """Devices that report in turn, each channel an autoregressive process around a level of its own."""
    rng = np.random.default_rng(0)
    level = rng.uniform(10, 100, (load.devices, load.channels))
    state = rng.normal(0, 1, level.shape)
    with file.open("w", encoding="utf-8") as out:
        out.write("device_id,timestamp," + ",".join(f"channel_{number}" for number in range(load.channels)) + "\n")
        for turn in range(-(-load.readings // load.devices)):
            state = MEMORY * state + rng.normal(0, np.sqrt(1 - MEMORY**2), level.shape)
            now, reporting = START_MS + turn * PERIOD_MS, min(load.devices, load.readings - turn * load.devices)
            for device, row in enumerate((level + state)[:reporting].round(3).tolist()):
                out.write(f"device-{device:06},{now},{','.join(map(str, row))}\n")


def train(folder: Path, file: Path, steps: int, processes: int = 1) -> Ran:
    """One training of a file, in processes of its own. Raises ClickException with what it said when it fails."""
    start = [sys.executable, "-m"]
    start += ["torch.distributed.run", "--nproc-per-node", str(processes), "-m"] if processes > 1 else []
    command = [*start, "sensord", "train", str(file), "--fleet", "bench", "--out", str(folder / "bundle")]
    settings = {"SENSORD_TRAINER__STEPS": str(steps)}
    with (folder / "said.txt").open("w+", encoding="utf-8") as said:
        began, used = time.monotonic(), cpu_s()
        child = subprocess.Popen(command, env=os.environ | settings, stdout=said, stderr=said)
        most = 0.0
        while child.poll() is None:
            most = max(most, anonymous_mb(child.pid))
            time.sleep(LOOK_EVERY_S)
        seconds = time.monotonic() - began
        if child.returncode:
            said.seek(0)
            raise click.ClickException(said.read())
    return Ran(seconds, cpu_s() - used, most)


def cpu_s() -> float:
    """Of all that has run and ended here."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def text(found: Found) -> str:
    """The figures for people."""
    load = found.load
    lines = [f"{'processes':>9}{'seconds':>9}{'CPU s':>8}{'readings/s':>12}{'anonymous MB':>14}  rounds"]
    for count, one in found.by_processes.items():
        rounds = " ".join(f"{seconds:.1f}" for seconds in one.rounds)
        lines.append(
            f"{count:>9}{one.median_s:>9.1f}{one.cpu_s:>8.1f}{one.readings_per_s:>12,}{one.anonymous_mb:>14,}  {rounds}"
        )
    lines += [
        "",
        f"{load.readings:,} readings of {load.devices:,} devices, {load.channels} channels, {found.file_mb} MB of CSV; "
        f"{load.steps} steps",
        ", ".join(f"{name} {value}" for name, value in (found.machine | found.versions).items()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(prog_name="scripts/bench/train")
