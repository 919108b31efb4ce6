"""Readings per second of the daemon, of a bare poll() loop, and of that with JSON decoding, over the same topic.

\b
A topic is filled first. Then, round by round in changing order, each in a process of its own:
poll    kafka-python's poll() with the daemon's client options, from the first poll to the last record
decode  the same, and the JSON of every record decoded, into nothing better than dictionaries
daemon  `sensord run` with default settings on a fresh database, from the first partition adopted to the last
        commit, by its own stamps (up to a second of that is the wait for the commit that is due)
arrays  the daemon over a topic of the same readings, so many of a device in each record (--batch-readings)
skewed  the daemon over a topic where one device sends this share of all readings (--skew)
workers the daemon with so many processes (--workers); from the first partition that one of them adopts, so that what
        a rebalance between them costs is part of it; `steady` tells what they do once that is over
The ratio is the daemon's rate divided by decode's of the same round. Figures of a busy machine are good for ratios.
"""

import json
import math
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import click

from scripts.bench import daemon
from scripts.bench.daemon import Watched
from scripts.bench.surroundings import Servers, machine, server_options, servers
from scripts.bench.workload import Workload, bundle, fill
from sensord.cli.recordings import progress_bars
from sensord.settings import KafkaSettings
from sensord.stream.cluster import Cluster

PACKAGES = ("sensord", "torch", "numpy", "kafka-python", "msgspec", "sqlalchemy", "psycopg")
ANSWER_WITHIN_S = 15.0
READERS = ("poll", "decode")
READER_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Figures:
    """One contender's readings/s in each round, their median, and the largest less the smallest as a share of it.

    of_poll, of_decode, of_daemon: the median of each round's rate divided by theirs of that round. steady: the median
    rate while every worker read what nobody had read before; None for a bare loop, or where that is too short a time.
    """

    rounds: list[int]
    median: int
    spread: float
    of_poll: float
    of_decode: float
    of_daemon: float
    steady: int | None


@dataclass(frozen=True, slots=True)
class Contender:
    """Who reads which topic. workers: processes of the daemon; 0: a bare loop."""

    name: str
    topic: str
    load: Workload
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """All that is printed. ratio: the daemon's rate as a share of decode's. message_bytes: their mean."""

    readings_per_s: dict[str, Figures]
    ratio: float
    workload: Workload
    message_bytes: int
    alerts: int
    kafka: str
    store: str
    machine: dict[str, str]
    versions: dict[str, str]


@click.command(help=__doc__)
@click.option("--devices", type=click.IntRange(min=1), default=10_000, show_default=True)
@click.option("--readings", type=click.IntRange(min=1), default=500_000, show_default=True, help="In whole seconds.")
@click.option("--channels", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--hidden", type=click.IntRange(min=1), default=32, show_default=True, help="Width of the LSTM.")
@click.option("--partitions", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--batch-readings", type=click.IntRange(min=1), default=1, show_default=True, help="Of `arrays`.")
@click.option("--skew", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True, help="Of `skewed`.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Of `workers`.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@server_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
def main(
    devices: int,
    readings: int,
    channels: int,
    hidden: int,
    partitions: int,
    batch_readings: int,
    skew: float,
    workers: int,
    rounds: int,
    kafka: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    load = Workload(devices, readings, channels, hidden, partitions).whole()
    with servers(kafka, store) as used, progress_bars() as report:
        found = measured(contenders(load, batch_readings, skew, workers), used, rounds, report)
    click.echo(json.dumps(asdict(found)) if as_json else text(found))


def contenders(load: Workload, batch_readings: int, skew: float, workers: int) -> list[Contender]:
    """Who takes part; those that read alike share a topic."""
    plain, arrays, skewed = (f"bench.{uuid4().hex[:8]}" for _ in range(3))
    found = [Contender(name, plain, load) for name in READERS]
    found.append(Contender("daemon", plain, load, 1))
    if batch_readings > 1:
        found.append(Contender("arrays", arrays, replace(load, per_record=batch_readings).whole(), 1))
    if skew:
        found.append(Contender("skewed", skewed, replace(load, skew=skew).whole(), 1))
    if workers > 1:
        found.append(Contender("workers", plain, load, workers))
    return found


def measured(field: Sequence[Contender], used: Servers, rounds: int, report: Callable[[str, int, int], None]) -> Found:
    """Fill the topics and let the contenders read them."""
    settings, load = KafkaSettings(bootstrap_servers=used.kafka), field[0].load
    loads = {one.topic: one.load for one in field}
    seconds: dict[str, list[float]] = {one.name: [] for one in field}
    steady: dict[str, list[float]] = {one.name: [] for one in field}
    sizes, alerts = {}, {}
    with Cluster(settings, ANSWER_WITHIN_S) as cluster:
        for topic in loads:
            cluster.create(topic, load.partitions, retention_ms=-1)
        try:
            for topic, one in loads.items():
                sizes[topic] = fill(settings, topic, one, partial(_filled, report, one.records))
            for number, contender in enumerate(turns(field, rounds)):
                report("measure", number, rounds * len(field))
                ran = run(contender, used)
                seconds[contender.name].append(ran.seconds)
                steady[contender.name].append(ran.steady * contender.load.per_record)
                alerts[contender.name] = ran.alerts
            report("measure", rounds * len(field), rounds * len(field))
        finally:
            for topic in loads:
                cluster.delete(topic)
    figures = compared({one.name: one.load.readings for one in field}, seconds, steady)
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
    return Found(
        figures,
        figures["daemon"].of_decode,
        load,
        sizes[field[0].topic],
        alerts["daemon"],
        used.kafka_is,
        used.store_is,
        machine(),
        versions,
    )


def _filled(report: Callable[[str, int, int], None], of: int, done: int) -> None:
    report("fill", done, of)


def run(contender: Contender, used: Servers) -> Watched:
    """What a contender did with its topic."""
    load = contender.load
    if not contender.workers:
        took = read(used.kafka, contender.topic, load.records, decode=contender.name == "decode")
        return Watched(took, 0, math.nan)
    with TemporaryDirectory(prefix="sensord-bench-") as folder:
        return daemon.watch(
            Path(folder), used.kafka, contender.topic, load.records, used.store, bundle(load), contender.workers
        )


def turns(field: Sequence[Contender], rounds: int) -> Iterator[Contender]:
    """Who runs next: each round begins with another one."""
    for number in range(rounds):
        first = number % len(field)
        yield from (*field[first:], *field[:first])


def read(kafka: str, topic: str, readings: int, decode: bool) -> float:
    """Seconds of a bare loop over the whole topic, in its own process."""
    command = [sys.executable, "-m", "scripts.bench.reader", "--kafka", kafka, "--topic", topic]
    command += ["--decode"] if decode else []
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=READER_TIMEOUT_S)
    found = json.loads(done.stdout.splitlines()[-1])
    if found["readings"] != readings:
        raise click.ClickException(f"the topic holds {found['readings']} readings, not {readings}")
    return float(found["seconds"])


def compared(
    readings: Mapping[str, int], seconds: Mapping[str, list[float]], steady: Mapping[str, list[float]]
) -> dict[str, Figures]:
    """Each contender's figures out of its readings, the seconds that its rounds took, and its steady rates."""
    rates = {name: [readings[name] / one for one in rounds] for name, rounds in seconds.items()}
    figures = {}
    for name, mine in rates.items():
        median = statistics.median(mine)
        spread = (max(mine) - min(mine)) / median
        shares = [_share(mine, rates[of]) for of in (*READERS, "daemon")]
        calm = [one for one in steady[name] if not math.isnan(one)]
        under_way = round(statistics.median(calm)) if calm else None
        figures[name] = Figures(
            [round(one) for one in mine], round(median), spread, shares[0], shares[1], shares[2], under_way
        )
    return figures


def _share(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios, round by round."""
    return statistics.median(one / other for one, other in zip(mine, theirs, strict=True))


def text(found: Found) -> str:
    """The figures for people."""
    load = found.workload
    lines = [
        f"{'':8}{'readings/s':>12}{'spread':>9}{'of poll':>9}{'of decode':>11}{'of daemon':>11}{'steady':>9}  rounds"
    ]
    for name, one in found.readings_per_s.items():
        rounds = " ".join(f"{rate:,}" for rate in one.rounds)
        shares = f"{one.of_poll:>9.2f}{one.of_decode:>11.2f}{one.of_daemon:>11.2f}"
        under_way = "" if one.steady is None else f"{one.steady:,}"
        lines.append(f"{name:8}{one.median:>12,}{one.spread:>9.0%}{shares}{under_way:>9}  {rounds}")
    lines += [
        "",
        f"{load.readings:,} readings of {load.devices:,} devices, {load.channels} channels, {found.message_bytes} "
        f"bytes of JSON each, lz4; {load.partitions} partitions; hidden {load.hidden}; {found.alerts} alerts",
        f"Kafka: {found.kafka}; database: {found.store}",
        ", ".join(f"{name} {value}" for name, value in (found.machine | found.versions).items()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(prog_name="scripts/bench/throughput")
