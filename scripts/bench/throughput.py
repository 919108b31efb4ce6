"""Readings per second of the daemon, of a bare poll() loop, and of that with JSON decoding, over the same topic.

\b
A topic is filled first. Then, round by round in changing order, each in a process of its own:
poll    kafka-python's poll() with the daemon's client options, from the first poll to the last record
decode  the same, and the JSON of every record decoded, into nothing better than dictionaries
daemon  `sensord run` with default settings on a fresh database, from the first partition adopted to the last
        commit, by its own stamps (up to a second of that is the wait for the commit that is due)
The ratio is the daemon's rate divided by decode's of the same round. Figures of a busy machine are good for ratios.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import click

from scripts.bench import daemon
from scripts.bench.workload import Workload, bundle, fill
from sensord.cli.recordings import progress_bars
from sensord.settings import KafkaSettings
from sensord.stream.cluster import Cluster
from tests.services import ServerUnavailable, apache_kafka, embedded_kafka, postgresql

PACKAGES = ("sensord", "torch", "numpy", "kafka-python", "msgspec", "sqlalchemy", "psycopg")
ANSWER_WITHIN_S = 15.0
CONTENDERS = ("poll", "decode", "daemon")
READER_TIMEOUT_S = 600
SQLITE = "sqlite"


@dataclass(frozen=True, slots=True)
class Servers:
    """Where they listen, and what they are. store: None for SQLite."""

    kafka: str
    kafka_is: str
    store: str | None
    store_is: str


@dataclass(frozen=True, slots=True)
class Figures:
    """One contender's readings/s in each round, their median, and the largest less the smallest as a share of it.

    of_poll, of_decode: the median of each round's rate divided by theirs of that round.
    """

    rounds: list[int]
    median: int
    spread: float
    of_poll: float
    of_decode: float


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
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--kafka", envvar="SENSORD_TEST_KAFKA", help="Broker, HOST:PORT; else an Apache Kafka or embedded one of its own."
)
@click.option(
    "--store",
    envvar="SENSORD_TEST_POSTGRES",
    help="postgresql://..., beside which databases are made, or sqlite; else a PostgreSQL of its own, or SQLite.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
def main(
    devices: int,
    readings: int,
    channels: int,
    hidden: int,
    partitions: int,
    rounds: int,
    kafka: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    load = Workload(devices, max(readings // devices, 1) * devices, channels, hidden, partitions)
    with servers(kafka, store) as used, progress_bars() as report:
        found = measured(load, used, rounds, report)
    click.echo(json.dumps(asdict(found)) if as_json else text(found))


def measured(load: Workload, used: Servers, rounds: int, report: Callable[[str, int, int], None]) -> Found:
    """Fill a topic and let the contenders read it."""
    settings, topic = KafkaSettings(bootstrap_servers=used.kafka), f"bench.{uuid4().hex[:8]}"
    packed = bundle(load)
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    alerts = 0
    with Cluster(settings, ANSWER_WITHIN_S) as cluster:
        cluster.create(topic, load.partitions, retention_ms=-1)
        try:
            size = fill(settings, topic, load, lambda done: report("fill", done, load.readings))
            for number, name in enumerate(turns(rounds)):
                report("measure", number, rounds * len(CONTENDERS))
                if name == "daemon":
                    with TemporaryDirectory(prefix="sensord-bench-") as folder:
                        ran = daemon.watch(Path(folder), used.kafka, topic, load.readings, used.store, packed)
                    seconds[name].append(ran.seconds)
                    alerts = ran.alerts
                else:
                    seconds[name].append(read(used.kafka, topic, load.readings, decode=name == "decode"))
            report("measure", rounds * len(CONTENDERS), rounds * len(CONTENDERS))
        finally:
            cluster.delete(topic)
    figures = compared(load.readings, seconds)
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
    ratio = figures["daemon"].of_decode
    return Found(figures, ratio, load, size, alerts, used.kafka_is, used.store_is, machine(), versions)


def turns(rounds: int) -> Iterator[str]:
    """Who runs next: each round begins with another one."""
    for number in range(rounds):
        first = number % len(CONTENDERS)
        yield from CONTENDERS[first:] + CONTENDERS[:first]


def read(kafka: str, topic: str, readings: int, decode: bool) -> float:
    """Seconds of a bare loop over the whole topic, in its own process."""
    command = [sys.executable, "-m", "scripts.bench.reader", "--kafka", kafka, "--topic", topic]
    command += ["--decode"] if decode else []
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=READER_TIMEOUT_S)
    found = json.loads(done.stdout.splitlines()[-1])
    if found["readings"] != readings:
        raise click.ClickException(f"the topic holds {found['readings']} readings, not {readings}")
    return float(found["seconds"])


def compared(readings: int, seconds: dict[str, list[float]]) -> dict[str, Figures]:
    """Each contender's figures out of the seconds that its rounds took."""
    rates = {name: [readings / one for one in rounds] for name, rounds in seconds.items()}
    figures = {}
    for name, mine in rates.items():
        median = statistics.median(mine)
        spread = (max(mine) - min(mine)) / median
        shares = (_share(mine, rates[of]) for of in ("poll", "decode"))
        figures[name] = Figures([round(one) for one in mine], round(median), spread, *shares)
    return figures


def _share(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios, round by round."""
    return statistics.median(one / other for one, other in zip(mine, theirs, strict=True))


@contextmanager
def servers(kafka: str | None, store: str | None) -> Iterator[Servers]:
    """Those that were named; else own ones, the next best where the best can't be had."""
    with ExitStack() as stack:
        kafka_is, store_is = "as given", "SQLite" if store == SQLITE else "as given"
        if kafka is None:
            try:
                kafka, kafka_is = stack.enter_context(apache_kafka()).address, "Apache Kafka"
            except ServerUnavailable as error:
                kafka, kafka_is = stack.enter_context(embedded_kafka()).address, f"embedded broker ({error})"
        if store is None:
            try:
                store, store_is = stack.enter_context(postgresql()).address, "PostgreSQL"
            except ServerUnavailable as error:
                store, store_is = SQLITE, f"SQLite ({error})"
        yield Servers(kafka, kafka_is, None if store == SQLITE else store, store_is)


def machine() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return {"processor": processor, "cores": str(os.cpu_count()), "load": f"{os.getloadavg()[0]:.1f}"}


def text(found: Found) -> str:
    """The figures for people."""
    load = found.workload
    lines = [f"{'':8}{'readings/s':>12}{'spread':>9}{'of poll':>9}{'of decode':>11}  rounds"]
    for name, one in found.readings_per_s.items():
        rounds = " ".join(f"{rate:,}" for rate in one.rounds)
        lines.append(f"{name:8}{one.median:>12,}{one.spread:>9.0%}{one.of_poll:>9.2f}{one.of_decode:>11.2f}  {rounds}")
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
