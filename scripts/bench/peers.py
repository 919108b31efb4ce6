"""Readings per second of other ways to keep an LSTM's state for every device, beside the daemon's, over the same topic.

\b
A topic is filled first, each record with its device as the key. Then, round by round in changing order, each in a
process of its own:
sensord      `sensord run` with default settings, scores, alerts, snapshots and commits and all; from the first
             partition adopted to the last commit of the whole topic, as `throughput` measures it
poll         kafka-python's poll() with the daemon's client options, nothing decoded; the whole topic
plain        that poll(), orjson, one torch LSTM call a reading, the states in a dict
detector     plain, with the head and the reconstruction error, compared with a limit: the least that finds anything
quix         Quix Streams: a stateful function, the state as bytes in its RocksDB store with a changelog topic
faust table  Faust: the state as bytes in a table with a changelog topic, in memory
faust dict   Faust: the state in a plain dict
river        that poll(), orjson, and River's HalfSpaceTrees: score and learn, one forest for the whole fleet
All but river and poll step the same weights, out of the daemon's bundle. All of them but detector compute the LSTM's
state and no more: no score, no alert. Each gets as far as it can in --seconds and is timed from the end of its
--warm-up to its last reading. A peer that can't be installed, or fails, is named with its reason. Figures compare
within one run only.
"""

import json
import platform
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from uuid import uuid4

import click
from kafka import KafkaAdminClient

from scripts.bench.daemon import Failed
from scripts.bench.peer.__main__ import PEERS
from scripts.bench.peer.meter import TOLD
from scripts.bench.surroundings import Servers, machine, server_options, servers
from scripts.bench.throughput import ANSWER_WITHIN_S, PACKAGES, Contender, run, turns
from scripts.bench.workload import Workload, bundle, fill
from sensord.cli.recordings import progress_bars
from sensord.settings import KafkaSettings
from sensord.stream.cluster import Cluster, client_config

ENVIRONMENT = Path(".cache/peers/bin/python")
START_UP_S = 120.0  # a peer may take so long beside its time
REASON_LENGTH = 200
SENSORD = "sensord"

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """What every peer gets. seconds: at most."""

    load: Workload
    topic: str
    warm_up: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one: readings/s and the versions it ran with, or why there are none."""

    rate: float | None
    versions: dict[str, str]
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """Readings/s of each round that came to an end, their median; sensord_times: the median of the daemon's rate
    divided by this one's of the same round. None where there is none. failure: why a round came to nothing."""

    rounds: list[int]
    median: int | None
    sensord_times: float | None
    failure: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """All that is printed. message_bytes: their mean."""

    peers: dict[str, Figures]
    workload: Workload
    message_bytes: int
    warm_up: int
    seconds: float
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
@click.option("--seconds", type=click.FloatRange(min=0.1), default=20.0, show_default=True, help="For each peer.")
@click.option("--warm-up", type=click.IntRange(min=1), default=2_000, show_default=True, help="Readings not timed.")
@click.option("--rounds", type=click.IntRange(min=1), default=1, show_default=True)
@server_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
def main(
    devices: int,
    readings: int,
    channels: int,
    hidden: int,
    partitions: int,
    seconds: float,
    warm_up: int,
    rounds: int,
    kafka: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    load = Workload(devices, readings, channels, hidden, partitions).whole()
    if warm_up >= load.records:
        raise click.UsageError(f"of {load.records:,} readings nothing is left after a warm-up of {warm_up:,}")
    trial = Trial(load, f"bench.{uuid4().hex[:8]}", warm_up, seconds)
    with servers(kafka, store) as used, progress_bars() as report:
        found = measured(trial, used, rounds, report)
    click.echo(json.dumps(asdict(found)) if as_json else text(found))


def measured(trial: Trial, used: Servers, rounds: int, report: Report) -> Found:
    """Fill the topic and let all read it."""
    settings, load = KafkaSettings(bootstrap_servers=used.kafka), trial.load
    field = [Contender(SENSORD, trial.topic, load, 1), Contender("poll", trial.topic, load)]
    field += [Contender(name, trial.topic, load) for name in PEERS]
    told: dict[str, list[Told]] = {one.name: [] for one in field}
    with Cluster(settings, ANSWER_WITHIN_S) as cluster:
        cluster.create(trial.topic, load.partitions, retention_ms=-1)
        try:
            size = fill(settings, trial.topic, load, lambda done: report("fill", done, load.records), keyed=True)
            for number, one in enumerate(turns(field, rounds)):
                report("measure", number, rounds * len(field))
                told[one.name].append(peer(one.name, trial, used) if one.name in PEERS else own(one, used))
            report("measure", rounds * len(field), rounds * len(field))
        finally:
            clear(settings, trial.topic)
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
    where = used.kafka_is, used.store_is, machine(), versions
    return Found(compared(told), load, size, trial.warm_up, trial.seconds, *where)


def own(contender: Contender, used: Servers) -> Told:
    """The daemon, or the bare loop."""
    try:
        watched = run(contender, used)
    except (Failed, click.ClickException, subprocess.SubprocessError) as error:
        return Told(None, {}, reason(str(error)))
    return Told(contender.load.readings / watched.seconds, {})


def peer(name: str, trial: Trial, used: Servers) -> Told:
    """A peer, in a process and an environment of its own."""
    with tempfile.TemporaryDirectory(prefix="sensord-bench-") as folder:
        weights = Path(folder, "weights.safetensors")
        weights.write_bytes(bundle(trial.load).weights)
        command = [ENVIRONMENT, "-m", "scripts.bench.peer", name, "--kafka", used.kafka, "--topic", trial.topic]
        command += ["--partitions", str(trial.load.partitions), "--weights", str(weights), "--folder", folder]
        command += ["--group", f"{trial.topic}-{uuid4().hex[:8]}", "--warm-up", str(trial.warm_up)]
        command += ["--total", str(trial.load.records), "--seconds", str(trial.seconds)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=trial.seconds + START_UP_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Told(None, {}, reason(str(error)))
        if not (told := Path(folder, TOLD)).exists():
            return Told(None, {}, reason(done.stderr) or f"ended with {done.returncode}")
        found = json.loads(told.read_text())
    return Told(found["readings"] / found["seconds"], found["versions"])


def reason(said: str) -> str:
    """The last line, where Python says what went wrong."""
    return next(reversed(said.strip().splitlines()), "")[-REASON_LENGTH:]


def clear(settings: KafkaSettings, topic: str) -> None:
    """Delete the topic and the changelogs that peers made beside it: their names hold its name."""
    admin = KafkaAdminClient(**client_config(settings))
    try:
        admin.delete_topics([name for name in admin.list_topics() if topic in name])
    finally:
        admin.close()


def compared(told: Mapping[str, list[Told]]) -> dict[str, Figures]:
    """Each one's figures, the daemon's first."""
    figures = {}
    for name, rounds in told.items():
        rates = [one.rate for one in rounds if one.rate]
        pairs = zip(told[SENSORD], rounds, strict=True)
        times = [ours.rate / one.rate for ours, one in pairs if ours.rate and one.rate]
        figures[name] = Figures(
            [round(rate) for rate in rates],
            round(statistics.median(rates)) if rates else None,
            statistics.median(times) if times else None,
            next((one.failure for one in rounds if one.failure), ""),
            next((one.versions for one in rounds if one.versions), {}),
        )
    return figures


def text(found: Found) -> str:
    """The figures for people."""
    load = found.workload
    lines = [f"{'':12}{'readings/s':>12}{'sensord is':>14}  rounds"]
    lines += [line(name, one) for name, one in found.peers.items()]
    peers = {name: version for one in found.peers.values() for name, version in one.versions.items()}
    lines += [
        "",
        f"{load.readings:,} readings of {load.devices:,} devices, {load.channels} channels, {found.message_bytes} "
        f"bytes of JSON each, lz4; {load.partitions} partitions; hidden {load.hidden}",
        f"peers: {found.seconds:g} s at most, after {found.warm_up:,} readings of warm-up; "
        + ", ".join(f"{name} {version}" for name, version in peers.items()),
        f"Kafka: {found.kafka}; database: {found.store}",
        ", ".join(f"{name} {value}" for name, value in (found.machine | found.versions).items()),
    ]
    return "\n".join(lines)


def line(name: str, one: Figures) -> str:
    """A row of the table."""
    rate = "-" if one.median is None else f"{one.median:,}"
    times = "-" if one.sensord_times is None else f"{one.sensord_times:.2f} x"
    rounds = " ".join(f"{rate:,}" for rate in one.rounds)
    failed = f"  failed: {one.failure}" if one.failure else ""
    return f"{name:12}{rate:>12}{times:>14}  {rounds}{failed}"


if __name__ == "__main__":
    main(prog_name="scripts/bench/peers")
