"""What a search may choose: settings of the trainer, and the ranges they are tried in. Used by `study` and `cli`."""

from dataclasses import asdict, dataclass, replace
from typing import Self

import msgspec

from sensord.trainer.job import TrainOptions

DIGITS = 2  # significant ones, so that what was tried can be written down


@dataclass(frozen=True, slots=True)
class Choice:
    """Settings that a bundle is learned with; each goes by the name that it has in the settings' group `trainer`."""

    cell: str
    hidden: int
    steps: int
    learning_rate: float
    smoothing: float
    baseline: float

    @classmethod
    def of(cls, options: TrainOptions) -> Self:
        """What these options say."""
        fit, tuning = options.fit, options.tuning
        return cls(fit.cell, fit.hidden, fit.steps, fit.learning_rate, tuning.smoothing, tuning.baseline)

    def options(self, base: TrainOptions) -> TrainOptions:
        """The base with these settings instead of its own."""
        fit = replace(base.fit, cell=self.cell, hidden=self.hidden, steps=self.steps, learning_rate=self.learning_rate)
        tuning = msgspec.structs.replace(base.tuning, smoothing=self.smoothing, baseline=self.baseline)
        return replace(base, fit=fit, tuning=tuning)

    def settings(self) -> dict[str, str | int | float]:
        """By name."""
        return asdict(self)

    def rounded(self) -> Self:
        """The same but for digits that nobody would write."""
        return replace(
            self,
            hidden=int(_rounded(self.hidden)),
            steps=int(_rounded(self.steps)),
            learning_rate=_rounded(self.learning_rate),
            smoothing=_rounded(self.smoothing),
            baseline=_rounded(self.baseline),
        )


@dataclass(frozen=True, slots=True)
class Within:
    """From low to high, both included."""

    low: float
    high: float

    def around(self, value: float) -> "Within":
        """Wide enough for the value too."""
        return Within(min(self.low, value), max(self.high, value))


RANGES = {
    "hidden": Within(8, 64),
    "steps": Within(100, 1_000),
    "learning_rate": Within(0.003, 0.06),
    "smoothing": Within(5, 60),
    "baseline": Within(100, 1_000),
}
COUNTED = ("hidden", "steps")  # whole numbers


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
