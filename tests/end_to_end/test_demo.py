"""scripts/demo as a person runs it: what it finds, what it writes, and that it leaves nothing running."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from sensord.store.alerts import AlertFilter, list_alerts
from sensord.store.database import open_engine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DEMO = Path(__file__).parents[2] / "scripts" / "demo"
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Played:
    """A demo that ended."""

    folder: Path
    code: int
    said: str

    @property
    def daemon_pid(self) -> int:
        return int(self.told(r"process (\d+), 4 partitions adopted"))

    @property
    def broker_port(self) -> int:
        return int(self.told(r"127\.0\.0\.1:(\d+), topic"))

    def told(self, pattern: str) -> str:
        found = re.search(pattern, self.said)
        assert found, self.said
        return found[1]


def play(folder: Path, interrupt_after: str | None = None) -> Played:
    """Run the demo; interrupt it from the keyboard once it has said something."""
    said = ""
    with subprocess.Popen(
        [DEMO, "--out", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        for line in process.stdout or ():
            said += line
            if interrupt_after is not None and interrupt_after in line:
                os.killpg(process.pid, signal.SIGINT)
    return Played(folder, process.returncode, said)


def running_in(folder: Path) -> Iterator[str]:
    """Command lines of processes that work in a folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, PermissionError, ProcessLookupError):
            if (entry / "cwd").readlink() == folder:
                yield (entry / "cmdline").read_text().replace("\0", " ")


def assert_nothing_runs(played: Played) -> None:
    assert not Path(f"/proc/{played.daemon_pid}").exists()
    assert list(running_in(played.folder)) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", played.broker_port), timeout=1)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """One demo for all tests that only look at it."""
    return play(tmp_path_factory.mktemp("demo") / "out")


def test_last_line_tells_that_most_faults_are_found_and_no_more_is_said_than_is_true(played: Played) -> None:
    assert played.code == 0, played.said
    last = played.said.splitlines()[-1]
    counted = re.fullmatch(r"demo: found (\d+) of 12 faults, (\d+) false alerts, 40000 readings", last)
    assert counted, last
    assert int(counted[1]) >= 6
    assert int(counted[2]) <= 6


def test_report_has_a_picture_of_every_device_that_alerted_and_of_every_fault(played: Played) -> None:
    engine = open_engine(f"sqlite:///{played.folder / 'sensord.db'}")
    alerted = {alert.device_id for alert in list_alerts(engine, AlertFilter())}
    engine.dispose()
    faulty = {fault["device_id"] for fault in json.loads((played.folder / "truth.json").read_bytes())["faults"]}
    cards = (played.folder / "report.html").read_text().split('<section class="card" id="')[1:]
    assert alerted
    assert {card.partition('"')[0] for card in cards if "<svg" in card} == alerted | faulty


def test_daemon_drained_and_nothing_is_left_running(played: Played) -> None:
    last = json.loads((played.folder / "daemon.log").read_text().splitlines()[-1])
    assert last["event"] == "drained"
    assert "exit code 0" in played.said
    assert_nothing_runs(played)


def test_interrupted_from_the_keyboard_it_stops_daemon_and_broker(tmp_path: Path) -> None:
    interrupted = play(tmp_path / "out", interrupt_after="partitions adopted")
    assert interrupted.code == EXIT_INTERRUPTED, interrupted.said
    assert_nothing_runs(interrupted)
