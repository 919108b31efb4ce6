"""A whole daemon without servers but the database: a log in memory, real tables, a clock that is told to move."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import repeat
from typing import TypeVar

import numpy as np
from sqlalchemy import Engine, Row, select

from sensord.clock import ManualClock
from sensord.daemon.loop import PART_BYTES, FleetRules, Loop, Rules
from sensord.daemon.models import Models
from sensord.daemon.owner import Owner
from sensord.daemon.policy import Pace
from sensord.daemon.watchdog import Watchdog
from sensord.detection.fleet import Limits
from sensord.errors import StoreUnavailable
from sensord.metrics import Metrics
from sensord.model.bundle import Packed
from sensord.readings import Partition
from sensord.store.database import open_engine, upgrade
from sensord.store.progress import Checkpoint, Claim, Committed, LaterSnapshot, Progress
from sensord.store.registry import Registry
from sensord.store.schema import alert_events, alerts, dead_letters, gaps, partition_progress, state_pages
from sensord.stream.decoders import Decoder
from sensord.stream.decoders.json import JsonDecoder
from sensord.stream.memory import MemoryLog, MemorySource
from tests.builders import START, packed

T = TypeVar("T")
TOPIC = "sensors.pumps"
OFTEN = Pace(commit_interval_s=1, snapshot_interval_s=5)
WALL_CLOCK = {"detected_at", "updated_at", "recorded_at", "id", "sequence"}  # an alert's id is compared as its key


class FailingProgress(Progress):
    """A database that fails on demand: each entry of `plan` answers one commit; "before", "after" or "fine".

    Those of `snapshots` answer one that is written beside the commits. While `away` it answers nothing at all.
    """

    def __init__(self, engine: Engine, plan: Iterator[str], snapshots: Iterator[str] | None = None) -> None:
        super().__init__(engine)
        self._plan, self._snapshots = plan, snapshots or repeat("fine")
        self.away = False

    def claim(self, fleet: str, partition: Partition, owner: str, topic_id: str, at: int) -> Claim:
        if self.away:
            raise StoreUnavailable("away")
        return super().claim(fleet, partition, owner, topic_id, at)

    def commit(self, checkpoints: Sequence[Checkpoint], at: int) -> Committed:
        return self._failing(self._plan, lambda: super(FailingProgress, self).commit(checkpoints, at))

    def store(self, snapshot: LaterSnapshot) -> None:
        self._failing(self._snapshots, lambda: super(FailingProgress, self).store(snapshot))

    def _failing(self, plan: Iterator[str], transaction: Callable[[], T]) -> T:
        verdict = "before" if self.away else next(plan, "fine")
        if verdict == "before":
            raise StoreUnavailable("failed before it was applied")
        outcome = transaction()
        if verdict == "after":
            raise StoreUnavailable("applied, but the answer was lost")
        return outcome


@dataclass
class World:
    """One topic, one database, any number of daemons. first: a bundle to begin with; None: the database's own."""

    engine: Engine
    partitions: int = 2
    first: Packed | None = field(default_factory=packed)
    clock: ManualClock = field(default_factory=lambda: ManualClock(START / 1e6))
    log: MemoryLog = field(default_factory=MemoryLog)

    def __post_init__(self) -> None:
        upgrade(self.engine)
        self.log.create(TOPIC, self.partitions)
        if self.first is not None:
            self.publish(self.first)

    @property
    def registry(self) -> Registry:
        return Registry(self.engine)

    def publish(self, model: Packed, promote: bool = True) -> str:
        self.registry.publish(
            "pumps", model.bundle_id, model.manifest, model.weights, model.sha256, self.clock.now(), "ann"
        )
        if promote:
            self.registry.promote("pumps", model.bundle_id, self.clock.now(), "ann")
        return model.bundle_id

    def send(self, device: int, second: float, heat: float, noise: float = 0.0) -> None:
        at = datetime.fromtimestamp(START / 1e6 + second, UTC).isoformat()
        message = {"device_id": f"pump-{device}", "timestamp": at, "values": {"heat": heat, "noise": noise}}
        self.send_raw(device, json.dumps(message).encode(), second)

    def send_raw(self, device: int, value: bytes, second: float = 0) -> None:
        partition = Partition(TOPIC, device % self.partitions)
        self.log.append(partition, value, timestamp_ms=START // 1_000 + round(second * 1_000))

    def send_day(self, devices: int = 6, seconds: int = 120, seed: int = 0, first: int = 0) -> None:
        """Healthy readings of several devices; two of them fail in the middle, and some messages are bad."""
        rng = np.random.default_rng(seed)
        for second in range(first, first + seconds):
            for device in range(devices):
                fails = device in (1, 4) and seconds // 3 < second - first < seconds // 2
                self.send(device, second, rng.normal(0, 0.3) + (9 if fails else 0), rng.normal(0, 0.3))
            if second % 17 == 0:
                self.send_raw(second, b"poison")

    def send_fault(self, first: int = 0, seconds: int = 200) -> None:
        """One device whose level jumps after 100 seconds, and stays."""
        rng = np.random.default_rng(first)
        for second in range(first, first + seconds):
            self.send(1, second, rng.normal(9 if second > 100 else 0, 0.3), rng.normal(0, 0.3))

    def daemon(
        self,
        max_records: int = 50,
        progress: Progress | None = None,
        pace: Pace = OFTEN,
        accept_gap: bool = False,
        accept_bad: bool = False,
        max_devices: int = 1_000,
        lateness: int = 0,
        part_bytes: int = PART_BYTES,
        saver: Executor | None = None,
        probation_s: float = 0,
        decoder: Callable[[tuple[str, ...]], Decoder] = JsonDecoder,
        span: int = 0,
    ) -> "Daemon":
        source = MemorySource(self.log, [TOPIC], max_records=max_records)
        rules = FleetRules("pumps", Limits(max_gap_s=60), max_devices, decoder, lateness=lateness, span=span)
        metrics = Metrics()
        loop = Loop(
            source,
            progress or Progress(self.engine),
            Models(self.registry, on_refusal=metrics.refused, on_rollback=metrics.rolled_back),
            Rules(
                {TOPIC: rules},
                Owner("test", 1),
                pace,
                part_bytes=part_bytes,
                accept_gap=accept_gap,
                accept_bad=accept_bad,
                probation_s=probation_s,
            ),
            self.clock,
            Watchdog(self.clock, 1e9),
            metrics,
            saver=saver,
        )
        return Daemon(self, source, loop)

    def rows(self, table: str) -> list[tuple[object, ...]]:
        """All rows of a table but their wall-clock columns, in an order that doesn't depend on when they came."""
        known = {t.name: t for t in (alerts, alert_events, dead_letters, gaps)}[table]
        columns = [c for c in known.c if c.name not in WALL_CLOCK or (table == "alerts" and c.name == "id")]
        with self.engine.connect() as connection:
            rows: Sequence[Row[*tuple[object, ...]]] = connection.execute(select(*columns)).all()
        return sorted((tuple(row) for row in rows), key=repr)

    def progress(self) -> dict[int, tuple[int, int, int]]:
        """By partition: epoch, next_offset, state_offset."""
        p = partition_progress.c
        with self.engine.connect() as connection:
            rows = connection.execute(select(p.partition, p.epoch, p.next_offset, p.state_offset))
            return {number: (epoch, next_offset, state) for number, epoch, next_offset, state in rows}

    def pages(self) -> dict[tuple[int, int], bytes]:
        s = state_pages.c
        with self.engine.connect() as connection:
            return {
                (number, page): data for number, page, data in connection.execute(select(s.partition, s.page, s.data))
            }


@dataclass
class Daemon:
    """A loop and the hands that move it."""

    world: World
    source: MemorySource
    loop: Loop

    def turn(self, times: int = 1, seconds: float = 0.7) -> None:
        for _ in range(times):
            self.loop.turn()
            self.world.clock.advance(seconds)

    def finish(self, enough: int = 2_000) -> None:
        """Turn until the log is read and committed, then drain."""
        for _ in range(enough):
            self.turn()
            if self.loop.ready and self._caught_up():
                break
        else:
            raise AssertionError("the daemon never caught up")
        assert self.loop.drain()

    def kill(self) -> None:
        """SIGKILL: nothing is said, and the group takes the member for dead."""
        self.world.log.leave(self.source)

    def _caught_up(self) -> bool:
        ends = {p: self.world.log.bounds(p).end for p in self.world.log.partitions(TOPIC)}
        shards = self.loop.shards
        return bool(shards) and all(s.position == s.committed == ends[p] for p, s in shards.items())


@contextmanager
def world(url: str, partitions: int = 2) -> Iterator[World]:
    engine = open_engine(url)
    try:
        yield World(engine, partitions)
    finally:
        engine.dispose()


Make = Callable[[], World]
