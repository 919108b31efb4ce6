"""When a pump is off, runs, or runs high: a duty cycle with the pump's own habits."""

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

    A pump keeps its own dwell time per mode, give or take a fifth, and its own taste for high load. From off it always
    goes to normal; from high it goes back to normal.
    """
    usual = {mode: random.uniform(low, high) for mode, (low, high) in DWELL_READINGS.items()}
    taste_for_high = random.uniform(0.3, 0.7)
    modes = np.empty(readings, np.int64)
    mode, start = Mode.NORMAL, 0
    while start < readings:
        stop = start + max(1, round(usual[mode] * (1 + DWELL_SPREAD * random.standard_normal())))
        modes[start:stop] = mode
        start = stop
        mode = _after(mode, random.random() < taste_for_high)
    return modes


def _after(mode: Mode, high: bool) -> Mode:
    if mode is not Mode.NORMAL:
        return Mode.NORMAL
    return Mode.HIGH if high else Mode.OFF
