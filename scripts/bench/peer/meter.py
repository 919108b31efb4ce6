"""Counts a peer's readings against the clock. Used by every peer."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

TOLD = "told.json"  # in a peer's folder; frameworks have their own ideas of what stdout is for


@dataclass(frozen=True, slots=True)
class Task:
    """What a peer is to do. weights: of the bundle that the daemon scores with. folder: for what it has to keep.
    group: its name on the broker. warm_up: readings that aren't timed; of total, or as many as seconds allow."""

    kafka: str
    topic: str
    partitions: int
    weights: Path
    folder: Path
    group: str
    warm_up: int
    total: int
    seconds: float


class Meter:
    """Times readings from the end of the warm-up on, then tells them and ends the process.

    At once: how a framework winds up is nobody's figure, and none can be asked to stop in the same way. packages: whose
    versions are told.
    """

    def __init__(self, task: Task, packages: Sequence[str]) -> None:
        self._task, self._packages = task, packages
        self._done = 0
        self._begun = 0.0

    def count(self) -> None:
        """One more reading is through."""
        self._done += 1
        if self._done <= self._task.warm_up:
            self._begun = time.perf_counter()
            return
        took = time.perf_counter() - self._begun
        if took >= self._task.seconds or self._done == self._task.total:
            self._tell(took)

    def _tell(self, seconds: float) -> None:
        versions = {name: metadata.version(name) for name in self._packages}
        told = {"readings": self._done - self._task.warm_up, "seconds": seconds, "versions": versions}
        (self._task.folder / TOLD).write_text(json.dumps(told))
        os._exit(0)
