"""How good settings are by history alone: what a bundle made with them finds and raises on readings it never saw.

Used by `study`; made of what the gate says, which plants the faults and counts the alarms.
"""

from dataclasses import dataclass
from typing import Self

from sensord.errors import HistoryUnusable
from sensord.model.bundle import Bundle
from sensord.trainer.gate.planted import BETWEEN, LENGTH, Planted, plant
from sensord.trainer.gate.verdict import PLANTED_SEED, Case, Verdict, as_many_heads, judge, late_part
from sensord.trainer.history import History
from sensord.trainer.job import Report, Trained, TrainOptions, train, trial_of
from sensord.trainer.threshold import HELD_OUT

FEWEST_FAULTS = len(Planted)  # one of each kind
READINGS_FOR_A_FAULT = round((LENGTH + BETWEEN) / HELD_OUT / (1 - HELD_OUT)) + 10  # of a device; roundings take a few


@dataclass(frozen=True, slots=True)
class Figures:
    """What was found on healthy held-out readings, and on the same with planted faults.

    alarms: on the healthy ones. allowed: so many by the budget. error: root mean square of the one-step error, scaled.
    """

    found: int
    faults: int
    alarms: int
    allowed: float
    device_days: float
    error: float

    @classmethod
    def of(cls, verdict: Verdict, error: float) -> Self:
        """Out of what the gate was decided by."""
        asked = {check.name: check.figures for check in verdict.checks}
        budget, recall = asked["budget"], asked["recall"]
        return cls(
            int(recall["found"]),
            int(recall["faults"]),
            int(budget["alarms"]),
            budget["allowed"],
            budget["device_days"],
            error,
        )

    @property
    def beyond(self) -> float:
        """Alarms beyond the budget."""
        return max(0.0, self.alarms - self.allowed)

    @property
    def merit(self) -> float:
        """What is searched for, 1 at best: the share of planted faults that are found, each alarm beyond the budget
        taken off as if it were a fault missed; the error decides where these are even, and counts less than one fault.
        """
        return (self.found - self.beyond - self.error / (1 + self.error)) / self.faults


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of settings, and the bundle that they made of the history."""

    figures: Figures
    bundle: Bundle


def rehearse(history: History, options: TrainOptions, report: Report = lambda stage, done, of: None) -> Rehearsal:
    """Learn as `sensord train` does, and judge as its gate does: by the last part of the history, which the bundle's
    trial was made without. Raises what training raises.
    """
    trained = train(history, options, report)
    metrics = trained.bundle.manifest.metrics
    return Rehearsal(
        Figures.of(_verdict(history, options, trained, report), metrics["held_out_error_model"]), trained.bundle
    )


def _verdict(history: History, options: TrainOptions, trained: Trained, report: Report) -> Verdict:
    trial = trial_of(trained, history, options)
    metrics = trained.bundle.manifest.metrics
    return judge(Case(trial, None, history, options.alarm_budget, options.max_gap_s, metrics), report)


@dataclass(frozen=True, slots=True)
class Duel:
    """Two bundles on readings that neither has seen. won, lost: planted faults that only the first, only the second
    finds."""

    mine: Figures
    theirs: Figures
    won: int
    lost: int

    @property
    def chance(self) -> float:
        """Of doing as well at least by tossing coins: for each planted fault that only one of the two finds, and for
        each alarm that only one of them raises."""
        ahead, behind = self.won + self.theirs.alarms, self.lost + self.mine.alarms
        return as_many_heads(ahead, ahead + behind)


def duel(whole: History, mine: Bundle, theirs: Bundle, options: TrainOptions) -> Duel:
    """Both were learned from the first part of the whole; the last part is what they are judged by."""
    ahead, behind = (_against(whole, *pair, options) for pair in ((mine, theirs), (theirs, mine)))
    recall = next(check.figures for check in ahead.checks if check.name == "recall")
    return Duel(_beside(ahead), _beside(behind), int(recall["won"]), int(recall["lost"]))


def _against(whole: History, bundle: Bundle, other: Bundle, options: TrainOptions) -> Verdict:
    metrics = bundle.manifest.metrics
    return judge(Case(bundle, other, whole, options.alarm_budget, options.max_gap_s, metrics))


def _beside(verdict: Verdict) -> Figures:
    """A verdict beside another bundle tells the error on what both are judged by."""
    return Figures.of(verdict, next(check.figures["error"] for check in verdict.checks if check.name == "error"))


def parts_of(whole: History) -> History:
    """The part of the whole that trials may see; the rest is for a last judgement. Raises HistoryUnusable where it is
    too short to plant faults into."""
    seen, _ = whole.split(1 - HELD_OUT)
    _, faults = plant(*late_part(seen), PLANTED_SEED)
    if len(faults) < FEWEST_FAULTS:
        raise HistoryUnusable(
            f"too little history to try settings on: it has room for {len(faults)} planted faults, and "
            f"{FEWEST_FAULTS} are needed; a device has room for one from about {READINGS_FOR_A_FAULT:,} readings on"
        )
    return seen
