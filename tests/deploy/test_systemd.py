"""The units are what systemd understands, and leave the daemon nothing that it doesn't need."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from sensord.settings import DaemonSettings

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = (
    "sensord.service", "sensord@.service", "sensord-train.service", "sensord-notify.service", "sensord-web.service",
)  # fmt: skip
EXPOSURE = 2.0  # of 10, at most

if shutil.which("systemd-analyze") is None:
    if os.environ.get("CI") == "true":
        pytest.fail("systemd-analyze is needed")
    pytest.skip("systemd-analyze is not there", allow_module_level=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system that has the units, and what they start."""
    system = tmp_path / "etc" / "systemd" / "system"
    system.mkdir(parents=True)
    for unit in UNITS.glob("*.*"):
        shutil.copy(unit, system)
    shutil.copy(system / "sensord@.service", system / "sensord@pumps.service")
    for program in ("opt/sensord/bin/sensord", "bin/kill"):
        file = tmp_path / program
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    return tmp_path


def analyze(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["systemd-analyze", *arguments, f"--root={root}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def verify(root: Path) -> "subprocess.CompletedProcess[str]":
    units = [*(name for name in SERVICES if "@" not in name), "sensord@pumps.service", "sensord-train.timer"]
    return analyze(root, "verify", "--man=no", "--recursive-errors=no", *units)


def test_systemd_understands_every_line(root: Path) -> None:
    done = verify(root)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", ["sensord.service", "sensord-train.timer"])
def test_a_line_that_it_does_not_understand_would_be_noticed(root: Path, unit: str) -> None:
    file = root / "etc" / "systemd" / "system" / unit
    file.write_text(re.sub(r"^(WatchdogSec|Persistent)=", r"\1s=", file.read_text(), flags=re.MULTILINE))
    assert verify(root).returncode != 0


@pytest.mark.parametrize(
    "service",
    [
        "sensord.service",
        "sensord@pumps.service",
        "sensord-train.service",
        "sensord-notify.service",
        "sensord-web.service",
    ],
)
def test_a_service_is_hardly_exposed(root: Path, service: str) -> None:
    done = analyze(root, "security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}", service)
    assert done.returncode == 0, done.stdout[-200:]
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure
    assert float(exposure[1]) <= EXPOSURE


def test_what_compiles_and_looks_at_the_processor_is_not_kept_from_it() -> None:
    for service in SERVICES:
        assert not re.search("^(MemoryDenyWriteExecute|ProcSubset)=", (UNITS / service).read_text(), re.MULTILINE)


def test_all_services_are_hardened_alike() -> None:
    def hardening(name: str) -> Sequence[str]:
        text = (UNITS / name).read_text()
        return text[text.index("NoNewPrivileges") :].partition("\n\n")[0].strip().splitlines()

    assert all(hardening(name) == hardening("sensord.service") for name in SERVICES)


def test_daemons_of_one_host_are_given_no_settings_in_common() -> None:
    """Not the port above all, which only one of them could have."""
    files = re.findall(r"^EnvironmentFile=(.*)$", (UNITS / "sensord@.service").read_text(), re.MULTILINE)
    assert files == ["-/etc/sensord/%i.env"]
    assert "SENSORD_HTTP__PORT" in (UNITS / "sensord.env").read_text()


def test_the_times_leave_the_daemon_its_own() -> None:
    daemon, text = DaemonSettings(), (UNITS / "sensord.service").read_text()
    seconds = {name: float(value) for name, value in re.findall(r"^(\w+Sec)=(\d+)$", text, re.MULTILINE)}
    assert seconds["WatchdogSec"] > daemon.watchdog_s + 10
    assert seconds["TimeoutStopSec"] > daemon.drain_timeout_s + 10


def test_whoever_is_named_is_made(root: Path) -> None:
    users = root / "usr" / "lib" / "sysusers.d"
    users.mkdir(parents=True)
    shutil.copy(UNITS / "sensord.sysusers", users / "sensord.conf")
    subprocess.run(["systemd-sysusers", f"--root={root}"], check=True, capture_output=True, timeout=60)
    assert "sensord:" in (root / "etc" / "passwd").read_text()
    folders = root / "usr" / "lib" / "tmpfiles.d"
    folders.mkdir(parents=True)
    shutil.copy(UNITS / "sensord.tmpfiles", folders / "sensord.conf")
    subprocess.run(["systemd-tmpfiles", "--create", f"--root={root}"], check=True, capture_output=True, timeout=60)
    assert (root / "etc" / "sensord" / "credentials").stat().st_mode & 0o777 == 0o700
