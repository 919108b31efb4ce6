"""Six ways for a pump to fail: what each does to the physics, and where faults are planted.

A fault's effects are written into `Effects`, which `pump` applies. All but a stuck sensor act through the running
pump, so they are planted where it runs most of the time. A seventh, the wrong line-up, has `line_up` to itself.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sensord.simulate.duty import Mode
from sensord.simulate.dynamics import Signal


class FaultKind(StrEnum):
    """What is wrong with the pump."""

    BEARING_WEAR = "bearing_wear"
    BLOCKAGE = "blockage"
    CAVITATION = "cavitation"
    LEAK = "leak"
    OVERHEATING = "overheating"
    SENSOR_STUCK = "sensor_stuck"
    WRONG_LINE_UP = "wrong_line_up"


IN_TURN = tuple(kind for kind in FaultKind if kind is not FaultKind.WRONG_LINE_UP)


CHANNELS_OF = {
    FaultKind.BEARING_WEAR: ("vibration", "bearing_temperature"),
    FaultKind.BLOCKAGE: ("flow", "pressure", "current"),
    FaultKind.CAVITATION: ("vibration", "pressure", "flow"),
    FaultKind.LEAK: ("flow", "pressure"),
    FaultKind.OVERHEATING: ("temperature",),
    FaultKind.WRONG_LINE_UP: ("pressure",),
}
STICKING = ("vibration", "current", "pressure", "flow")

SHORTEST, LONGEST = 120, 300  # readings a fault lasts
MARGIN = 60  # readings kept healthy before and after each fault
RUNNING_ENOUGH = 0.7  # of a fault's readings


@dataclass(frozen=True, slots=True)
class Fault:
    """Ground truth of one fault; start_at and end_at in microseconds UTC, end_at is the last faulty reading's."""

    device_id: str
    kind: FaultKind
    start_at: int
    end_at: int
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault before it has a name and a time: machine number and rows [start, stop)."""

    machine: int
    kind: FaultKind
    start: int
    stop: int
    channels: tuple[str, ...]
    strength: float


@dataclass(frozen=True, slots=True)
class Effects:
    """What all faults together do, per reading and machine; every array (readings, machines), neutral at first."""

    vibration_mm_s: Signal
    bearing_heat_c: Signal
    flow_gain: Signal
    pressure_bar: Signal
    current_gain: Signal
    heat_gain: Signal

    @classmethod
    def none(cls, readings: int, machines: int) -> Self:
        shape = (readings, machines)
        return cls(
            vibration_mm_s=np.zeros(shape),
            bearing_heat_c=np.zeros(shape),
            flow_gain=np.ones(shape),
            pressure_bar=np.zeros(shape),
            current_gain=np.ones(shape),
            heat_gain=np.ones(shape),
        )

    def add(self, fault: Planted, random: np.random.Generator) -> None:
        """Write one fault into the arrays. A stuck sensor is `stick`'s business, a line-up `line_up`'s."""
        here = (slice(fault.start, fault.stop), fault.machine)
        length, strength = fault.stop - fault.start, fault.strength
        match fault.kind:
            case FaultKind.BEARING_WEAR:
                wear = strength * ramp(length, 0.8)
                self.vibration_mm_s[here] += 1.3 * wear
                self.bearing_heat_c[here] += 12.0 * wear
            case FaultKind.BLOCKAGE:
                closed = strength * ramp(length, 0.4)
                self.flow_gain[here] *= 1 - 0.3 * closed
                self.pressure_bar[here] += 0.8 * closed
                self.current_gain[here] *= 1 + 0.12 * closed
            case FaultKind.CAVITATION:
                self.vibration_mm_s[here] += strength * bursts(random, length)
                self.pressure_bar[here] += strength * 0.22 * random.standard_normal(length)
                self.flow_gain[here] *= 1 - 0.04 * strength
            case FaultKind.LEAK:
                lost = strength * ramp(length, 0.2)
                self.flow_gain[here] *= 1 - 0.18 * lost  # before the flow meter: both fall, demand moves them apart
                self.pressure_bar[here] -= 0.8 * lost
            case FaultKind.OVERHEATING:
                self.heat_gain[here] *= 1 + 0.9 * strength
            case FaultKind.SENSOR_STUCK | FaultKind.WRONG_LINE_UP:
                pass


def ramp(length: int, rise: float) -> NDArray[np.float64]:
    """From 0 up to 1 over the first `rise` share of the length, then 1: (length,)."""
    return np.minimum(1.0, np.arange(1, length + 1) / (rise * length))


def bursts(random: np.random.Generator, length: int) -> NDArray[np.float64]:
    """Collapsing bubbles: hits of a few readings that come and go, mean about 0.7: (length,)."""
    struck = np.repeat(random.random(length // 4 + 1) < 0.6, 4)[:length]
    return struck * random.gamma(4.0, 0.3, length)


def stick(values: NDArray[np.float64], column: int, fault: Planted) -> None:
    """Freeze one channel at its last good value. values: (readings, machines, channels), changed in place."""
    values[fault.start : fault.stop, fault.machine, column] = values[fault.start - 1, fault.machine, column]


def plant(
    random: np.random.Generator, modes: NDArray[np.int64], healthy: int, count: int, severity: float
) -> list[Planted]:
    """Spread faults over machines and time, kinds in turn, none before row `healthy`.

    modes: (readings, machines). A machine gets a second fault only when all have one. Raises ValueError when the
    faults don't fit behind the healthy part.
    """
    readings, machines = modes.shape
    rounds = -(-count // machines)
    span = (readings - healthy) // max(rounds, 1)
    if count and span < SHORTEST + 2 * MARGIN:
        needed = rounds * (SHORTEST + 2 * MARGIN)
        raise ValueError(
            f"{count} faults on {machines} devices need at least {needed} readings after the healthy ones, "
            f"there are {readings - healthy}"
        )
    order = np.concatenate([random.permutation(machines) for _ in range(rounds)]) if count else np.empty(0, np.int64)
    planted = []
    for number in range(count):
        begin = healthy + (number // machines) * span
        machine, kind = int(order[number]), IN_TURN[number % len(IN_TURN)]
        length = int(random.integers(SHORTEST, min(LONGEST, span - 2 * MARGIN) + 1))
        starts = np.arange(begin + MARGIN, begin + span - MARGIN - length + 1)
        start = _place(random, modes[:, machine], kind, starts, length)
        channels = CHANNELS_OF.get(kind) or (str(random.choice(STICKING)),)
        strength = severity * random.uniform(0.85, 1.2)
        planted.append(Planted(machine, kind, start, start + length, channels, strength))
    return planted


def _place(
    random: np.random.Generator, modes: NDArray[np.int64], kind: FaultKind, starts: NDArray[np.int64], length: int
) -> int:
    """A start row from which the pump runs for most of the fault, else where it runs most.

    modes: (readings,). A stuck sensor shows when the pump changes mode: it must, in the first half of the fault.
    """
    running = _running_sum(modes != Mode.OFF)
    changed = _running_sum(np.diff(modes, prepend=modes[0]) != 0)
    share = (running[starts + length] - running[starts]) / length
    good = (share >= RUNNING_ENOUGH) & (modes[starts] != Mode.OFF)
    if kind is FaultKind.SENSOR_STUCK:
        good &= changed[starts + length // 2] > changed[starts]
    return int(random.choice(starts[good])) if good.any() else int(starts[np.argmax(share)])


def _running_sum(facts: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many facts hold before each row: (rows + 1,)."""
    return np.concatenate([[0], np.cumsum(facts)])
