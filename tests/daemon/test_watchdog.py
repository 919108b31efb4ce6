"""A loop that hangs ends the process; one that is alive never does."""

import subprocess
import sys
import threading

import pytest

from sensord.clock import ManualClock
from sensord.daemon.watchdog import Watchdog
from sensord.errors import EXIT_SOFTWARE


class Died(Exception):
    """In place of the process's end."""


def never_back() -> None:
    raise Died


def watchdog(clock: ManualClock, limit_s: float = 60) -> Watchdog:
    return Watchdog(clock, limit_s, die=never_back)


def test_a_loop_that_ticks_lives_on() -> None:
    clock = ManualClock()
    dog = watchdog(clock)
    for _ in range(10):
        clock.advance(59)
        dog.look()
        dog.tick()


def test_a_loop_that_hangs_is_ended_after_the_limit() -> None:
    clock = ManualClock()
    dog = watchdog(clock)
    clock.advance(60)
    dog.look()
    clock.advance(0.1)
    with pytest.raises(Died):
        dog.look()


def test_a_slow_start_is_no_hang() -> None:
    """Kafka may stay away for longer than the limit before the loop begins."""
    clock = ManualClock()
    dog = watchdog(clock)
    clock.advance(3_600)
    dog.start()
    try:
        dog.look()
    finally:
        dog.stop()


def test_its_thread_looks_by_itself() -> None:
    clock, died = ManualClock(), threading.Event()
    dog = Watchdog(clock, limit_s=5, die=died.set)
    dog.start()
    try:
        clock.advance(5.1)
        assert died.wait(timeout=10)
    finally:
        dog.stop()


def test_the_end_shows_where_every_thread_hangs() -> None:
    hanging = """
import threading
from sensord.daemon import watchdog

def a_hung_client():
    forever.wait()

forever = threading.Event()
threading.Thread(target=a_hung_client, daemon=True).start()
watchdog.die()
"""
    ended = subprocess.run([sys.executable, "-c", hanging], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == EXIT_SOFTWARE
    assert "in a_hung_client" in ended.stderr
    assert "in <module>" in ended.stderr
