"""Holes: stretches of history that nothing should be learned from. Named by `cli`, cut by `history`.

What lies before a hole and what lies after it are pieces: nothing is expected of one from the other, as the daemon
starts afresh after a gap.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np

from sensord import spill
from sensord.detection.scorer import Flags
from sensord.trainer.offline import Recorded

MARGIN = 15  # readings before and after an alert, over which the score is smoothed, that belong to it
SHORTEST = 64  # readings between two holes; of fewer too many would be spent on warming up

Breaks = Mapping[str, tuple[int, ...]]  # by device: rows at which a new piece begins; none where there is no hole
WHOLE: Breaks = {}


class Cause(StrEnum):
    """Why readings are left out."""

    WINDOW = "window"
    REAL = "real"  # an alert that a person called real
    UNANSWERED = "unanswered"  # an alert that nobody has answered: it may be real
    BETWEEN = "between"  # what is left between two holes is too short

    @property
    def told(self) -> str:
        return {
            Cause.WINDOW: "in windows",
            Cause.REAL: "in alerts that were called real",
            Cause.UNANSWERED: "in alerts that nobody has called false or accepted",
            Cause.BETWEEN: f"beside these, fewer than {SHORTEST} in a row",
        }[self]


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch of event time, microseconds UTC: since <= at <= until; an alert's with `MARGIN` around it."""

    since: int
    until: int
    cause: Cause

    def rows(self, device: Recorded) -> slice:
        """What is left out of the device."""
        margin = 0 if self.cause is Cause.WINDOW else MARGIN
        return self.around(device, margin, margin)

    def around(self, device: Recorded, before: int, after: int) -> slice:
        """Its rows, and so many more before and after them; none where no reading lies in it."""
        first, last = np.searchsorted(device.at, self.since), np.searchsorted(device.at, self.until, side="right")
        return slice(max(int(first) - before, 0), int(last) + after) if first < last else slice(0, 0)


@dataclass(frozen=True, slots=True)
class Holes:
    """Holes of a fleet: those of one device by its id, and those of all that a test says yes to."""

    of_device: Mapping[str, list[Hole]]
    of_many: tuple[tuple[Callable[[str], bool], Hole], ...] = ()

    @classmethod
    def gathered(cls, alone: Iterable[tuple[str, Hole]], many: Iterable[tuple[Callable[[str], bool], Hole]]) -> "Holes":
        of_device = defaultdict[str, list[Hole]](list)
        for device_id, hole in alone:
            of_device[device_id].append(hole)
        return cls(of_device, tuple(many))

    def concerning(self, device_id: str) -> list[Hole]:
        """Those of one device, and those of many that it is among."""
        return [*self.of_device.get(device_id, ()), *(hole for concerns, hole in self.of_many if concerns(device_id))]

    def cut(self, device: Recorded) -> tuple[Recorded, tuple[int, ...], Counter[Cause]]:
        """The device without its holes, the rows at which a new piece begins, and how many readings were left out.

        A reading that lies in several holes counts for the first cause of `Cause`. Raises SpillFull.
        """
        kept, left_out = self._kept(device)
        if kept.all():
            return device, (), left_out
        rows = np.flatnonzero(kept)
        breaks = np.flatnonzero(np.diff(rows) > 1) + 1
        at = spill.empty((len(rows),), np.int64)
        values = spill.empty((len(rows), device.values.shape[1]), np.float32)
        np.take(device.at, rows, axis=0, out=at)
        np.take(device.values, rows, axis=0, out=values)
        return Recorded(device.device_id, at, values), tuple(breaks.tolist()), left_out

    def _kept(self, device: Recorded) -> tuple[Flags, Counter[Cause]]:
        mine = self.concerning(device.device_id)
        left_out, kept = Counter[Cause](), np.ones(len(device.at), np.bool_)
        for cause in Cause:
            before = int(kept.sum())
            for hole in mine:
                if hole.cause is cause:
                    kept[hole.rows(device)] = False
            left_out[cause] = before - int(kept.sum())
        for piece in runs(kept) if not kept.all() else ():
            if piece.stop - piece.start < SHORTEST:
                kept[piece] = False
                left_out[Cause.BETWEEN] += piece.stop - piece.start
        return kept, left_out


NO_HOLES = Holes({})


def pieces(length: int, breaks: Iterable[int]) -> Iterator[slice]:
    """The rows of each piece of a history that is so long, or of its beginning."""
    bounds = [0, *(row for row in breaks if row < length), length]
    return (slice(first, last) for first, last in pairwise(bounds))


def runs(kept: Flags) -> list[slice]:
    """Where rows are kept, one after another."""
    edges = np.flatnonzero(np.diff(np.r_[False, kept, False]))
    return [slice(int(first), int(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]
