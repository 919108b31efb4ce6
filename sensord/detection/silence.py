"""Silent devices: those that say nothing while others go on. Used by `fleet`.

Time is the partition's own: the latest time stamp of a steady witness. A device is a witness after `WITNESS` readings
without a gap, so that when a whole site comes back from an outage, the first device to speak does not make all others
silent: they have that long to speak too. A device is heard at the time that the partition shows when it speaks, or at
its own where that is later, so a clock that is behind or a backlog that is sent late is no silence.

Everything depends on the order of readings in the partition alone, not on how batches cut it.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from sensord.clock import MICROSECONDS
from sensord.detection.alerts import Reason
from sensord.detection.devices import Devices
from sensord.detection.intake import NEVER
from sensord.detection.scorer import Flags
from sensord.readings import Integers

FOREVER = 1 << 61  # microseconds


class Absence(IntEnum):
    """Whether a device speaks, as its column `absence` says."""

    SPEAKS = 0
    SILENT = 1  # its alert is open
    GIVEN_UP = 2  # its alert was closed without it


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a device may say nothing: microseconds. give_up: after the alert, until it is no news any more."""

    silent: int
    give_up: int


@dataclass(frozen=True, slots=True)
class Silence:
    """A change in a device's silence. row: of the batch, whose reading shows it. since: when it last spoke.

    elapsed_s: how long the partition had gone on without it. reason: why its alert closes; None: it opens. closed_at:
    microseconds UTC, of one that closes.
    """

    slot: int
    row: int
    since: int
    elapsed_s: float
    reason: Reason | None = None
    closed_at: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch showed, n rows. before: each row's device's last_at before the batch. accepted: not late.
    witness: its device is a steady one."""

    slots: Integers
    at: Integers
    before: Integers
    accepted: Flags
    witness: Flags


def latest_witnessed(devices: Devices) -> int:
    """The time that the partition shows; NEVER before there was a witness."""
    return int(devices.witnessed_at[: len(devices)].max(initial=NEVER))


class Watch:
    """Tells who fell silent and who speaks again."""

    def __init__(self, devices: Devices, patience: Patience) -> None:
        self._devices, self._patience = devices, patience
        self.refresh()

    def refresh(self) -> None:
        """The devices have changed by something else than readings."""
        self._shown = latest_witnessed(self._devices)
        self._due = NEVER  # no silence begins or is given up before the partition shows this time

    def follow(self, batch: Batch) -> list[Silence]:
        """What a batch that has been observed came to, in the order of its rows for each device."""
        devices, patience, shown = self._devices, self._patience, self._shown
        clock = np.maximum.accumulate(
            np.r_[shown, np.where(batch.witness, batch.at, NEVER)]
        )  # (n + 1,) before each row
        rows = np.flatnonzero(batch.accepted)
        rows = rows[np.argsort(batch.slots[rows], kind="stable")]
        slots = batch.slots[rows]
        first = np.r_[True, slots[1:] != slots[:-1]] if len(rows) else np.zeros(0, np.bool_)
        hears = np.where(clock[1:] == NEVER, NEVER, np.maximum(clock[1:], batch.at))  # (n,) each row's for its device
        heard = np.where(first, devices.heard_at[slots], hears[np.roll(rows, 1)])
        since = np.where(first, batch.before[rows], batch.at[np.roll(rows, 1)])
        absence = np.where(first, devices.absence[slots], Absence.SPEAKS)
        away = (absence != Absence.SPEAKS) | ((heard != NEVER) & (clock[rows] - np.maximum(heard, 0) > patience.silent))
        found: list[Silence] = []
        for place in np.flatnonzero(away).tolist():
            row, slot, had = int(rows[place]), int(slots[place]), Absence(int(absence[place]))
            spoke_at, heard_at = int(since[place]), int(heard[place])
            fell = _fell(slot, heard_at, spoke_at, had, clock[: row + 1], patience)
            found += fell
            if (fell[-1].reason is None) if fell else (had is Absence.SILENT):
                elapsed_s = (int(clock[row]) - heard_at) / MICROSECONDS
                found.append(Silence(slot, row, spoke_at, elapsed_s, Reason.RETURNED, int(batch.at[row])))
        ends = np.r_[first[1:], True] if len(rows) else first
        devices.heard_at[slots[ends]] = hears[rows[ends]]
        devices.absence[slots] = Absence.SPEAKS
        self._shown = now = int(clock[-1])
        self._due = min(self._due, int(hears[rows].min(initial=FOREVER, where=hears[rows] != NEVER)) + patience.silent)
        return found + self._fallen(clock) if now > max(shown, self._due) else found

    def _fallen(self, clock: Integers) -> list[Silence]:
        """Those who have not spoken by the end of the batch; in the order of what happened to each."""
        devices, patience, known = self._devices, self._patience, slice(0, len(self._devices))
        heard, absence = devices.heard_at[known], devices.absence[known]
        told = (heard != NEVER) & (absence != Absence.GIVEN_UP)
        found: list[Silence] = []
        for slot in np.flatnonzero(told & (clock[-1] - np.maximum(heard, 0) > patience.silent)).tolist():
            had, since = Absence(int(absence[slot])), int(devices.last_at[slot])
            found += _fell(slot, int(heard[slot]), since, had, clock, patience)
        for each in found:
            absence[each.slot] = Absence.SILENT if each.reason is None else Absence.GIVEN_UP
        told &= absence != Absence.GIVEN_UP
        wait = patience.silent + np.where(absence == Absence.SILENT, patience.give_up, 0)
        self._due = int((heard + wait).min(initial=2 * FOREVER, where=told))
        return found


def _fell(slot: int, heard: int, since: int, had: Absence, clock: Integers, patience: Patience) -> list[Silence]:
    """The silence that begins, and is given up, within a stretch of the partition's clock."""
    found = []
    for limit, news in ((patience.silent, Absence.SILENT), (patience.silent + patience.give_up, Absence.GIVEN_UP)):
        row = int(np.searchsorted(clock[1:], heard + limit, side="right"))
        if had >= news or row >= len(clock) - 1:
            continue
        gives_up = news is Absence.GIVEN_UP
        reason, closed_at = (Reason.NEW_NORMAL, heard + limit) if gives_up else (None, 0)
        found.append(Silence(slot, row, since, (int(clock[row + 1]) - heard) / MICROSECONDS, reason, closed_at))
    return found
