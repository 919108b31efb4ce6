"""Devices with the truth about them. Pure; made by `protocols`, judged by `judging`."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sensord.detection.scorer import Flags
from sensord.readings import Integers
from sensord.trainer.evaluation.points import runs
from sensord.trainer.events import Span
from sensord.trainer.offline import Recorded


@dataclass(frozen=True, slots=True)
class Fault:
    """A stretch of one device's time in which something was wrong. kind: "" where nobody named it."""

    span: Span
    kind: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A device, whole, with the truth. history: its first readings, learned from as healthy; the rest is judged."""

    recorded: Recorded
    history: int
    faults: tuple[Fault, ...]

    @property
    def head(self) -> Recorded:
        """The history."""
        rows = slice(0, self.history)
        return Recorded(self.recorded.device_id, self.recorded.at[rows], self.recorded.values[rows])

    @property
    def faulty(self) -> Flags:
        """Whether each judged reading lies in a fault: (n - history,)."""
        at = self.recorded.at[self.history :]
        flags = np.zeros(len(at), np.bool_)
        for fault in self.faults:
            flags |= (at >= fault.span.start_at) & (at <= fault.span.end_at)
        return flags

    @property
    def judged_faults(self) -> tuple[Fault, ...]:
        """The faults that a judged reading lies in; what is over by then can't be found."""
        at = self.recorded.at[self.history :]
        return tuple(fault for fault in self.faults if _within(at, fault.span))


def _within(at: Integers, span: Span) -> bool:
    return bool(np.searchsorted(at, span.start_at) < np.searchsorted(at, span.end_at, side="right"))


def faults_from_flags(device_id: str, at: Integers, faulty: Flags, kind: str = "") -> tuple[Fault, ...]:
    """A fault for every run of true: at and faulty (n,)."""
    return tuple(Fault(Span(device_id, int(at[first]), int(at[last])), kind) for first, last in runs(faulty).tolist())


def judged_from(cases: Iterable[Case]) -> dict[str, int]:
    """When judging begins, by device."""
    return {case.recorded.device_id: int(case.recorded.at[case.history]) for case in cases}
