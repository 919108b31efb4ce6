"""What becomes of several processes when one ends."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from sensord.clock import SystemClock
from sensord.daemon.supervisor import Supervisor
from sensord.daemon.workers import Workers

ENDED = 3
FILES = 1_000


def work(arguments: Sequence[str]) -> None:
    """The first one to start lets go of its files a moment before it ends, as a process that is killed does."""
    try:
        os.mkdir(arguments[0])
    except FileExistsError:
        time.sleep(20)
    parent = multiprocessing.parent_process()
    assert parent is not None
    os.closerange(0, parent.sentinel)
    os.closerange(parent.sentinel + 1, FILES)
    time.sleep(0.1)
    os._exit(ENDED)


@pytest.mark.parametrize("number", range(6))  # it was missed every other time
def test_the_end_of_a_worker_is_noticed_however_long_it_takes(tmp_path: Path, number: int) -> None:
    assert Workers(2, work, [str(tmp_path / "first")], Supervisor(None, SystemClock())).run() == ENDED
