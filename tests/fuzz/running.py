"""Runs a target on many inputs, counts what comes of it, and watches the memory."""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.targets import Target

BLOCK = 1_000  # inputs between two looks at memory and clock; also what a seed stands for
WARM_UP = 0.1  # of a run: caches fill, the allocator takes what it will need


@dataclass
class Outcome:
    """What came of a run so far. unnamed: block seeds and errors that no target may raise."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    unnamed: list[str] = field(default_factory=list)
    warm_mb: float = 0.0
    peak_mb: float = 0.0

    @property
    def rate(self) -> float:
        return self.inputs / self.seconds if self.seconds else 0.0

    @property
    def grown_mb(self) -> float:
        """Memory taken after the warm-up."""
        return max(self.peak_mb - self.warm_mb, 0.0) if self.warm_mb else 0.0


def run(
    target: Target,
    inputs: int,
    seed: int = 0,
    seconds: float = float("inf"),
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome:
    """Read so many inputs, or for so long; ends early at ten unnamed errors. The same seed gives the same inputs."""
    outcome = Outcome(target.name)
    begun = time.monotonic()
    for block in range(-(-inputs // BLOCK)):
        name = f"{seed}:{target.name}:{block}"
        read_block(target, name, min(BLOCK, inputs - outcome.inputs), outcome)
        outcome.seconds = time.monotonic() - begun
        _weigh(outcome, max(outcome.inputs / inputs, outcome.seconds / seconds))
        report(outcome)
        if outcome.seconds > seconds or len(outcome.unnamed) >= 10:
            break
    return outcome


def read_block(target: Target, name: str, inputs: int, outcome: Outcome) -> None:
    """One block of inputs, by the name of its seed."""
    rng = random.Random(name)
    for number in range(0, inputs, target.at_once):
        outcome.inputs += target.at_once
        try:
            target.read(rng)
        except target.errors as error:
            outcome.errors[type(error).__name__] += 1
        except Exception as error:  # noqa: BLE001  # just these are looked for
            outcome.errors[type(error).__name__] += 1
            outcome.unnamed.append(f"{name} input {number}: {type(error).__name__}: {str(error)[:200]}")
        else:
            outcome.errors["read"] += target.at_once


def _weigh(outcome: Outcome, done: float) -> None:
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4_096 / 1e6
    outcome.peak_mb = max(outcome.peak_mb, resident)
    if done <= WARM_UP:
        outcome.warm_mb = outcome.peak_mb
