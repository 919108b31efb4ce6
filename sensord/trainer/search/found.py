"""What a search found: its trials, the best of them, and what that is worth. Made by `study`, told by `cli`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sensord.trainer.search.choice import Choice
from sensord.trainer.search.merit import Duel, Figures


class Ended(StrEnum):
    """Why there were no more trials."""

    TRIALS = "trials"
    TIME = "time"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial that is done. figures: None where its bundle came to nothing, as when a fit runs away."""

    number: int
    choice: Choice
    figures: Figures | None

    @property
    def merit(self) -> float:
        return -math.inf if self.figures is None else self.figures.merit


@dataclass(frozen=True, slots=True)
class Found:
    """What a study found. best and first are of tried. unseen: the best held against the first, on history that no
    trial saw; None where the first is the best."""

    tried: Sequence[Tried]
    ended: Ended
    unseen: Duel | None

    @property
    def first(self) -> Tried:
        return self.tried[0]

    @property
    def best(self) -> Tried:
        return best_of(self.tried)

    @property
    def gains(self) -> bool:
        """Whether the best does better than the settings in force on history that no trial saw, too."""
        return self.unseen is not None and self.unseen.mine.merit > self.unseen.theirs.merit


def best_of(tried: Sequence[Tried]) -> Tried:
    """The first of those that none is better than."""
    return max(tried, key=lambda each: each.merit)
