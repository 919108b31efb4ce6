"""The daemon as a process over a topic, timed by its own stamps. Used by `throughput`, `latency` and `peers`."""

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import psycopg
from sqlalchemy import ColumnElement, Engine, func, make_url, select

from scripts.bench.workload import FLEET, START_S
from sensord.clock import MICROSECONDS
from sensord.model.bundle import Packed
from sensord.store.database import open_engine, upgrade
from sensord.store.registry import Registry
from sensord.store.schema import alerts, dead_letters, microseconds, partition_progress

T = TypeVar("T")

LOOK_EVERY_S = 0.25
DRAIN_S = 20
SETTINGS = """\
[kafka]
bootstrap_servers = "{kafka}"
group_id = "{group}"
[store]
url = "{url}"
[fleets.{fleet}]
topics = ["{topic}"]
"""


@dataclass(frozen=True, slots=True)
class Watched:
    """What one daemon did. steady: records a second while every worker read what nobody had read before."""

    seconds: float
    alerts: int
    steady: float


@dataclass(frozen=True, slots=True)
class Sample:
    """How far every partition was committed, and when: seconds since the epoch."""

    at: float
    offsets: Mapping[int, int]


class Failed(Exception):
    """The daemon did not do its work; says why."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """`sensord run` and its database, as `running` made them."""

    process: subprocess.Popen[bytes]
    log: Path
    engine: Engine

    def wait_for(self, records: int) -> list[Sample]:
        """Return once that many records of all partitions together are committed, with how it came to that. Raises
        Failed."""
        samples = [self._sample()]
        while sum(samples[-1].offsets.values()) < records:
            self.must_run()
            time.sleep(LOOK_EVERY_S)
            samples.append(self._sample())
        return samples

    def committed(self) -> int:
        """Records of all partitions together."""
        return sum(self._sample().offsets.values())

    def _sample(self) -> Sample:
        p = partition_progress.c
        with self.engine.connect() as connection:
            rows = connection.execute(select(p.partition, func.coalesce(p.next_offset, 0)))
            return Sample(time.time(), dict(rows.all()))

    def must_run(self) -> None:
        """Raises Failed."""
        if self.process.poll() is not None:
            raise Failed(f"the daemon ended with {self.process.returncode}:\n{self.log.read_text()[-4_000:]}")

    def processor_s(self) -> tuple[float, float]:
        """How long its threads have run, and how long they were ready to and had no core."""
        ran = waited = 0
        for one in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # a thread that has just ended
                times = one.read_text().split()
                ran, waited = ran + int(times[0]), waited + int(times[1])
        return ran / 1e9, waited / 1e9

    def drain(self) -> None:
        """End it as an operator would. Raises Failed where it can't, or where it couldn't read a record."""
        self.process.send_signal(signal.SIGTERM)
        if code := self.process.wait(DRAIN_S):
            raise Failed(f"the daemon drained with {code}:\n{self.log.read_text()[-4_000:]}")
        if refused := _ask(self.engine, func.count(dead_letters.c.id)):
            raise Failed(f"{refused} of the records became dead letters")


@contextmanager
def running(
    folder: Path, kafka: str, topic: str, store_url: str | None, packed: Packed, workers: int = 1
) -> Iterator[Daemon]:
    """`sensord run` with its default settings over a topic, on a fresh database; killed where it wasn't drained.

    store_url: a PostgreSQL database beside which one is made for the run, None for an SQLite file in the folder.
    """
    with ExitStack() as stack:
        url = f"sqlite:///{folder / 'sensord.db'}" if store_url is None else stack.enter_context(database(store_url))
        engine = open_engine(url)
        stack.callback(engine.dispose)
        upgrade(engine)
        _publish(engine, packed)
        settings, log = folder / "sensord.toml", folder / "daemon.log"
        settings.write_text(
            SETTINGS.format(kafka=kafka, group=f"bench-{uuid4().hex[:8]}", url=url, fleet=FLEET, topic=topic)
        )
        command = [sys.executable, "-m", "sensord", "--config", str(settings), "run", "--workers", str(workers)]
        output = stack.enter_context(log.open("wb"))
        process = stack.enter_context(subprocess.Popen(command, stdout=output, stderr=output))
        stack.callback(process.kill)
        yield Daemon(process, log, engine)


def watch(
    folder: Path, kafka: str, topic: str, records: int, store_url: str | None, packed: Packed, workers: int = 1
) -> Watched:
    """Run the daemon until all records of a topic are committed; see `running`.

    Timed from the first partition that it adopts to its last commit, by the stamps of its log and its tables.
    Raises Failed.
    """
    with running(folder, kafka, topic, store_url, packed, workers) as daemon:
        samples = daemon.wait_for(records)
        finished = microseconds(_ask(daemon.engine, func.max(partition_progress.c.committed_at)))
        daemon.drain()
        took = (finished - min(_adopted(daemon.log))) / MICROSECONDS
        return Watched(took, _ask(daemon.engine, func.count(alerts.c.id)), steady(samples, max(_adopted(daemon.log))))


def steady(samples: Sequence[Sample], adopted: int) -> float:
    """Records a second from where all partitions have moved on since one was last adopted, which is when what that took
    up is replayed, until the first is at its end. NaN where there is no such time. adopted: microseconds."""
    held = [sample for sample in samples if sample.at * MICROSECONDS > adopted]
    moving = [s for s in held if all(s.offsets[number] > first for number, first in held[0].offsets.items())]
    under_way = [s for s in moving if all(offset < samples[-1].offsets[n] for n, offset in s.offsets.items())]
    if len(under_way) < 2:
        return math.nan
    first, last = under_way[0], under_way[-1]
    return (sum(last.offsets.values()) - sum(first.offsets.values())) / (last.at - first.at)


def _adopted(log: Path) -> list[int]:
    """When partitions were adopted, microseconds."""
    lines = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    return [microseconds(datetime.fromisoformat(line["time"])) for line in lines if line["event"] == "adopted"]


def _ask(engine: Engine, question: ColumnElement[T]) -> T:
    """The answer to a question about a whole table."""
    with engine.connect() as connection:
        return connection.scalars(select(question)).one()


def _publish(engine: Engine, packed: Packed) -> None:
    registry, at = Registry(engine), START_S * MICROSECONDS
    registry.publish(FLEET, packed.bundle_id, packed.manifest, packed.weights, packed.sha256, at, "bench")
    registry.promote(FLEET, packed.bundle_id, at, "bench")


@contextmanager
def database(server_url: str) -> Iterator[str]:
    """The URL of an empty database beside another one; gone afterwards."""
    server, name = make_url(server_url), f"bench_{uuid4().hex[:12]}"
    with psycopg.connect(
        server.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True
    ) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield server.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
