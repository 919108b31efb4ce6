"""Runs of anomalous readings: calm -> pending -> open -> clearing -> closed, vectorised over a wave.

A device has one episode at a time, whatever detectors call: one fault is one alert. The score has to call several
readings in a row to open it; an event channel, which has its own patience, opens it at once and names it. `fleet`
drives this and turns the transitions into alerts. All counting is in readings, all times are event time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensord.detection.alerts import Kind
from sensord.detection.channels import EVENT_CHANNELS
from sensord.detection.devices import Devices
from sensord.detection.scorer import Flags
from sensord.model.bundle import Tuning
from sensord.readings import Floats, Integers

CALM, PENDING, OPEN, CLEARING = np.uint8(0), np.uint8(1), np.uint8(2), np.uint8(3)
KINDS = tuple(Kind)  # a kind's code is its place here, and is stored: append only
CODE = {kind: np.uint8(code) for code, kind in enumerate(KINDS)}
ANOMALY, SPIKE = CODE[Kind.ANOMALY], CODE[Kind.SPIKE]


@dataclass(frozen=True, slots=True)
class Transitions:
    """Slots that changed in one wave, and those whose open episode moved on. overdue: open for longer than allowed."""

    opened: Integers
    escalated: Integers
    closed: Integers
    moved: Integers
    overdue: Integers


@dataclass(frozen=True, slots=True)
class Instant:
    """Where in the log, and when, each reading of a wave stands; n rows."""

    slots: Integers
    at: Integers
    offsets: Integers
    positions: Integers

    def rows(self, chosen: Flags) -> "Instant":
        return Instant(self.slots[chosen], self.at[chosen], self.offsets[chosen], self.positions[chosen])


@dataclass(frozen=True, slots=True)
class Called:
    """What all detectors say of a wave, by kind: (n, kinds) each, columns by `CODE`.

    score, limit: NaN where a detector says nothing. calls: it calls the reading anomalous.
    """

    score: Floats
    limit: Floats
    calls: Flags

    @classmethod
    def nothing(cls, rows: int) -> "Called":
        unknown = np.full((rows, len(KINDS)), np.nan, np.float32)
        return cls(unknown, unknown.copy(), np.zeros(unknown.shape, np.bool_))

    def rows(self, chosen: Flags) -> "Called":
        return Called(self.score[chosen], self.limit[chosen], self.calls[chosen])

    @property
    def anomalous(self) -> Flags:
        """Some detector calls: (n,)."""
        return np.asarray(self.calls.any(axis=1))

    @property
    def kind(self) -> NDArray[np.uint8]:
        """The code of the detector that names a reading: the first event channel that calls, else the score: (n,)."""
        named = np.full(len(self.calls), ANOMALY, np.uint8)
        for channel in reversed(EVENT_CHANNELS):
            named[self.calls[:, CODE[channel.kind]]] = CODE[channel.kind]
        return named

    @property
    def ratio(self) -> Floats:
        """By how much the limit is exceeded, at most, among those who call; 0 where nobody does: (n,)."""
        return np.asarray(np.where(self.calls, self.score / self.limit, np.float32(0)).max(axis=1))


def advance(devices: Devices, instant: Instant, called: Called, tuning: Tuning, max_episode_us: int) -> Transitions:
    """Move the episodes of a wave's devices by one reading."""
    slots = instant.slots
    devices.dead_time[slots] = np.maximum(devices.dead_time[slots] - 1, 0)
    busy = called.anomalous | (devices.phase[slots] != CALM)
    instant, called = instant.rows(busy), called.rows(busy)
    slots, anomalous, phase = instant.slots, called.anomalous, devices.phase[instant.slots]

    begins = anomalous & (phase == CALM)
    _begin(devices, instant.rows(begins), called.rows(begins))
    was_open = (phase == OPEN) | (phase == CLEARING)
    _extend(devices, instant, called, anomalous)

    run = _count(devices, slots, phase, anomalous)
    instantly = called.calls.any(axis=1) & (called.kind != ANOMALY)
    awake = (devices.dead_time[slots] == 0) | (called.ratio > devices.dead_ratio[slots])
    opened = anomalous & ~was_open & awake & (instantly | (run >= tuning.open_after))
    _name(devices, slots, called, opened & instantly)
    closed = ~anomalous & was_open & (run >= tuning.close_after)
    after = np.select(
        [opened | (anomalous & was_open), anomalous, closed | ~was_open], [OPEN, PENDING, CALM], CLEARING
    ).astype(np.uint8)
    devices.phase[slots] = after
    devices.run[slots[opened]] = 0
    devices.first_kind[slots[opened]] = devices.kind[slots[opened]]
    rest(devices, slots[closed], tuning)
    renamed = _rename_spikes(devices, slots, called, was_open & anomalous, tuning)
    escalated = np.union1d(_escalate(devices, slots[after == OPEN], tuning), renamed)
    goes_on = was_open & ~closed
    overdue = goes_on & (instant.at - devices.opened_at[slots] > max_episode_us)
    return Transitions(
        slots[opened], np.setdiff1d(escalated, slots[opened]), slots[closed], slots[goes_on], slots[overdue]
    )


def _begin(devices: Devices, instant: Instant, called: Called) -> None:
    slots = instant.slots
    devices.opened_at[slots] = instant.at
    devices.first_offset[slots] = instant.offsets
    devices.first_position[slots] = instant.positions
    devices.readings[slots] = 0
    devices.ratio_peak[slots] = 0
    devices.critical[slots] = False
    _name(devices, slots, called, np.ones(len(slots), np.bool_))


def _name(devices: Devices, slots: Integers, called: Called, rows: Flags) -> None:
    """Give episodes the kind that is called now; their figures are that detector's from here on."""
    slots, kind = slots[rows], called.kind[rows]
    score = called.score[rows, :][np.arange(len(slots)), kind]
    devices.kind[slots] = kind
    devices.threshold[slots] = called.limit[rows, :][np.arange(len(slots)), kind]
    devices.score_first[slots] = score
    devices.score_last[slots] = score
    devices.score_peak[slots] = score


def _extend(devices: Devices, instant: Instant, called: Called, anomalous: Flags) -> None:
    """Move on the figures, which are those of the detector that named the episode."""
    slots = instant.slots
    own = called.score[np.arange(len(slots)), devices.kind[slots]]
    devices.score_last[slots] = np.where(np.isnan(own), devices.score_last[slots], own)
    devices.last_seen_at[slots[anomalous]] = instant.at[anomalous]
    devices.last_offset[slots[anomalous]] = instant.offsets[anomalous]
    devices.score_peak[slots] = np.where(anomalous, np.fmax(devices.score_peak[slots], own), devices.score_peak[slots])
    devices.ratio_peak[slots] = np.maximum(devices.ratio_peak[slots], called.ratio)
    devices.readings[slots] += anomalous


def _count(devices: Devices, slots: Integers, phase: NDArray[np.uint8], anomalous: Flags) -> NDArray[np.int32]:
    """Readings in a row that speak for the next change: anomalous ones until it opens, calm ones until it closes."""
    goes_on = np.select([phase == PENDING, phase == CLEARING], [anomalous, ~anomalous], False)
    counts_now = np.where((phase == CALM) | (phase == PENDING), anomalous, ~anomalous)
    run = np.where(counts_now, np.where(goes_on, devices.run[slots], 0) + 1, 0).astype(np.int32)
    devices.run[slots] = run
    return run


def _rename_spikes(devices: Devices, slots: Integers, called: Called, rows: Flags, tuning: Tuning) -> Integers:
    """What began as a spike and goes on is no spike: another event channel names it, or the score once the smoothed
    residual has had time to forget the spike itself."""
    spikes = rows & (devices.kind[slots] == SPIKE)
    named = (called.kind != ANOMALY) & (called.kind != SPIKE)
    outlasted = (called.kind == ANOMALY) & (devices.readings[slots] >= 3 * tuning.smoothing)
    renamed = spikes & (named | outlasted)
    _name(devices, slots, called, renamed)
    return np.asarray(slots[renamed])


def _escalate(devices: Devices, slots: Integers, tuning: Tuning) -> Integers:
    beyond = devices.score_peak[slots] > np.float32(tuning.critical) * devices.threshold[slots]
    new = slots[beyond & ~devices.critical[slots]]
    devices.critical[new] = True
    return new


def rest(devices: Devices, slots: Integers, tuning: Tuning) -> None:
    """Begin the dead time after an episode: only what is worse than that opens the next one."""
    devices.phase[slots] = CALM
    devices.run[slots] = 0
    devices.dead_time[slots] = tuning.dead_time
    devices.dead_ratio[slots] = devices.ratio_peak[slots]


def break_off(devices: Devices, slots: Integers) -> Integers:
    """End the episodes of devices that start afresh; returns the slots whose episode was open."""
    was_open = slots[devices.phase[slots] >= OPEN]
    devices.phase[slots] = CALM
    devices.run[slots] = 0
    return was_open
