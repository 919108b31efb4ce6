"""What signals do to a process, as the process's own end shows."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sensord.errors import EXIT_FAILURE, EXIT_OK

DAEMON = """
import ctypes, sys, time
from sensord.daemon.signals import Stop

stop = Stop(drain_timeout_s=float(sys.argv[1]))
stop.listen()
if sys.argv[2] != "start":
    stop.hold()
print("listening", flush=True)
if sys.argv[2] == "native":
    lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)
    lock(mutex), lock(mutex)
while not stop.requested:
    time.sleep(0.01)
    if stop.take_reload():
        print("reloading", flush=True)
print("draining", flush=True)
while sys.argv[2] == "hang":
    time.sleep(0.01)
print("drained", flush=True)
"""
Daemon = subprocess.Popen[str]


@contextmanager
def daemon(then: str, drain_timeout_s: float = 30) -> Iterator[Daemon]:
    """A process that listens and then works, hangs in its drain, is still at its start, or waits in native code for
    ever."""
    command = [sys.executable, "-c", DAEMON, str(drain_timeout_s), then]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            said(process, "listening")
            yield process
        finally:
            process.kill()


def said(process: Daemon, word: str) -> None:
    assert process.stdout
    assert process.stdout.readline().strip() == word


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_for_a_drain(number: signal.Signals) -> None:
    with daemon("work") as process:
        process.send_signal(number)
        said(process, "draining")
        said(process, "drained")
        assert process.wait(10) == EXIT_OK


def test_the_second_signal_ends_at_once() -> None:
    with daemon("hang") as process:
        process.send_signal(signal.SIGTERM)
        said(process, "draining")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == EXIT_FAILURE


def test_a_drain_that_hangs_is_cut_short_and_shows_where() -> None:
    with daemon("hang", drain_timeout_s=0.1) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == EXIT_FAILURE
        assert process.stderr
        assert "most recent call first" in process.stderr.read()


def test_what_hangs_in_native_code_is_cut_short_too() -> None:
    with daemon("native", drain_timeout_s=0.1) as process:
        while "S (sleeping)" not in Path(f"/proc/{process.pid}/status").read_text():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == EXIT_FAILURE


def test_before_there_is_anything_to_drain_a_signal_just_ends_the_process() -> None:
    with daemon("start") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == EXIT_OK
        assert process.stdout
        assert process.stdout.read() == ""


def test_a_hangup_asks_to_reload_and_ends_nothing() -> None:
    with daemon("hang") as process:
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            said(process, "reloading")
        process.send_signal(signal.SIGTERM)
        said(process, "draining")
        process.send_signal(signal.SIGHUP)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == EXIT_FAILURE


def test_usr1_shows_the_stacks_and_the_work_goes_on() -> None:
    with daemon("work") as process:
        assert process.stderr
        process.send_signal(signal.SIGUSR1)
        assert "most recent call first" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        said(process, "draining")
