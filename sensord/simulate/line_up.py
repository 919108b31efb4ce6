"""A valve that decides long before what is normal: faults that nobody sees who has forgotten its stroke.

These pumps run round the clock. Ever and again a pump's valve turns to one of two mains, drawn by tossing a coin. Its
stroke shows for a few readings: the flow rises while the upper main fills, and falls while the lower one drains.
Hundreds of readings later a booster kicks, which draws a current, and the reading after it the pressure swings up in
the one main and down in the other. Nothing else tells the mains apart. A valve that is wired the wrong way round turns
to the main that it was not told: each of its swings, seen for itself, is one that is as frequent in health.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sensord.simulate.faults import CHANNELS_OF, MARGIN, Effects, FaultKind, Planted

STROKE = 4  # readings that the valve's stroke shows
GAP = (180, 220)  # readings from the stroke to the swing
REST = (20, 60)  # readings from a swing to the next stroke
SWINGS = 5  # that a valve wired the wrong way round gets wrong
STROKE_SHARE, KICK_SHARE = 0.15, 0.25  # of the flow, of the current
SWING_BAR = 2.0


@dataclass(frozen=True, slots=True)
class LineUp:
    """A machine's valve turns at row `stroke`, and at row `swing` the pressure tells where to.

    direction: 1 to the upper main, -1 to the lower one.
    """

    machine: int
    stroke: int
    swing: int
    direction: int


def line_ups(random: np.random.Generator, readings: int, machine: int) -> list[LineUp]:
    """One machine's, in time order."""
    found: list[LineUp] = []
    stroke = int(random.integers(*REST))
    while (swing := stroke + int(random.integers(*GAP, endpoint=True))) < readings:
        found.append(LineUp(machine, stroke, swing, int(random.choice([-1, 1]))))
        stroke = swing + int(random.integers(*REST, endpoint=True))
    return found


def plant_wrong(random: np.random.Generator, found: Sequence[LineUp], healthy: int, count: int) -> list[Planted]:
    """Wire so many valves the wrong way round for a while, none before row `healthy`.

    found: all machines', each in time order. Raises ValueError when there are too few.
    """
    spells = []
    for machine in sorted({each.machine for each in found}):
        late = [each for each in found if each.machine == machine and each.stroke >= healthy + MARGIN]
        spells += [late[first : first + SWINGS] for first in range(0, len(late) - SWINGS + 1, SWINGS + 1)]
    if count > len(spells):
        raise ValueError(f"{count} wrong line-ups need as many spells of {SWINGS} swings; there are {len(spells)}")
    kind = FaultKind.WRONG_LINE_UP
    chosen = [spells[n] for n in random.permutation(len(spells))[:count].tolist()]
    return [
        Planted(spell[0].machine, kind, spell[0].swing, spell[-1].swing + 1, CHANNELS_OF[kind], 1.0) for spell in chosen
    ]


def add(effects: Effects, found: Sequence[LineUp], wrong: Sequence[Planted]) -> None:
    """Write what strokes, kicks and swings do."""
    for each in found:
        faulty = any(fault.machine == each.machine and fault.start <= each.swing < fault.stop for fault in wrong)
        effects.flow_gain[each.stroke : each.stroke + STROKE, each.machine] *= 1 + each.direction * STROKE_SHARE
        effects.current_gain[each.swing - 1, each.machine] *= 1 + KICK_SHARE
        effects.pressure_bar[each.swing, each.machine] += SWING_BAR * (-each.direction if faulty else each.direction)
