"""sensord as people run it: processes, a broker, a database and a settings file; for end-to-end tests."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.engine import make_url

from sensord.store.registry import Registry
from sensord.store.schema import alerts, dead_letters, partition_progress
from sensord.store.schema import gaps as gaps_table
from tests.builders import START, packed

PATIENCE_S = 90.0
STACKS_S = 1.0  # to write them
WALL_CLOCK = {"detected_at", "updated_at"}


@dataclass
class Plant:
    """A folder with settings for one fleet, and the commands run in it."""

    folder: Path
    kafka: str
    store_url: str
    topic: str
    fleet: str = "pumps"
    extra: str = ""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.engine: Engine = create_engine(self.store_url)
        self.settings = self.folder / "sensord.toml"
        url = make_url(self.store_url).set(drivername=self.store_url.split(":")[0].split("+")[0])
        self.settings.write_text(
            f"""
[kafka]
bootstrap_servers = "{self.kafka}"
group_id = "group-{uuid4().hex[:8]}"
session_timeout_s = 6
[store]
url = "{url.render_as_string(hide_password=False)}"
[daemon]
start_timeout_s = 20
snapshot_interval_s = 2
[fleets.{self.fleet}]
topics = ["{self.topic}"]
{self.extra}
"""
        )

    def close(self) -> None:
        self.engine.dispose()

    def sensord(self, *arguments: str | Path, code: int = 0) -> str:
        """Run a command to its end; returns what it wrote. Fails unless it exits with `code`."""
        command = [sys.executable, "-m", "sensord", "--config", str(self.settings), *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, cwd=self.folder)
        assert done.returncode == code, f"{command} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    @contextmanager
    def daemon(self, *options: str) -> Iterator["DaemonProcess"]:
        """`sensord run`; killed at the end if it still runs."""
        log = self.folder / f"daemon-{uuid4().hex[:6]}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "sensord", "--config", str(self.settings), "run", *options],
                stdout=stream,
                stderr=stream,
                cwd=self.folder,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
            try:
                yield DaemonProcess(process, log)
            finally:
                process.kill()
                process.wait()

    def promote(self, seed: int = 0) -> str:
        """Make a small bundle current, whatever there was; returns its id."""
        model, registry = packed(seed=seed), Registry(self.engine)
        registry.publish(self.fleet, model.bundle_id, model.manifest, model.weights, model.sha256, START, "ann")
        registry.promote(self.fleet, model.bundle_id, START, "ann", force=True)
        return model.bundle_id

    # --- what is there -----------------------------------------------------------------------------------------------

    def ends(self) -> dict[int, int]:
        consumer = KafkaConsumer(bootstrap_servers=self.kafka)
        try:
            numbers = consumer.partitions_for_topic(self.topic) or set()
            ends = consumer.end_offsets([TopicPartition(self.topic, number) for number in numbers])
            return {tp.partition: offset for tp, offset in ends.items() if offset}
        finally:
            consumer.close()

    def committed(self) -> dict[int, int]:
        p = partition_progress.c
        with self.engine.connect() as connection:
            rows = connection.execute(select(p.partition, p.next_offset).where(p.topic == self.topic))
            return {number: offset for number, offset in rows if offset}

    def alerts(self) -> list[dict[str, object]]:
        """Every alert without its wall-clock columns, by id."""
        columns = [column for column in alerts.c if column.name not in WALL_CLOCK]
        with self.engine.connect() as connection:
            rows = connection.execute(select(*columns).order_by(alerts.c.id))
            return [dict(row._mapping) for row in rows]

    def dead_letters(self) -> list[tuple[int, int, str]]:
        d = dead_letters.c
        with self.engine.connect() as connection:
            rows = connection.execute(select(d.partition, d.record_offset, d.reason))
            return sorted((number, offset, reason) for number, offset, reason in rows)

    def gaps(self) -> int:
        with self.engine.connect() as connection:
            return len(connection.execute(select(gaps_table.c.from_offset)).all())

    def wait_until_committed(self, daemons: "Sequence[DaemonProcess]") -> None:
        """Until the database has all that the topic holds now."""
        ends = self.ends()
        wait_for(lambda: self.committed() == ends, daemons, f"committed {ends}")


@dataclass
class DaemonProcess:
    """A running daemon."""

    process: "subprocess.Popen[bytes]"
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def stop(self) -> int:
        """SIGTERM; returns the exit code. A drain may take 15 seconds."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended(16)

    def ended(self, within_s: float) -> int:
        """Wait for its end; returns the exit code. Fails with its log and what all its threads are at."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGUSR1)
            time.sleep(STACKS_S)
            raise AssertionError(f"still there after {within_s} s:\n{self.log[-20_000:]}") from None

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


def wait_for(condition: Callable[[], bool], daemons: Sequence[DaemonProcess], what: str) -> None:
    """Poll until a condition holds; fails with the daemons' logs when one dies or patience ends."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        dead = [daemon for daemon in daemons if daemon.process.poll() is not None]
        if dead or time.monotonic() > deadline:
            logs = "\n".join(daemon.log[-3_000:] for daemon in daemons)
            raise AssertionError(f"{'a daemon died' if dead else 'no patience left'} before: {what}\n{logs}")
        time.sleep(0.05)
