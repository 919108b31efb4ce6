"""Faults planted into healthy recordings, made of what the recordings themselves vary by. Used by `verdict`.

Nobody has labels for every fleet. What a fault does here is what sensors show of many: a level that jumps or creeps, a
channel that grows noisy, sticks, or goes its own way beside the others.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import numpy as np

from sensord import spill
from sensord.readings import Floats
from sensord.trainer.events import Span
from sensord.trainer.offline import Recorded

LENGTH = 120  # readings that a fault lasts
BETWEEN = 180  # healthy readings before and after each, so that an alert is over before the next
LEVEL = 4.0  # standard deviations of the channel in its device
LOUDER = 3.0  # times as much as the channel moves from reading to reading


class Planted(StrEnum):
    """What is done to one channel."""

    JUMP = "jump"
    CREEP = "creep"
    NOISE = "noise"
    STUCK = "stuck"
    APART = "apart"


def plant(devices: Sequence[Recorded], begins: Mapping[str, int], seed: int) -> tuple[list[Recorded], list[Span]]:
    """Recordings with faults from the row on that `begins` names for each device, kinds in turn, and where they are.

    The same input gives the same faults. Devices with too little left stay as they are. Raises SpillFull.
    """
    rng, spoilt, spans = np.random.default_rng(seed), list[Recorded](), list[Span]()
    channels = devices[0].values.shape[1]
    copies = spill.rows([len(each.at) for each in devices], (channels,), np.float32)
    for device, values in zip(devices, copies, strict=True):
        values[:] = device.values
        for start in range(begins[device.device_id] + BETWEEN, len(device.at) - LENGTH, LENGTH + BETWEEN):
            rows = slice(start, start + LENGTH)
            kind = tuple(Planted)[len(spans) % len(Planted)]
            _spoil(values, rows, int(rng.integers(channels)), kind, rng)
            spans.append(Span(device.device_id, int(device.at[start]), int(device.at[rows.stop - 1])))
        spoilt.append(Recorded(device.device_id, device.at, values))
    return spoilt, spans


def _spoil(values: Floats, rows: slice, channel: int, kind: Planted, rng: np.random.Generator) -> None:
    """Plant one fault, in place."""
    healthy = values[: rows.start, channel]
    spread, moves = float(np.nanstd(healthy)), float(np.nanstd(np.diff(healthy)))
    values[rows, channel] = _DONE[kind](values[rows, channel], healthy, spread, moves, rng)


_DONE: Mapping[Planted, Callable[[Floats, Floats, float, float, np.random.Generator], Floats]] = {
    Planted.JUMP: lambda x, healthy, spread, moves, rng: x + np.float32(LEVEL * spread),
    Planted.CREEP: lambda x, healthy, spread, moves, rng: x + np.linspace(0, LEVEL * spread, len(x), dtype=np.float32),
    Planted.NOISE: lambda x, healthy, spread, moves, rng: x + rng.normal(0, LOUDER * moves, len(x)).astype(np.float32),
    Planted.STUCK: lambda x, healthy, spread, moves, rng: np.full_like(x, healthy[-1]),
    Planted.APART: lambda x, healthy, spread, moves, rng: rng.permutation(healthy)[: len(x)],
}
