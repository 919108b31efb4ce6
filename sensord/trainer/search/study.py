"""A study: trials of settings one after another, each suggested by optuna from those before. Used by `cli`.

Trial 0 is the settings in force. The same history, settings and seed give the same trials, also where a study is
interrupted and resumed: what is suggested depends on nothing but the trials that are done and their number. No
trial is pruned: it has no figure to be judged by before its end.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from sensord import __version__
from sensord.clock import Clock
from sensord.errors import BundleInvalid, StudyUnusable
from sensord.model.bundle import Bundle
from sensord.trainer.history import History
from sensord.trainer.job import Report, TrainOptions
from sensord.trainer.search.choice import COUNTED, RANGES, Choice
from sensord.trainer.search.found import Ended, Found, Tried, best_of
from sensord.trainer.search.merit import Figures, Rehearsal, duel, parts_of, rehearse

STUDY = "tune"
AT_RANDOM = 8  # trials after the first, before optuna's sampler has something to go by
DONE = (TrialState.COMPLETE, TrialState.PRUNED)  # a trial that was cut short is neither

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True, slots=True)
class Limits:
    """When a study ends: trials in all, those of earlier runs included, and seconds from now on."""

    trials: int
    seconds: float | None = None


class _TimeIsUp(Exception):
    """Raised out of a trial, and caught around it."""


class Study:
    """Trials on a history. file: where they are kept, to go on another time; None: nowhere.

    Raises HistoryUnusable, and StudyUnusable for a file that holds something else.
    """

    def __init__(
        self, history: History, base: TrainOptions, cells: Sequence[str], clock: Clock, file: Path | None = None
    ) -> None:
        self._whole, self._seen, self._base = history, parts_of(history), base
        self._first = Choice.of(base)
        self._space = _space(self._first, cells)
        self._clock = clock
        self._bundles: dict[int, Bundle] = {}  # of the first trial and of the best
        self._study = _opened(file, _origin(history, base, self._space))

    @property
    def tried(self) -> list[Tried]:
        """All trials that are done, in order."""
        done = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state in DONE]
        return [_tried(number, trial) for number, trial in enumerate(done)]

    def run(
        self,
        limits: Limits,
        report: Report = lambda stage, done, of: None,
        told: Callable[[Tried], None] = lambda tried: None,
    ) -> Found:
        """Try until the limits are reached, or the user interrupts; then judge the best once more.

        The first trial is always brought to its end. told: each trial as it is done. Raises KeyboardInterrupt where
        the first trial isn't done, and what training raises.
        """
        until = None if limits.seconds is None else self._clock.monotonic() + limits.seconds
        ended = Ended.TRIALS
        for number in range(len(self.tried), limits.trials):
            report("trials", number, limits.trials)
            try:
                self._try(number, partial(self._in_time, report, until if number else None))
            except (_TimeIsUp, KeyboardInterrupt) as error:
                if not number:
                    raise
                ended = Ended.TIME if isinstance(error, _TimeIsUp) else Ended.INTERRUPTED
                break
            told(self.tried[-1])
        report("trials", len(self.tried), limits.trials)
        return self._judged(ended, report)

    def _in_time(self, report: Report, until: float | None, stage: str, done: int, of: int) -> None:
        if until is not None and self._clock.monotonic() >= until:
            raise _TimeIsUp
        report(stage, done, of)

    def _try(self, number: int, report: Report) -> None:
        """One trial from its suggestion to its figures, kept."""
        if not number:
            rehearsal = rehearse(self._seen, self._base, report)
            self._keep(0, rehearsal)
            trial = create_trial(
                value=rehearsal.figures.merit,
                params=self._first.settings(),
                distributions=dict(self._space),
                user_attrs=_attributes(self._first, rehearsal.figures),
            )
            self._study.add_trial(trial)
            return
        self._study.sampler = _sampler(self._base.fit.seed, number)
        asked = self._study.ask(dict(self._space))
        choice = msgspec.convert(asked.params, Choice).rounded()
        try:
            rehearsal = rehearse(self._seen, choice.options(self._base), report)
        except (BundleInvalid, np.linalg.LinAlgError):  # weights that ran away; the next may do better
            _note(asked, _attributes(choice, None))
            self._study.tell(asked, state=TrialState.PRUNED)
            return
        except BaseException:
            self._study.tell(asked, state=TrialState.FAIL)
            raise
        if rehearsal.figures.merit > best_of(self.tried).merit:
            self._keep(number, rehearsal)
        _note(asked, _attributes(choice, rehearsal.figures))
        self._study.tell(asked, rehearsal.figures.merit)

    def _keep(self, number: int, rehearsal: Rehearsal) -> None:
        self._bundles = {kept: bundle for kept, bundle in self._bundles.items() if not kept} | {
            number: rehearsal.bundle
        }

    def _judged(self, ended: Ended, report: Report) -> Found:
        tried = self.tried
        first, best = tried[0], best_of(tried)
        if best is first:
            return Found(tried, ended, None)
        mine, theirs = (self._bundle(each, report) for each in (best, first))
        return Found(tried, ended, duel(self._whole, mine, theirs, self._base))

    def _bundle(self, tried: Tried, report: Report) -> Bundle:
        """Made anew where an earlier run made it."""
        kept = self._bundles.get(tried.number)
        return kept or rehearse(self._seen, tried.choice.options(self._base), report).bundle


# --- optuna ----------------------------------------------------------------------------------------------------------


def _space(first: Choice, cells: Sequence[str]) -> Mapping[str, BaseDistribution]:
    """What each setting may be, by name; the settings in force always may."""
    space: dict[str, BaseDistribution] = {
        "cell": CategoricalDistribution(tuple(dict.fromkeys((first.cell, *cells)))),
    }
    for name, wanted in RANGES.items():
        within = wanted.around(float(first.settings()[name]))
        if name in COUNTED:
            space[name] = IntDistribution(int(within.low), int(within.high), log=True)
        else:
            space[name] = FloatDistribution(within.low, within.high, log=True)
    return space


def _sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Tree-structured Parzen estimators (Bergstra et al. 2011), seeded anew for each trial."""
    drawn = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    return optuna.samplers.TPESampler(n_startup_trials=1 + AT_RANDOM, seed=drawn)


def _opened(file: Path | None, origin: Mapping[str, str]) -> optuna.Study:
    storage: BaseStorage = InMemoryStorage()
    try:
        if file is not None:
            _check_journal(file)
            storage = JournalStorage(JournalFileBackend(str(file)))
        study = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize", load_if_exists=True)
    except (
        ValueError,
        KeyError,
        TypeError,
        AssertionError,
    ) as error:  # what a file that is no journal makes of its reader
        raise StudyUnusable(f"{file} is no study: give another file, or one that isn't there yet") from error
    except OSError as error:
        raise StudyUnusable(f"no study can be kept in {file}: {error.strerror}") from error
    kept = study.user_attrs or dict(origin)
    other = [name for name, value in origin.items() if kept.get(name) != value]
    if other:
        raise StudyUnusable(f"{file} is a study with another {', another '.join(other)}: give another file")
    for name, value in origin.items():
        study.set_user_attr(name, value)
    return study


def _check_journal(file: Path) -> None:
    """Optuna would add to whatever is there. Raises ValueError, KeyError, TypeError, OSError."""
    if file.exists():
        with file.open("rb") as lines:
            first = lines.readline()
        _ = json.loads(first)["op_code"] if first else None


def _origin(history: History, base: TrainOptions, space: Mapping[str, BaseDistribution]) -> dict[str, str]:
    """What a study's trials depend on, by what people call it."""
    content = hashlib.sha256(json.dumps(history.channels).encode())
    for device in history.devices:
        content.update(device.device_id.encode() + device.at.tobytes() + device.values.tobytes())
    rest = replace(base, units={}, fit=replace(base.fit, seed=0), alarm_budget=1)
    return {
        "history": content.hexdigest(),
        "alarm budget": repr(base.alarm_budget),
        "seed": str(base.fit.seed),
        "choice of cells or settings": f"{space} {rest}",
        "version of sensord": __version__,
    }


def _attributes(choice: Choice, figures: Figures | None) -> dict[str, object]:
    return {"choice": asdict(choice), "figures": None if figures is None else asdict(figures)}


def _note(trial: optuna.Trial, attributes: Mapping[str, object]) -> None:
    for name, value in attributes.items():
        trial.set_user_attr(name, value)


def _tried(number: int, trial: FrozenTrial) -> Tried:
    attributes = trial.user_attrs
    return Tried(
        number, msgspec.convert(attributes["choice"], Choice), msgspec.convert(attributes["figures"], Figures | None)
    )
