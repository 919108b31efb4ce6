"""How much faster than real time `sensord replay --model A --against B` is, and whether its workers agree.

A file of JSON messages is written, of devices that report once a second and of which one in a hundred fails, and an
SQLite database with two bundles. Then, for each number of workers (--workers), the command runs from its start to its
end: reading, scoring under both bundles, writing alerts and telling them apart. All must leave the same alerts.
"""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from sqlalchemy import select

from scripts.bench.surroundings import machine
from scripts.bench.workload import FLEET, START_S, Workload, bundle, instant
from sensord.clock import MICROSECONDS
from sensord.model.bundle import Packed
from sensord.store.database import open_engine, upgrade
from sensord.store.registry import Registry
from sensord.store.schema import alerts

PACKAGES = ("sensord", "torch", "numpy", "numba", "msgspec")


@dataclass(frozen=True, slots=True)
class Found:
    """All that is printed. seconds, times_real_time: by number of workers. agree: all left the same alerts."""

    seconds: dict[int, float]
    times_real_time: dict[int, float]
    alerts: int
    agree: bool
    workload: Workload
    machine: dict[str, str]
    versions: dict[str, str]


@click.command(help=__doc__)
@click.option("--devices", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--seconds", type=click.IntRange(min=1), default=3_600, show_default=True, help="That the file covers.")
@click.option("--channels", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--hidden", type=click.IntRange(min=1), default=32, show_default=True, help="Width of the LSTM.")
@click.option("--workers", default="1,2,4", show_default=True, help="How many, separated by commas.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
def main(devices: int, seconds: int, channels: int, hidden: int, workers: str, as_json: bool) -> None:
    load = Workload(devices, devices * seconds, channels, hidden, 1).whole()
    with TemporaryDirectory(prefix="sensord-bench-") as folder:
        found = measured(Path(folder), load, [int(count) for count in workers.split(",")])
    click.echo(json.dumps(asdict(found)) if as_json else text(found))


def measured(folder: Path, load: Workload, counts: Sequence[int]) -> Found:
    """Every number of workers in its turn, each over a database of its own."""
    file = folder / "readings.jsonl"
    with file.open("wb") as out:
        out.writelines(message.value + b"\n" for message in load.messages())
    models = bundle(load), bundle(load, spikes=True)
    replay(folder / "first", file, models, 1, until=1)  # all is compiled
    ran = {count: replay(folder / str(count), file, models, count) for count in counts}
    left = [ids for _, ids in ran.values()]
    return Found(
        {count: round(took, 1) for count, (took, _) in ran.items()},
        {count: round(load.seconds / took, 1) for count, (took, _) in ran.items()},
        len(left[0]),
        all(ids == left[0] for ids in left),
        load,
        machine(),
        {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
    )


def replay(
    folder: Path, file: Path, models: tuple[Packed, Packed], workers: int, until: int | None = None
) -> tuple[float, list[str]]:
    """Seconds that it took, and the ids of its alerts. until: seconds of the file, from its beginning."""
    folder.mkdir()
    url = f"sqlite:///{folder / 'sensord.db'}"
    engine = open_engine(url)
    upgrade(engine)
    for one in models:
        at = START_S * MICROSECONDS
        Registry(engine).publish(FLEET, one.bundle_id, one.manifest, one.weights, one.sha256, at, "bench")
    settings = folder / "sensord.toml"
    settings.write_text(f'[store]\nurl = "{url}"\n[fleets.{FLEET}]\ntopics = ["bench"]\n')
    command = [
        sys.executable,
        "-m",
        "sensord",
        "--config",
        str(settings),
        "replay",
        str(file),
        "--workers",
        str(workers),
    ]
    command += ["--model", models[0].bundle_id, "--against", models[1].bundle_id, "--format", "json"]
    command += [] if until is None else ["--until", instant(START_S + until)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    if done.returncode:
        raise click.ClickException(done.stderr)
    with engine.connect() as connection:
        ids = [str(one) for one in connection.scalars(select(alerts.c.id).order_by(alerts.c.id))]
    engine.dispose()
    return took, ids


def text(found: Found) -> str:
    """The figures for people."""
    load = found.workload
    lines = [f"{'workers':>7}{'seconds':>9}{'x real time':>13}"]
    lines += [f"{count:>7}{took:>9.1f}{found.times_real_time[count]:>13.1f}" for count, took in found.seconds.items()]
    lines += [
        "",
        f"{load.devices:,} devices for {load.seconds:,} s, {load.channels} channels, hidden {load.hidden}; "
        f"{found.alerts} alerts, {'the same' if found.agree else 'NOT THE SAME'} each time",
        ", ".join(f"{name} {value}" for name, value in (found.machine | found.versions).items()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(prog_name="scripts/bench/backtest")
