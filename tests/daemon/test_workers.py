"""What becomes of several processes when one ends."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
        os._exit(0)
    parent = multiprocessing.parent_process()
    assert parent is not None
    os.closerange(0, parent.sentinel)
    os.closerange(parent.sentinel + 1, FILES)
    time.sleep(0.2)
    os._exit(ENDED)


def test_the_end_of_a_worker_is_noticed_however_long_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come while the command is busy with what it has seen."""
    outcome = Workers._outcome

    def busy(*seen: Any) -> int:
        time.sleep(0.5)
        return outcome(*seen)

    monkeypatch.setattr(Workers, "_outcome", busy)
    assert Workers(2, work, [str(tmp_path / "first")], Supervisor(None, SystemClock())).run() == ENDED
