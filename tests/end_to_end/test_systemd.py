"""The daemon under a real systemd: starts, tells, reloads, is killed where it hangs, is upgraded, stops.

A container of systemd-nspawn with this machine's own programs and network; needs root, and systemd-container.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from sensord import compiled
from sensord.settings import KafkaSettings
from sensord.stream.cluster import Cluster
from tests.end_to_end.plant import Plant, wait_for
from tests.end_to_end.test_workers import send

HOUSE = Path(__file__).parents[2]
UNITS = HOUSE / "deploy" / "systemd"
NEEDED = ("systemd-nspawn", "nsenter")
BOOT_S = 60
ETC = ("passwd", "group", "shadow", "nsswitch.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "login.defs")
FASTER = """\
[Service]
WatchdogSec=12
RestartSec=1
# of this machine: its Python lies in a home
ProtectHome=no
Environment=SENSORD_DAEMON__WATCHDOG_S=60 SENSORD_MODEL__PROBATION_S=0
"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        os.getuid() != 0 or None in map(shutil.which, NEEDED), reason=f"needs root, and {' and '.join(NEEDED)}"
    ),
]


@dataclass
class Machine:
    """A booted system. leader: its first process, as seen from here."""

    root: Path
    leader: int

    def run(self, *command: str, fails: bool = False) -> str:
        """A command's output; it has to end well unless it may fail."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-p", *command],
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert fails or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.log()}"
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", unit, f"--property={name}", "--value")

    def log(self) -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit=sensord.service", fails=True)


@contextmanager
def booted(root: Path) -> Iterator[Machine]:
    seen = [f"--bind-ro={path}" for path in ("/usr", sys.base_prefix, str(HOUSE))]
    command = ["systemd-nspawn", f"--directory={root}", *seen, "--register=no", "--keep-unit", "--boot"]
    with (root.parent / "boot.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        machine = Machine(root, _leader(process))
        wait_for(
            lambda: machine.run("systemctl", "is-system-running", fails=True) in ("running", "degraded"),
            [],
            "the system has booted",
        )
        yield machine
    finally:
        process.terminate()  # has it power off
        process.wait(60)


def _leader(process: "subprocess.Popen[bytes]") -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + BOOT_S
    while not (found := children.read_text().split()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return int(found[0])


def furnish(root: Path) -> None:
    """A system of links to this one's programs, with sensord where the units expect it."""
    for folder in (
        "etc/systemd/system",
        "usr",
        "var/lib",
        "tmp",
        "run",
        "proc",
        "sys",
        "dev",
        "root",
        "opt/sensord/bin",
    ):
        (root / folder).mkdir(parents=True)
    for link in ("bin", "sbin", "lib", "lib64"):
        (root / link).symlink_to(f"usr/{link}")
    for name in ETC:
        source = Path("/etc") / name
        if source.is_dir():
            shutil.copytree(source, root / "etc" / name)
        elif source.exists():
            shutil.copy(source, root / "etc" / name)
    (root / "etc" / "machine-id").touch()
    shutil.copy("/usr/lib/os-release", root / "etc" / "os-release")
    started = root / "opt" / "sensord" / "bin" / "sensord"
    started.write_text(f'#!/bin/sh\nexec {HOUSE}/.venv/bin/python -m sensord "$@"\n')
    started.chmod(0o755)


def install(machine: Machine, plant: Plant) -> None:
    """As README says, and the machine code that is there already: to compile it anew takes minutes."""
    root, system = machine.root, machine.root / "etc" / "systemd" / "system"
    for unit in (*UNITS.glob("*.service"), *UNITS.glob("*.timer")):
        shutil.copy(unit, system)
    for kind in ("sysusers", "tmpfiles"):
        (root / "etc" / f"{kind}.d").mkdir(exist_ok=True)
        shutil.copy(UNITS / f"sensord.{kind}", root / "etc" / f"{kind}.d" / "sensord.conf")
    machine.run("systemd-sysusers")
    machine.run("systemd-tmpfiles", "--create")
    shutil.copy(UNITS / "sensord.env", root / "etc" / "sensord" / "sensord.env")
    shutil.copy(plant.settings, root / "etc" / "sensord" / "sensord.toml")
    (system / "sensord.service.d").mkdir()
    (system / "sensord.service.d" / "faster.conf").write_text(FASTER)
    if compiled.FOLDER is not None:
        cache = root / "var" / "lib" / "sensord" / ".cache" / "sensord" / compiled.FOLDER.name
        shutil.copytree(compiled.FOLDER, cache)
    machine.run("chown", "-R", "sensord:sensord", "/var/lib/sensord")
    machine.run("chown", "-R", "root:sensord", "/etc/sensord")
    machine.run("systemctl", "daemon-reload")


@pytest.fixture
def plant(tmp_path: Path, kafka: str, postgres_url: str) -> Iterator[Plant]:
    made = Plant(tmp_path / "plant", kafka, postgres_url, f"readings-{uuid4().hex[:8]}")
    made.settings.write_text(made.settings.read_text().replace("snapshot_interval_s = 2", "snapshot_interval_s = 600"))
    with Cluster(KafkaSettings(bootstrap_servers=kafka)) as cluster:
        cluster.create(made.topic, partitions=4)
    made.sensord("db", "upgrade")
    made.promote()
    yield made
    made.close()


def test_a_life_under_systemd(plant: Plant, tmp_path: Path) -> None:
    root = tmp_path / "machine"
    furnish(root)
    with booted(root) as machine:
        install(machine, plant)
        machine.run("systemctl", "start", "sensord.service")  # returns when it says that it is ready
        assert machine.show("sensord.service", "ActiveState") == "active"
        send(plant, 0)
        plant.wait_until_committed([])
        wait_for(
            lambda: machine.show("sensord.service", "StatusText") == "ready: 4 partitions",
            [],
            "what it tells of itself",
        )
        first = machine.show("sensord.service", "MainPID")

        new = plant.promote(seed=3)
        machine.run("systemctl", "reload", "sensord.service")
        wait_for(lambda: f'"new": "{new}"' in machine.log(), [], "the promoted bundle scores")
        assert machine.show("sensord.service", "MainPID") == first

        machine.run("systemctl", "kill", "--signal=SIGSTOP", "sensord.service")
        wait_for(lambda: machine.show("sensord.service", "NRestarts") == "1", [], "its watchdog has killed it")
        wait_for(lambda: machine.show("sensord.service", "ActiveState") == "active", [], "it is back")
        send(plant, 1)
        plant.wait_until_committed([])

        plant.sensord("db", "upgrade")
        machine.run("systemctl", "restart", "sensord.service")
        send(plant, 2)
        plant.wait_until_committed([])
        assert machine.log().count('"drained"') == 1

        machine.run("systemctl", "stop", "sensord.service")
        assert machine.show("sensord.service", "Result") == "success"
        assert machine.log().count('"drained"') == 2

        machine.run("systemctl", "enable", "--now", "sensord-train.timer")
        assert "sensord-train.service" in machine.run("systemctl", "list-timers", "--no-pager", "--all")
