"""Server processes: a free port, a log that is shown when the start fails, and an end that leaves nothing behind."""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
PORTS = range(20_000, 32_000)  # below the ephemeral range, whose ports outgoing connections take at any time
FOLDERS = "sensord-services-"


class ServerUnavailable(Exception):
    """This machine can't run the server: a program is missing and can't be fetched. Names it."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where it listens (HOST:PORT, or a URL for a database) and its process."""

    address: str
    pid: int


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def temporary_folder(owner: str | None = None) -> Iterator[Path]:
    """A folder in the system's temporary place, given to `owner` where one is named, gone afterwards.

    Its name holds our process id: the next caller removes what a killed process left.
    """
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{os.getpid()}-"))
    try:
        if owner:
            shutil.chown(folder, owner)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*-*"):
        maker = folder.name.removeprefix(FOLDERS).split("-")[0]
        if not Path("/proc", maker).exists():
            shutil.rmtree(folder, ignore_errors=True)


def as_user(user: str | None) -> list[str]:
    """Options that make setpriv change to a user; none for None."""
    if user is None:
        return []
    entry = pwd.getpwnam(user)
    return [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups"]


def must_run(command: Sequence[str]) -> str:
    """Run a preparing command and return what it prints. Raises RuntimeError with its output when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    ready: Callable[[], bool],
    stop_signal: signal.Signals = signal.SIGTERM,
    user: str | None = None,
) -> Iterator[int]:
    """Run a server until the block ends; yields its process id once `ready` says yes.

    The server also gets stop_signal when this process dies (bound to the calling thread: start from the main one).
    Raises RuntimeError with the log's tail when it ends early or isn't ready in time.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["setpriv", f"--pdeathsig={stop_signal.name.removeprefix('SIG')}", *as_user(user), *command],
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the tests, which then stop their servers in order
        )
    try:
        _wait_until_ready(process, ready, log)
        yield process.pid
    finally:
        _stop(process, stop_signal)


def _wait_until_ready(process: "subprocess.Popen[bytes]", ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            state = "isn't ready" if process.returncode is None else f"ended with {process.returncode}"
            raise RuntimeError(f"{process.args!r} {state}:\n{log.read_text(errors='replace')[-4_000:]}")
        time.sleep(0.05)


def _stop(process: "subprocess.Popen[bytes]", stop_signal: signal.Signals) -> None:
    process.send_signal(stop_signal)
    process.send_signal(signal.SIGCONT)  # a test may have frozen it
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
