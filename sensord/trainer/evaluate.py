"""Detection measured against labels, beside the built-in baselines. Used by `cli`.

No label is looked at before the verdicts are in, and every constant is the same for all recordings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sensord.detection.baselines import Expectation
from sensord.detection.scorer import Flags
from sensord.readings import Floats
from sensord.trainer.calibrate import calibrate
from sensord.trainer.history import History
from sensord.trainer.job import TrainOptions, assemble, fit_network
from sensord.trainer.offline import Recorded, replay
from sensord.trainer.threshold import RowShare

SKAB_HISTORY = 400  # first rows of each file, taken as healthy
SKAB_RULE = RowShare(0.025)
SKAB_LABELS = ("anomaly", "changepoint")  # columns that are no channels; the first is the label


@dataclass(frozen=True, slots=True)
class Labelled:
    """A recording with the truth: faulty (n,)."""

    recorded: Recorded
    faulty: Flags


@dataclass(frozen=True, slots=True)
class Rates:
    """Row-wise figures, pooled over recordings: F1; false alarms FP / (FP + TN); missed alarms FN / (FN + TP)."""

    f1: float
    far: float
    mar: float

    @classmethod
    def of(cls, alarmed: Flags, faulty: Flags) -> "Rates":
        """NaN where there is nothing to divide by."""
        hits, misses = float((alarmed & faulty).sum()), float((~alarmed & faulty).sum())
        false, quiet = float((alarmed & ~faulty).sum()), float((~alarmed & ~faulty).sum())
        return cls(
            _ratio(2 * hits, 2 * hits + false + misses), _ratio(false, false + quiet), _ratio(misses, misses + hits)
        )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the model and each baseline scored."""

    model: Rates
    baselines: dict[Expectation, Rates]
    devices: int


def evaluate_skab(
    recordings: Sequence[Labelled],
    channels: tuple[str, ...],
    options: TrainOptions,
    report: Callable[[str, int, int], None] = lambda stage, done, of: None,
) -> Evaluation:
    """SKAB's protocol: each file is a device, its first `SKAB_HISTORY` rows its history, all later rows are judged.

    A row counts as alarmed while it is part of an episode: what the pages of an alert cover, up to this very row.
    """
    history = History(channels, tuple(_head(each.recorded) for each in recordings))
    network = fit_network(history, options.fit, lambda done, of: report("fit", done, of))
    faulty = np.concatenate([each.faulty[SKAB_HISTORY:] for each in recordings])
    rates: dict[Expectation, Rates] = {}
    for number, expectation in enumerate(Expectation):
        calibration = calibrate(network, history.values, options.tuning, SKAB_RULE, expectation)
        trained = assemble(network, history, options, calibration, {})
        replayed = replay(trained.bundle, [each.recorded for each in recordings], options.max_gap_s)
        alarmed = np.concatenate([seen.in_episode[SKAB_HISTORY:] for seen in replayed.observations])
        rates[expectation] = Rates.of(alarmed, faulty)
        report("judge", number + 1, len(Expectation))
    return Evaluation(rates.pop(Expectation.MODEL), rates, len(recordings))


def _head(recorded: Recorded) -> Recorded:
    rows = slice(0, SKAB_HISTORY)
    return Recorded(recorded.device_id, recorded.at[rows], recorded.values[rows])


def split_labels(names: tuple[str, ...], values: Floats) -> tuple[tuple[str, ...], Floats, Flags]:
    """Part a SKAB table's columns into channels, their values, and whether a row is faulty. Raises KeyError."""
    if SKAB_LABELS[0] not in names:
        raise KeyError(SKAB_LABELS[0])
    keep = [i for i, name in enumerate(names) if name not in SKAB_LABELS]
    return tuple(names[i] for i in keep), values[:, keep], values[:, names.index(SKAB_LABELS[0])] > 0
