"""Whether the daemon's memory stays as it is, over a long time at full load.

`sensord run` with default settings reads records of several readings each, which a producer keeps ahead of it: there
is always more to read than it can. One device in a hundred fails now and then, so alerts open and close all along.
Memory is what no file stands behind (RssAnon). How fast it grows is the slope of a straight line through what was seen
after the first --settle minutes, in which arrays grow to the fleet's size and the libraries fill their pools.
"""

import json
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import click
import numpy as np
from kafka import KafkaProducer
from matplotlib.figure import Figure
from sqlalchemy import func, select

from scripts.bench.daemon import Daemon, running
from scripts.bench.surroundings import Servers, anonymous_mb, machine, server_options, servers
from scripts.bench.throughput import ANSWER_WITHIN_S, PACKAGES
from scripts.bench.workload import START_S, Message, Workload, bundle, instant, producer
from sensord.cli.recordings import progress_bars
from sensord.settings import KafkaSettings
from sensord.store.schema import alerts
from sensord.stream.cluster import Cluster

AHEAD = 20_000  # records that wait for the daemon, at most
AT_ONCE = 500  # records that are sent without a look at how far it is
LOOK_EVERY_S = 1.0
KEPT_BYTES = 1 << 30  # of each partition's log: many times what waits
SEGMENT_BYTES = 128 << 20
ROUNDS_OF_A_KIND = 8
TIMES = re.compile(rb'(?<="timestamp":")[^"]+')

Report = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """The daemon at one moment. at: seconds from the start. records: committed."""

    at: float
    mb: float
    records: int


@dataclass(frozen=True, slots=True)
class Found:
    """All that is printed. growth: MB a minute once it had settled; its largest memory in MB."""

    growth: float
    largest: float
    readings_per_s: int
    minutes: float
    settle: float
    alerts: int
    workload: Workload
    kafka: str
    store: str
    machine: dict[str, str]
    versions: dict[str, str]
    seen: list[Seen]


@click.command(help=__doc__)
@click.option("--minutes", type=click.FloatRange(min=0.1), default=20.0, show_default=True, help="After --settle.")
@click.option("--settle", type=click.FloatRange(min=0), default=3.0, show_default=True, help="Minutes.")
@click.option("--devices", type=click.IntRange(min=1), default=10_000, show_default=True)
@click.option("--channels", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--hidden", type=click.IntRange(min=1), default=32, show_default=True, help="Width of the LSTM.")
@click.option("--partitions", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--batch-readings", type=click.IntRange(min=2), default=50, show_default=True, help="Of one record.")
@server_options
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw memory over time into a PNG file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
def main(
    minutes: float,
    settle: float,
    devices: int,
    channels: int,
    hidden: int,
    partitions: int,
    batch_readings: int,
    kafka: str | None,
    store: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    load = Workload(devices, devices * batch_readings, channels, hidden, partitions, per_record=batch_readings)
    seconds = (settle + minutes) * 60
    with servers(kafka, store) as used, progress_bars() as report:
        seen, raised = watched(load, used, seconds, lambda done: report("watch", done, round(seconds)))
    found = judged(load, used, minutes, settle, seen, raised)
    if plot is not None:
        draw(found, plot)
    click.echo(json.dumps(asdict(found)) if as_json else text(found))


def watched(load: Workload, used: Servers, seconds: float, report: Report) -> tuple[list[Seen], int]:
    """The daemon for so long, and how many alerts it raised."""
    with (
        topic(load, used) as name,
        TemporaryDirectory(prefix="sensord-bench-") as folder,
        running(Path(folder), used.kafka, name, used.store, bundle(load)) as daemon,
    ):
        client = producer(KafkaSettings(bootstrap_servers=used.kafka))
        try:
            seen = list(looks(daemon, client, name, endless(load), seconds, report))
        finally:
            client.close()
        with daemon.engine.connect() as connection:
            raised = connection.scalars(select(func.count(alerts.c.id))).one()
        daemon.drain()
    return seen, raised


@contextmanager
def topic(load: Workload, used: Servers) -> Iterator[str]:
    """A topic that keeps only the latest of what is sent; gone afterwards."""
    settings, name = KafkaSettings(bootstrap_servers=used.kafka), f"bench.{uuid4().hex[:8]}"
    kept = {"retention.bytes": str(KEPT_BYTES), "segment.bytes": str(SEGMENT_BYTES)}
    with Cluster(settings, ANSWER_WITHIN_S) as cluster:
        cluster.create(name, load.partitions, retention_ms=-1, other=kept)
        try:
            yield name
        finally:
            cluster.delete(name)


def endless(load: Workload) -> Iterator[Message]:
    """The workload over and over, with new times: now of a healthy fleet, now of one in which devices fail."""
    kinds = [
        [(message, TIMES.split(message.value)) for message in replace(load, healthy=healthy).messages()]
        for healthy in (True, False)
    ]
    for number in count():
        first = START_S + number * load.seconds
        stamps = [instant(first + second).encode() for second in range(load.seconds)]
        for message, around in kinds[number // ROUNDS_OF_A_KIND % 2]:
            value = b"".join(chain.from_iterable(zip(around, (*stamps, b""), strict=True)))
            yield message._replace(at_ms=(first + load.seconds - 1) * 1_000, value=value)


def looks(
    daemon: Daemon, client: KafkaProducer, name: str, stream: Iterator[Message], seconds: float, report: Report
) -> Iterator[Seen]:
    """Keep the topic ahead of the daemon, and look at it now and then, until the time is over. Raises Failed."""
    began, sent, due = time.monotonic(), 0, 0.0
    committed = daemon.committed()
    while (now := time.monotonic() - began) < seconds:
        if now >= due:
            daemon.must_run()
            committed, due = daemon.committed(), now + LOOK_EVERY_S
            report(round(now))
            yield Seen(now, anonymous_mb(daemon.process.pid), committed)
        if sent - committed > AHEAD:
            time.sleep(LOOK_EVERY_S / 10)
            continue
        for message in (next(stream) for _ in range(AT_ONCE)):
            client.send(name, message.value, partition=message.partition, timestamp_ms=message.at_ms)
        sent += AT_ONCE


def judged(load: Workload, used: Servers, minutes: float, settle: float, seen: Sequence[Seen], raised: int) -> Found:
    """The figures."""
    settled = [one for one in seen if one.at >= settle * 60]
    first, last = settled[0], settled[-1]
    return Found(
        growth(settled),
        max(one.mb for one in seen),
        round((last.records - first.records) * load.per_record / (last.at - first.at)),
        minutes,
        settle,
        raised,
        load,
        used.kafka_is,
        used.store_is,
        machine(),
        {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        list(seen),
    )


def growth(seen: Sequence[Seen]) -> float:
    """MB a minute: the slope of the straight line through them (least squares)."""
    slope, _ = np.polyfit([one.at / 60 for one in seen], [one.mb for one in seen], 1)
    return float(slope)


def text(found: Found) -> str:
    """The figures for people."""
    load = found.workload
    return "\n".join(
        [
            f"{found.growth:+.3f} MB a minute over {found.minutes:g} minutes, after {found.settle:g}; "
            f"{found.largest:.0f} MB at most",
            f"{found.readings_per_s:,} readings/s, {found.alerts:,} alerts",
            f"{load.devices:,} devices, {load.channels} channels, {load.per_record} readings a record; "
            f"{load.partitions} partitions; hidden {load.hidden}",
            f"Kafka: {found.kafka}; database: {found.store}",
            ", ".join(f"{name} {value}" for name, value in (found.machine | found.versions).items()),
        ]
    )


def draw(found: Found, file: Path) -> None:
    """Memory over time."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([one.at / 60 for one in found.seen], [one.mb for one in found.seen], linewidth=1)
    axes.axvspan(0, found.settle, alpha=0.1)
    axes.set(xlabel="minutes", ylabel="anonymous memory, MB", ylim=(0, None))
    axes.set_title(f"{found.growth:+.3f} MB a minute at {found.readings_per_s:,} readings/s")
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main(prog_name="scripts/bench/memory")
