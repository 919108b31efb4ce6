"""Runs of anomalous readings: calm -> pending -> open -> clearing -> closed, vectorised over a wave.

`fleet` drives it and turns the transitions into alerts. All counting is in readings, all times are event time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensord.detection.devices import Devices
from sensord.detection.scorer import Flags, Scored
from sensord.model.bundle import Tuning
from sensord.readings import Floats, Integers

CALM, PENDING, OPEN, CLEARING = np.uint8(0), np.uint8(1), np.uint8(2), np.uint8(3)


@dataclass(frozen=True, slots=True)
class Transitions:
    """Slots that changed in one wave, and those whose open episode moved on."""

    opened: Integers
    escalated: Integers
    closed: Integers
    moved: Integers


@dataclass(frozen=True, slots=True)
class Instant:
    """Where in the log, and when, each reading of a wave stands; n rows."""

    slots: Integers
    at: Integers
    offsets: Integers
    positions: Integers


def advance(devices: Devices, wave: Instant, scored: Scored, tuning: Tuning) -> Transitions:
    """Move the episodes of a wave's devices by one reading."""
    busy = scored.alarmed | (devices.phase[wave.slots] != CALM)
    slots = wave.slots[busy]
    alarmed, score = scored.alarmed[busy], scored.score[busy]
    at, offsets, positions = wave.at[busy], wave.offsets[busy], wave.positions[busy]
    phase = devices.phase[slots]

    begins = alarmed & (phase == CALM)
    _begin(
        devices,
        slots[begins],
        at[begins],
        offsets[begins],
        positions[begins],
        score[begins],
        scored.limit[busy][begins],
    )
    _extend(devices, slots[alarmed], at[alarmed], offsets[alarmed], score[alarmed])
    was_open = (phase == OPEN) | (phase == CLEARING)
    devices.score_last[slots[was_open]] = score[was_open]

    run = _count(devices, slots, phase, alarmed)
    opened = alarmed & ~was_open & (run >= tuning.open_after)
    closed = ~alarmed & was_open & (run >= tuning.close_after)
    after = np.select(
        [opened | (alarmed & was_open), alarmed, closed | ~was_open], [OPEN, PENDING, CALM], CLEARING
    ).astype(np.uint8)
    devices.phase[slots] = after
    devices.run[slots[opened]] = 0
    escalated = _escalate(devices, slots[(after == OPEN)], tuning)
    return Transitions(slots[opened], np.setdiff1d(escalated, slots[opened]), slots[closed], slots[was_open & ~closed])


def _begin(
    devices: Devices,
    slots: Integers,
    at: Integers,
    offsets: Integers,
    positions: Integers,
    score: Floats,
    limit: Floats,
) -> None:
    devices.opened_at[slots] = at
    devices.first_offset[slots] = offsets
    devices.first_position[slots] = positions
    devices.score_first[slots] = score
    devices.score_last[slots] = score
    devices.score_peak[slots] = 0
    devices.threshold[slots] = limit
    devices.readings[slots] = 0
    devices.critical[slots] = False


def _extend(devices: Devices, slots: Integers, at: Integers, offsets: Integers, score: Floats) -> None:
    devices.last_seen_at[slots] = at
    devices.last_offset[slots] = offsets
    devices.score_last[slots] = score
    devices.score_peak[slots] = np.maximum(devices.score_peak[slots], score)
    devices.readings[slots] += 1


def _count(devices: Devices, slots: Integers, phase: NDArray[np.uint8], alarmed: Flags) -> NDArray[np.int32]:
    """Readings in a row that speak for the next change: alarmed ones until it opens, calm ones until it closes."""
    goes_on = np.select([phase == PENDING, phase == CLEARING], [alarmed, ~alarmed], False)
    counts_now = np.where((phase == CALM) | (phase == PENDING), alarmed, ~alarmed)
    run = np.where(counts_now, np.where(goes_on, devices.run[slots], 0) + 1, 0).astype(np.int32)
    devices.run[slots] = run
    return run


def _escalate(devices: Devices, slots: Integers, tuning: Tuning) -> Integers:
    beyond = devices.score_peak[slots] > np.float32(tuning.critical) * devices.threshold[slots]
    new = slots[beyond & ~devices.critical[slots]]
    devices.critical[new] = True
    return new


def break_off(devices: Devices, slots: Integers) -> Integers:
    """End the episodes of devices that start afresh; returns the slots whose episode was open."""
    was_open = slots[devices.phase[slots] >= OPEN]
    devices.phase[slots] = CALM
    devices.run[slots] = 0
    return was_open
