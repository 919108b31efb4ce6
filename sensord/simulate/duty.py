"""When a pump is off, runs, or runs high: a duty cycle with the pump's own habits."""

from collections.abc import Iterator
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Mode(IntEnum):
    """What the pump is told to do."""

    OFF = 0
    NORMAL = 1
    HIGH = 2


DWELL_READINGS = {Mode.OFF: (60, 140), Mode.NORMAL: (180, 420), Mode.HIGH: (70, 180)}
DWELL_SPREAD = 0.2  # of one dwell around the pump's usual


def duty_cycle(random: np.random.Generator, readings: int) -> NDArray[np.int64]:
    """The mode at each reading: (readings,).

    A pump keeps its own dwell time in each mode, give or take a fifth.
    """
    usual = {mode: random.uniform(low, high) for mode, (low, high) in DWELL_READINGS.items()}
    modes = np.empty(readings, np.int64)
    start = 0
    for mode in _modes(random):
        stop = start + max(1, round(usual[mode] * (1 + DWELL_SPREAD * random.standard_normal())))
        modes[start:stop] = mode
        start = stop
        if start >= readings:
            break
    return modes


def _modes(random: np.random.Generator) -> Iterator[Mode]:
    """Normal, and between two normals off or high: of five excursions two or three are high, in any order.

    So no pump goes for long without one of its modes, and history that spans a few thousand readings has seen all.
    """
    highs = int(random.integers(2, 4))
    while True:
        for excursion in random.permutation([Mode.HIGH] * highs + [Mode.OFF] * (5 - highs)):
            yield Mode.NORMAL
            yield Mode(excursion)
