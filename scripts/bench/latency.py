"""How long it takes from a reading that is sent to its alert in the database, at a steady rate.

\b
1. The daemon's full rate: `sensord run` with default settings over a filled topic, as `throughput` measures it. Not
   with --rate.
2. The daemon on another topic and a fresh database. Once it has scored the first readings of all devices, a producer
   sends the readings of a healthy fleet at half of the full rate, or at --rate, and every second, at a random moment
   of it, one reading with a spike, which opens an alert at once. No device fails twice.
A latency ends when another client of the database finds the alert's row, for which it looks every 5 ms; it begins just
before the faulty reading is handed to the producer, which waits 5 ms for others to share a batch with. So it is made of
the producer, the broker, the daemon and the wait for the commit that is due, `commit_interval_s` at most. The second
column leaves the producer out: it begins when the broker has acknowledged the reading.

The PostgreSQL of its own runs without fsync; name one with --store for what a disk adds. All share one machine, so
where it is busy, that is measured too: how long the daemon waited for a core says by how much. The producer is Python:
where it can't keep up, the rate reached is below the one asked for.
"""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import click
import numpy as np
from sqlalchemy import Engine, select

from scripts.bench.daemon import Daemon, running, watch
from scripts.bench.surroundings import Servers, machine, server_options, servers
from scripts.bench.throughput import ANSWER_WITHIN_S, PACKAGES
from scripts.bench.workload import TUNING, Workload, bundle, fill
from sensord.cli.recordings import progress_bars
from sensord.settings import DaemonSettings, KafkaSettings
from sensord.store.database import reading
from sensord.store.schema import alerts
from sensord.stream.cluster import Cluster

LOOK_EVERY_S = 0.005
LAST_ALERTS_S = 15.0  # wait for them so long after the last reading was sent
SHARE = 0.5  # of the full rate
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}

Place = tuple[int, int]  # partition and offset of a record
Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Sent:
    """What the producer did. faults, acknowledged: when each faulty reading was sent, and when the broker had it; wall
    time in seconds. daemon_s: how long the daemon ran meanwhile, and how long it waited for a core."""

    readings: int
    seconds: float
    faults: dict[Place, float]
    acknowledged: dict[Place, float]
    daemon_s: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Found:
    """All that is printed. acknowledged_s: the latency less the producer's part. Rates in readings/s; full_rate: None
    where it wasn't measured. missed: faults without an alert; unasked: alerts without a fault. daemon_ran_s,
    daemon_waited_s: for a core, all its threads together."""

    latency_s: dict[str, float]
    acknowledged_s: dict[str, float]
    commit_interval_s: float
    p99_less_commit_interval_s: float
    alerts: int
    missed: int
    unasked: int
    full_rate: int | None
    rate_asked: int
    rate_reached: int
    seconds: float
    daemon_ran_s: float
    daemon_waited_s: float
    workload: Workload
    kafka: str
    store: str
    machine: dict[str, str]
    versions: dict[str, str]


@click.command(help=__doc__)
@click.option("--devices", type=click.IntRange(min=1), default=10_000, show_default=True)
@click.option("--channels", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--hidden", type=click.IntRange(min=1), default=32, show_default=True, help="Width of the LSTM.")
@click.option("--partitions", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--rate", type=click.IntRange(min=1), help="Readings/s; else half of the full rate, which is measured.")
@click.option("--readings", type=click.IntRange(min=1), default=300_000, show_default=True, help="For the full rate.")
@click.option("--seconds", type=click.FloatRange(min=1), default=120.0, show_default=True, help="At a steady rate.")
@click.option("--faults-every", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="Seconds.")
@server_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
def main(
    devices: int,
    channels: int,
    hidden: int,
    partitions: int,
    rate: int | None,
    readings: int,
    seconds: float,
    faults_every: float,
    kafka: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    if seconds / faults_every > devices:
        raise click.UsageError(f"{seconds / faults_every:.0f} faults are too many for {devices} devices")
    load = Workload(devices, readings, channels, hidden, partitions, healthy=True).whole()
    with servers(kafka, store) as used, progress_bars() as report:
        full = full_rate(load, used, report) if rate is None else None
        asked = rate or round(SHARE * (full or 0))
        sent, seen = steady(load, used, asked, seconds, faults_every, report)
    found = judged(load, used, full, asked, sent, seen)
    click.echo(json.dumps(asdict(found)) if as_json else text(found))


def full_rate(load: Workload, used: Servers, report: Report) -> int:
    """Readings/s of the daemon where they all are there already."""
    with filled(load, used, report) as topic, TemporaryDirectory(prefix="sensord-bench-") as folder:
        ran = watch(Path(folder), used.kafka, topic, load.records, used.store, bundle(load, spikes=True))
    return round(load.readings / ran.seconds)


def steady(
    load: Workload, used: Servers, rate: int, seconds: float, faults_every: float, report: Report
) -> tuple[Sent, dict[Place, float]]:
    """What was sent to a daemon that has warmed up, and when each alert was seen."""
    before = replace(load, readings=load.devices * (TUNING.warm_up + 1)).whole()
    packed = bundle(load, spikes=True)
    with (
        filled(before, used, report) as topic,
        TemporaryDirectory(prefix="sensord-bench-") as folder,
        running(Path(folder), used.kafka, topic, used.store, packed) as daemon,
    ):
        daemon.wait_for(before.records)
        command = [sys.executable, "-m", "scripts.bench.sender", "--kafka", used.kafka, "--topic", topic]
        command += ["--load", json.dumps(asdict(before)), "--rate", str(rate), "--seconds", str(seconds)]
        command += ["--faults-every", str(faults_every)]
        found = observed(command, daemon)
        daemon.drain()
        return found


@contextmanager
def filled(load: Workload, used: Servers, report: Report) -> Iterator[str]:
    """A topic with the workload; gone afterwards."""
    settings, topic = KafkaSettings(bootstrap_servers=used.kafka), f"bench.{uuid4().hex[:8]}"
    with Cluster(settings, ANSWER_WITHIN_S) as cluster:
        cluster.create(topic, load.partitions, retention_ms=-1)
        try:
            fill(settings, topic, load, lambda done: report("fill", done, load.records))
            yield topic
        finally:
            cluster.delete(topic)


def observed(command: Sequence[str], daemon: Daemon) -> tuple[Sent, dict[Place, float]]:
    """Run the producer and look for alerts until those of all its faults are there, or don't come."""
    seen: dict[Place, float] = {}
    before = daemon.processor_s()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
        try:
            while sender.poll() is None:
                daemon.must_run()
                look(daemon.engine, seen)
            output = sender.communicate()[0]
        finally:
            sender.kill()
    if sender.returncode:
        raise click.ClickException(f"the producer ended with {sender.returncode}")
    ran, waited = (after - was for was, after in zip(before, daemon.processor_s(), strict=True))
    told = json.loads(output.splitlines()[-1])
    faults = {(partition, offset): at for partition, offset, at, _ in told["faults"]}
    acknowledged = {(partition, offset): at for partition, offset, _, at in told["faults"]}
    deadline = time.monotonic() + LAST_ALERTS_S
    while not faults.keys() <= seen.keys() and time.monotonic() < deadline:
        look(daemon.engine, seen)
    return Sent(told["readings"], told["seconds"], faults, acknowledged, (ran, waited)), seen


def look(engine: Engine, seen: dict[Place, float]) -> None:
    """Note when alerts have come to be visible: by then, and not much earlier."""
    time.sleep(LOOK_EVERY_S)
    with reading(engine) as connection:
        rows = connection.execute(select(alerts.c.partition, alerts.c.first_offset)).all()
    now = time.time()
    for partition, offset in rows:
        seen.setdefault((partition, offset), now)


def judged(
    load: Workload, used: Servers, full: int | None, asked: int, sent: Sent, seen: Mapping[Place, float]
) -> Found:
    """The figures."""
    alerted = sent.faults.keys() & seen.keys()
    if not alerted:
        raise click.ClickException(f"none of {len(sent.faults)} faults raised an alert")
    quantiles = waits(sent.faults, seen)
    interval = DaemonSettings().commit_interval_s
    return Found(
        quantiles,
        waits(sent.acknowledged, seen),
        interval,
        quantiles["p99"] - interval,
        len(alerted),
        len(sent.faults) - len(alerted),
        len(seen.keys() - sent.faults.keys()),
        full,
        asked,
        round(sent.readings / sent.seconds),
        sent.seconds,
        *sent.daemon_s,
        load,
        used.kafka_is,
        used.store_is,
        machine(),
        {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
    )


def waits(begun: Mapping[Place, float], seen: Mapping[Place, float]) -> dict[str, float]:
    """Quantiles of the time until what began was seen, of all that was."""
    seconds = [seen[place] - at for place, at in begun.items() if place in seen]
    return {name: float(np.quantile(seconds, share)) for name, share in QUANTILES.items()}


def text(found: Found) -> str:
    """The figures for people."""
    load, interval = found.workload, found.commit_interval_s
    lines = [f"{'':6}{'from sent':>14}{'acknowledged':>14}"]
    lines += [f"{name:6}{found.latency_s[name]:>12.3f} s{found.acknowledged_s[name]:>12.3f} s" for name in QUANTILES]
    full = "" if found.full_rate is None else f", of {found.full_rate:,} at most"
    lines += [
        "",
        f"commits every {interval:g} s; p99 less that: {found.p99_less_commit_interval_s:.3f} s",
        f"{found.alerts} alerts; {found.missed} faults without one, {found.unasked} alerts without a fault",
        f"{found.rate_reached:,} readings/s for {found.seconds:.0f} s; asked for: {found.rate_asked:,}{full}",
        f"the daemon ran for {found.daemon_ran_s:.1f} s and waited {found.daemon_waited_s:.1f} s for a core",
        f"{load.devices:,} devices, {load.channels} channels; {load.partitions} partitions; hidden {load.hidden}",
        f"Kafka: {found.kafka}; database: {found.store}",
        ", ".join(f"{name} {value}" for name, value in (found.machine | found.versions).items()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(prog_name="scripts/bench/latency")
