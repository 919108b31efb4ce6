"""One fault: a database and a consumer group of its own, daemons started and ended at will. Played by `scenarios`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError

from sensord.errors import EXIT_FAILURE, EXIT_OK
from sensord.store.schema import partition_progress

ROOT = Path(__file__).parents[2]
FLEET = "pumps"
PATIENCE_S = 90.0
DRAIN_S = 20.0
LOOK_EVERY_S = 0.05
STACKS_S = 1.0  # until a daemon has written what it does
TICKS_A_S = os.sysconf("SC_CLK_TCK")
SIGKILLED = -signal.SIGKILL
SETTINGS = """\
[kafka]
bootstrap_servers = "{kafka}"
group_id = "{group}"
session_timeout_s = {session_timeout_s}
max_poll_records = 200
[store]
url = "{store}"
[daemon]
start_timeout_s = 30
commit_interval_s = {commit_interval_s}
snapshot_interval_s = {snapshot_interval_s}
[fleets.{fleet}]
topics = ["{topic}"]
{more}
"""


class Stuck(AssertionError):
    """What should have happened did not; with the end of the daemons' logs."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """A daemon became ready or unready, at a wall time."""

    at: float
    ready: bool


@dataclass(frozen=True, slots=True)
class Outage:
    """Wall times between which nothing could be done, and what of a core the daemons used for it."""

    begun_at: float
    over_at: float
    cpu: float


@dataclass(slots=True)
class Daemon:
    """One process of the test build. expected: its exit code, should it end; ended_at_s: wall time, once it has."""

    process: "subprocess.Popen[bytes]"
    log_file: Path
    peak_mb: float = 0.0
    expected: int | None = None

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def readiness(self) -> list["Readiness"]:
        """What it said of itself, in order."""
        lines = (json.loads(line) for line in self.log.splitlines() if line.startswith('{"became_ready"'))
        return [Readiness(line["at"], line["became_ready"]) for line in lines]

    @property
    def cpu_s(self) -> float:
        """Seconds on a processor so far; 0 once it has ended."""
        try:
            _, _, fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            return 0.0
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / TICKS_A_S

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def frozen(self) -> bool:
        return _status(self.process.pid).get("State", "").startswith("T")

    def look(self) -> None:
        """Note how much memory of its own it has had at most.

        Pages of files aside: those of libraries are everybody's, and at its end their destructors bring in 120 MB more.
        """
        own = _status(self.process.pid).get("RssAnon", "")
        if own:
            self.peak_mb = max(self.peak_mb, int(own.split()[0]) / 1024)

    def kill(self) -> None:
        self.look()
        self.expected = SIGKILLED
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self, code: int = EXIT_OK) -> float:
        """SIGTERM; wait for its end and return the seconds that took."""
        wait_until(lambda: bool(self.log) or self.ended, "a daemon listened")  # not before its first word
        self.look()
        self.expected = code
        self.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        try:
            self.process.wait(DRAIN_S)
        except subprocess.TimeoutExpired as error:
            raise Stuck(f"SIGTERM did not end the daemon in {DRAIN_S:.0f} s:\n{self.log[-2_000:]}") from error
        return time.monotonic() - began


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Until a condition holds that no daemon has a part in. Raises Stuck when patience ends."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise Stuck(f"{PATIENCE_S:.0f} s went by before {what}")
        time.sleep(LOOK_EVERY_S)


def _status(pid: int) -> dict[str, str]:
    """/proc's lines about a process; none where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@dataclass(slots=True)
class Trial:
    """Where a scenario plays.

    kafka, store, topic, ends, rate, mutation, fleet_settings and clock_off_s hold for daemons started from then on.
    patience_s: how long anything may take.
    faults_over_at: wall times at which a fault was over and recovery began. supervised: whose Kafka client failed,
    which ends a daemon with 1, is started again. notes: what whoever reads the result should know.
    """

    folder: Path
    kafka: str
    store: str
    topic: str
    ends: dict[int, int]
    engine: Engine
    rate: float
    mutation: str = ""
    fleet_settings: str = ""
    patience_s: float = PATIENCE_S
    clock_off_s: float = 0.0
    group: str = field(default_factory=lambda: f"faults-{uuid4().hex[:8]}")
    session_timeout_s: float = 6.0
    snapshot_interval_s: float = 1.0
    commit_interval_s: float = 0.1
    daemons: list[Daemon] = field(default_factory=list)
    faults_over_at: list[float] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    supervised: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.ends.values())

    def start(self, failpoint: str = "", *options: str) -> Daemon:
        """A daemon, with a failpoint of `build`."""
        number = len(self.daemons)
        settings = self.folder / f"sensord-{number}.toml"
        settings.write_text(
            SETTINGS.format(
                kafka=self.kafka,
                group=self.group,
                session_timeout_s=self.session_timeout_s,
                snapshot_interval_s=self.snapshot_interval_s,
                commit_interval_s=self.commit_interval_s,
                store=self.store,
                fleet=FLEET,
                topic=self.topic,
                more=self.fleet_settings,
            )
        )
        environment = {
            "SENSORD_FAILPOINT": failpoint,
            "SENSORD_RATE": str(self.rate),
            "SENSORD_MUTATION": self.mutation,
            "SENSORD_CLOCK_OFF_S": str(self.clock_off_s),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
        }
        log = self.folder / f"daemon-{number}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.build", "--config", str(settings), "run", *options],
                stdout=stream,
                stderr=stream,
                cwd=self.folder,
                env=os.environ | environment,
            )
        daemon = Daemon(process, log)
        self.daemons.append(daemon)
        return daemon

    # --- waiting -----------------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], bool], what: str, patience_s: float | None = None) -> None:
        """Until a condition holds. Raises Stuck when patience ends, or a daemon does whose end nobody expects."""
        patience_s = self.patience_s if patience_s is None else patience_s
        deadline = time.monotonic() + patience_s
        while not condition():
            for daemon in self.daemons:
                daemon.look()
            self._supervise()
            died = [each for each in self.daemons if each.ended and each.expected is None]
            if died or time.monotonic() > deadline:
                why = f"a daemon ended with {died[0].process.returncode}" if died else f"{patience_s:.0f} s went by"
                raise Stuck(f"{why} before {what} (committed {self.committed()} of {self.ends})\n{self._testimony()}")
            time.sleep(LOOK_EVERY_S)

    def _testimony(self) -> str:
        """What those that ended last and those that run said last; the latter with their stacks."""
        running = [each for each in self.daemons if not each.ended]
        for daemon in running:
            daemon.process.send_signal(signal.SIGUSR1)
        time.sleep(STACKS_S)
        heard = [each for each in self.daemons[-2:] if each.ended]
        return "\n".join(f"--- {each.log_file.stem}\n{each.log[-6_000:]}" for each in (*heard, *running))

    def _supervise(self) -> None:
        for daemon in list(self.daemons) if self.supervised else ():
            if daemon.ended and daemon.expected is None and daemon.process.returncode == EXIT_FAILURE:
                daemon.expected = EXIT_FAILURE
                self.start()

    def wait_share(self, share: float) -> None:
        """Until this share of the topic is committed."""
        self.wait(lambda: sum(self.committed().values()) >= share * self.total, f"{share:.0%} of the topic")

    def wait_all(self, patience_s: float | None = None) -> None:
        self.wait(lambda: self.committed() == self.ends, "all was committed", patience_s)

    def wait_frozen(self, daemon: Daemon) -> None:
        self.wait(lambda: daemon.frozen, "the daemon froze at its failpoint")

    def wait_ended(self, daemon: Daemon, code: int) -> None:
        """Until a daemon ends by itself; with which code, the invariants judge."""
        daemon.expected = code
        self.wait(lambda: daemon.ended, f"the daemon ended with {code}")

    def wait_progress(self) -> None:
        """Until more is committed than now, or all is."""
        before = sum(self.committed().values())
        self.wait(lambda: sum(self.committed().values()) > before or self.committed() == self.ends, "another commit")

    def wait_log(self, daemon: Daemon, event: str) -> None:
        """Until a daemon says something."""
        self.wait(lambda: event in daemon.log, f"the daemon said {event!r}")

    def committed(self) -> dict[int, int]:
        """By partition, up to where; empty where the database does not answer."""
        p = partition_progress.c
        try:
            with self.engine.connect() as connection:
                rows = connection.execute(select(p.partition, p.next_offset).where(p.topic == self.topic))
                return {number: offset for number, offset in rows if offset}
        except DBAPIError:
            return {}

    def owners(self) -> int:
        """How many processes own partitions by the database's word."""
        with self.engine.connect() as connection:
            return connection.scalars(select(func.count(partition_progress.c.owner.distinct()))).one()

    # --- the end -----------------------------------------------------------------------------------------------------

    def fault_over(self) -> None:
        """From here on recovery is timed."""
        self.faults_over_at.append(time.time())

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Daemons can do nothing within this block but wait."""
        begun_at, before = time.time(), {daemon.process.pid: daemon.cpu_s for daemon in self.daemons}
        yield
        used = sum(max(daemon.cpu_s - before.get(daemon.process.pid, 0.0), 0.0) for daemon in self.daemons)
        over_at = time.time()
        self.outages.append(Outage(begun_at, over_at, used / (over_at - begun_at)))

    def finish(self, patience_s: float | None = None) -> None:
        """Wait until everything is committed, then ask whoever runs to drain."""
        self.wait_all(patience_s)
        for daemon in self.daemons:
            if not daemon.ended:
                daemon.stop()

    def stop_all(self) -> None:
        """End whoever still runs; after a scenario that went through, nobody does."""
        for daemon in self.daemons:
            if not daemon.ended:
                daemon.kill()

    def clear_away(self) -> None:
        """Leave no process behind, however the scenario ended."""
        for daemon in self.daemons:
            with suppress(ProcessLookupError):
                daemon.process.kill()
            daemon.process.wait()
        self.engine.dispose()
