"""What systemd hears of the daemon."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sensord.clock import ManualClock
from sensord.daemon.supervisor import Supervisor


@pytest.fixture(params=["file", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd listens at, and its address as NOTIFY_SOCKET says it."""
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(name if request.param == "file" else "\0" + name)
        heard.setblocking(False)
        yield heard, name if request.param == "file" else "@" + name


def all_of(heard: socket.socket) -> list[str]:
    told = []
    while True:
        try:
            told.append(heard.recv(1_000).decode())
        except BlockingIOError:
            return told


def test_it_hears_what_it_is_told(listener: tuple[socket.socket, str]) -> None:
    heard, address = listener
    supervisor = Supervisor(address, ManualClock(0))
    supervisor.ready()
    supervisor.stopping()
    assert all_of(heard) == ["READY=1", "STOPPING=1"]
    supervisor.reloading()
    [told] = all_of(heard)
    assert told.startswith("RELOADING=1\nMONOTONIC_USEC=")


def test_it_hears_of_a_turn_at_most_once_a_second_and_of_a_status_once(listener: tuple[socket.socket, str]) -> None:
    heard, address = listener
    clock = ManualClock(0)
    supervisor = Supervisor(address, clock)
    for _ in range(25):
        supervisor.alive()
        supervisor.status("ready: 4 partitions")
        clock.advance(0.1)
    assert sorted(all_of(heard)) == ["STATUS=ready: 4 partitions", *["WATCHDOG=1"] * 3]


def test_nobody_need_listen(tmp_path: Path) -> None:
    for address in (None, str(tmp_path / "nobody")):
        Supervisor(address, ManualClock(0)).ready()
