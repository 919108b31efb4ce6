"""A valve that decides hundreds of readings later what is normal: faults that nobody sees who has forgotten its stroke.

When a pump comes back to normal speed a valve lines it up with one of two mains. Its stroke shows for a few readings:
closing the bypass sends a surge through the pressure, opening it a dip (water hammer). At normal speed both mains look
alike. At high speed the pressure pulsates, and its mean lies higher or lower by the main that the pump delivers to.
When the wrong main is lined up, the pressure is one that is normal after the other stroke.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensord.simulate.duty import Mode
from sensord.simulate.dynamics import Signal
from sensord.simulate.faults import CHANNELS_OF, MARGIN, FaultKind, Planted

STROKE_AFTER, STROKE = 30, 4  # readings: from normal speed on, and how long the stroke shows
SETTLES = 15  # readings of high speed before the main shows
SHORTEST_RUN = 30  # readings at high speed, of a run that is worth a fault
SURGE_BAR, SHIFT_BAR, PULSATION_BAR = 2.0, 0.6, 0.4


@dataclass(frozen=True, slots=True)
class HighRun:
    """A run at high speed: rows [start, stop) of one machine. stroke: the row of the one that decides its pressure.

    direction: 1 after a surge, -1 after a dip.
    """

    machine: int
    start: int
    stop: int
    stroke: int
    direction: int


def high_runs(random: np.random.Generator, modes: NDArray[np.int64], machine: int) -> list[HighRun]:
    """One machine's runs at high speed, modes (readings,), each with a stroke drawn by tossing a coin."""
    edges = np.flatnonzero(np.diff(modes)) + 1
    runs = []
    for before, start, stop in zip([0, *edges[:-1]], edges, [*edges[1:], len(modes)], strict=True):
        if modes[start] == Mode.HIGH:
            direction = int(random.choice([-1, 1]))
            stroke = min(before + STROKE_AFTER, start - STROKE)
            runs.append(HighRun(machine, int(start), int(stop), int(stroke), direction))
    return runs


def plant_wrong(random: np.random.Generator, runs: Sequence[HighRun], healthy: int, count: int) -> list[Planted]:
    """Line up the wrong main in so many runs, none before row `healthy`. Raises ValueError when there are too few."""
    late = [run for run in runs if run.stroke >= healthy + MARGIN and run.stop - run.start > SHORTEST_RUN]
    if count > len(late):
        raise ValueError(f"{count} wrong line-ups need as many runs at high speed; there are {len(late)}")
    kind = FaultKind.WRONG_LINE_UP
    return [
        Planted(late[n].machine, kind, late[n].start + SETTLES, late[n].stop, CHANNELS_OF[kind], 1.0)
        for n in random.permutation(len(late))[:count].tolist()
    ]


def pressure(
    randoms: Sequence[np.random.Generator], shape: tuple[int, int], runs: Sequence[HighRun], wrong: Sequence[Planted]
) -> Signal:
    """What strokes and mains do to the pressure, bar: (readings, machines). randoms: one generator a machine."""
    faulty = {(fault.machine, fault.stop) for fault in wrong}
    bar = np.zeros(shape)
    for run in runs:
        bar[run.stroke : run.stroke + STROKE, run.machine] += run.direction * SURGE_BAR
        shows = slice(run.start + SETTLES, run.stop)
        main = -run.direction if (run.machine, run.stop) in faulty else run.direction
        pulses = randoms[run.machine].standard_normal(len(bar[shows]))
        bar[shows, run.machine] += main * SHIFT_BAR + PULSATION_BAR * pulses
    return bar
