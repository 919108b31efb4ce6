"""A labelled data set judged: the model and each baseline through the daemon's own scoring code, then held against
the truth. Used by `cli` and by the benchmarks.

No label is looked at before the alerts are in, and every constant is the same for all devices.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import msgspec
import numpy as np

from sensord.clock import MICROSECONDS
from sensord.detection.alerts import Alert
from sensord.detection.baselines import Expectation
from sensord.detection.fleet import Observation
from sensord.model.bundle import Bundle
from sensord.model.manifest import Tuning
from sensord.model.network import Network
from sensord.trainer.calibrate import Calibration, calibrate
from sensord.trainer.evaluation.cases import Case, judged_from
from sensord.trainer.evaluation.points import Rates, Wide, mean_known, ratio, vus_pr
from sensord.trainer.events import GRACE_READINGS, EventRates, Matching, Span, delays, match
from sensord.trainer.fit import FitOptions
from sensord.trainer.history import History
from sensord.trainer.job import TrainOptions, describe, trunks, with_events
from sensord.trainer.offline import replay
from sensord.trainer.threshold import DAY_S, ThresholdRule

Report = Callable[[str, int, int], None]  # (stage, done, of)


@dataclass(frozen=True, slots=True)
class Exposure:
    """What false alarms are counted per: healthy time of one device. It is `size` of the units."""

    name: str = "device-day"
    seconds: float = DAY_S
    units: str = "device-days"
    size: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A labelled data set and how it is judged.

    history: the heads of the cases. asked: false alarms per exposure that the rule was told to keep to, None where it
    counts readings. asked_share: of healthy readings that may lie beyond, None where it counts alarms. runs_to_failure:
    every case ends with its device's failure. notes: what was left out, a sentence each.
    """

    name: str
    history: History
    cases: tuple[Case, ...]
    rule: ThresholdRule
    asked: float | None = None
    asked_share: float | None = None
    exposure: Exposure = Exposure()
    runs_to_failure: bool = False
    tuning: Tuning = field(default_factory=Tuning)
    max_gap_s: float = 300.0
    units: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def period_s(self) -> float:
        return self.history.period_s


@dataclass(frozen=True, slots=True)
class Quartiles:
    """Lower quartile, median, upper quartile; NaN of nothing."""

    q1: float
    median: float
    q3: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        return cls(*np.quantile(values, (0.25, 0.5, 0.75)).tolist()) if values else cls(*[float("nan")] * 3)


@dataclass(frozen=True, slots=True)
class AlarmRate:
    """False alarms asked for against those kept to.

    asked: None where the rule counts no alarms. count: false alerts. exposure: healthy time, so many times `per`.
    """

    asked: float | None
    count: int
    exposure: float
    per: Exposure

    @property
    def kept(self) -> float:
        return ratio(self.count, self.exposure)


@dataclass(frozen=True, slots=True)
class Lead:
    """Runs to failure: how early devices alert. alerted: before failure. early: in the first half of their life.

    readings: from the first alert's opening to failure, of those that alerted at all.
    """

    devices: int
    alerted: int
    early: int
    readings: Quartiles


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    part: int
    of: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What one expectation came to. delay: in readings. by_fault: found of each kind. by_alert: right of each kind."""

    rates: Rates
    events: EventRates
    delay: Quartiles
    delay_s: Quartiles
    false_alarms: AlarmRate
    vus_pr: float
    held_out_error: float
    by_fault: Mapping[str, Share]
    by_alert: Mapping[str, Share]
    lead: Lead | None


@dataclass(frozen=True, slots=True, eq=False)
class CaseResult:
    """One device under one expectation. seen: all its readings. alerts: those judged, by opening; false: of these.

    found: for each of the case's judged faults whether an alert goes with it. rank: how well it went, 0 to 1.
    """

    case: Case
    seen: Observation
    alerts: tuple[Alert, ...]
    false: tuple[Alert, ...]
    found: tuple[bool, ...]
    rates: Rates
    vus_pr: float

    @property
    def rank(self) -> float:
        """F1 of readings where something was wrong, else the share left in peace; times the share of alerts right."""
        readings = 1 - self.rates.far if np.isnan(self.rates.mar) else self.rates.f1
        return readings * (1 - len(self.false) / max(len(self.alerts), 1))

    @property
    def ratio(self) -> Wide:
        """Score over limit of each judged reading, NaN where it was not scored: (n - history,)."""
        return _ratio(self.case, self.seen)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One expectation's figures, and each device's."""

    figures: Figures
    cases: tuple[CaseResult, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A trial's results, the model's first. fit: how its trunk was fitted."""

    trial: Trial
    fit: FitOptions
    results: Mapping[Expectation, Result]

    @property
    def model(self) -> Figures:
        return self.results[Expectation.MODEL].figures

    @property
    def baselines(self) -> dict[Expectation, Figures]:
        return {name: result.figures for name, result in self.results.items() if name is not Expectation.MODEL}

    def measures(self, figures: Figures) -> dict[str, float]:
        """What contestants are compared by, more is better, at the precision that they are told with: the seed moves
        what comes after it. Where devices run to failure, those count that alert in time and not early.
        """
        lead = figures.lead
        vus_pr = round(np.nan_to_num(figures.vus_pr), 2)
        if lead is None:
            events, rows = np.nan_to_num((figures.events.f1, figures.rates.f1)).round(2).tolist()
            return {"F1 of events": events, "F1 of readings": rows, "VUS-PR": vus_pr}
        in_time, median = lead.alerted - lead.early, np.nan_to_num(lead.readings.median)
        return {"alerts in time": in_time, "lead": round(median), "VUS-PR": vus_pr}

    @property
    def as_good(self) -> list[Expectation]:
        """The baselines that do at least as well as the model by every measure."""
        mine = self.measures(self.model)
        found = {name: self.measures(figures) for name, figures in self.baselines.items()}
        return [name for name, theirs in found.items() if all(theirs[measure] >= mine[measure] for measure in mine)]

    @property
    def ahead(self) -> dict[Expectation, tuple[str, ...]]:
        """The baselines that do better than the model, and by which measures."""
        mine = self.measures(self.model)
        found = {name: self.measures(figures) for name, figures in self.baselines.items()}
        better = {name: tuple(m for m in mine if theirs[m] > mine[m]) for name, theirs in found.items()}
        return {name: measures for name, measures in better.items() if measures}


def evaluate(trial: Trial, fit: FitOptions, report: Report = lambda stage, done, of: None) -> Evaluation:
    """Fit one trunk, calibrate every expectation by the trial's rule, replay the cases and judge. Raises
    HistoryUnusable."""
    options = TrainOptions(trial.name, max_gap_s=trial.max_gap_s, units=trial.units, fit=fit, tuning=trial.tuning)
    networks = trunks(trial.history, fit, lambda done, of: report("fit", done, of))
    results = {}
    for number, expectation in enumerate(Expectation):
        network = networks[expectation]
        calibration = calibrate(network, trial.history.values, trial.tuning, trial.rule, expectation)
        bundle = _bundle(network, trial.history, options, calibration, trial.rule, expectation)
        results[expectation] = _judged(trial, bundle, calibration)
        report("judge", number + 1, len(Expectation))
    return Evaluation(trial, fit, results)


def _bundle(
    network: Network,
    history: History,
    options: TrainOptions,
    calibration: Calibration,
    rule: ThresholdRule,
    expectation: Expectation,
) -> Bundle:
    """Never stored, so it is named, not packed."""
    profiles = with_events(network, history, options, calibration.profiles, rule)
    manifest = msgspec.structs.replace(describe(network, history, options, {}), bundle_id=f"evaluated-{expectation}")
    return Bundle(manifest, network, profiles)


def _judged(trial: Trial, bundle: Bundle, calibration: Calibration) -> Result:
    replayed = replay(bundle, [case.recorded for case in trial.cases], trial.max_gap_s)
    begins = judged_from(trial.cases)
    alerts = [alert for alert in replayed.alerts if alert.last_seen_at >= begins[alert.device_id]]
    faults = [fault for case in trial.cases for fault in case.judged_faults]
    spans = [fault.span for fault in faults]
    alert_spans = [_span(alert) for alert in alerts]
    matching = match(spans, alert_spans, round(GRACE_READINGS * trial.period_s * MICROSECONDS))
    by_device = {case.recorded.device_id: case for case in trial.cases}
    false = {*matching.false, *(n for n, alert in enumerate(alerts) if _early(trial, by_device, alert))}
    cases = _by_case(trial, replayed.observations, alerts, matching, false)
    faulty = np.concatenate([case.faulty for case in trial.cases])
    alarmed = np.concatenate([result.seen.in_episode[result.case.history :] for result in cases])
    late = [each / MICROSECONDS for each in delays(spans, alert_spans, matching)]
    healthy_s = float((~faulty).sum()) * trial.period_s
    figures = Figures(
        rates=Rates.of(alarmed, faulty),
        events=EventRates(len(faults), matching.found, len(alerts), len(false)),
        delay=Quartiles.of([each / trial.period_s for each in late]),
        delay_s=Quartiles.of(late),
        false_alarms=AlarmRate(trial.asked, len(false), healthy_s / trial.exposure.seconds, trial.exposure),
        vus_pr=mean_known([result.vus_pr for result in cases]),
        held_out_error=calibration.held_out_error,
        by_fault=_shares([(f.kind, bool(found)) for f, found in zip(faults, matching.alerts_of, strict=True)]),
        by_alert=_shares([(alert.kind.value, number not in false) for number, alert in enumerate(alerts)]),
        lead=_lead(trial, cases) if trial.runs_to_failure else None,
    )
    return Result(figures, cases)


def _span(alert: Alert) -> Span:
    """From the first anomalous reading to the last: the calm ones that closed the alert say nothing is wrong."""
    return Span(alert.device_id, alert.opened_at, alert.last_seen_at)


def _by_case(
    trial: Trial, observations: Sequence[Observation], alerts: Sequence[Alert], matching: Matching, false: set[int]
) -> tuple[CaseResult, ...]:
    wrong = {alerts[number].id for number in false}
    found = iter(matching.alerts_of)
    results = []
    for case, seen in zip(trial.cases, observations, strict=True):
        own = tuple(alert for alert in alerts if alert.device_id == case.recorded.device_id)
        faulty, strange = case.faulty, _ratio(case, seen)
        scored = np.isfinite(strange)
        results.append(
            CaseResult(
                case,
                seen,
                own,
                tuple(alert for alert in own if alert.id in wrong),
                tuple(bool(next(found)) for _ in case.judged_faults),
                Rates.of(seen.in_episode[case.history :], faulty),
                vus_pr(strange[scored], faulty[scored]),
            )
        )
    return tuple(results)


def _ratio(case: Case, seen: Observation) -> Wide:
    rows = slice(case.history, None)
    return (seen.score[rows] / seen.limit[rows]).astype(np.float64)


def _shares(events: Sequence[tuple[str, bool]]) -> dict[str, Share]:
    """How many of each kind were right."""
    of = Counter(kind for kind, _ in events)
    right = Counter(kind for kind, good in events if good)
    return {kind: Share(right[kind], of[kind]) for kind in sorted(of)}


def _lead(trial: Trial, cases: Sequence[CaseResult]) -> Lead:
    firsts = [(result.case.recorded.at, result.alerts[0]) for result in cases if result.alerts]
    leads = [(int(at[-1]) - first.opened_at) / MICROSECONDS / trial.period_s for at, first in firsts]
    hasty = sum(bool(result.alerts) and result.alerts[0] in result.false for result in cases)
    return Lead(len(cases), len(leads), hasty, Quartiles.of(leads))


def _early(trial: Trial, cases: Mapping[str, Case], alert: Alert) -> bool:
    """Where devices run to failure: whether an alert opened before the fault, even if it went on into it."""
    faults = cases[alert.device_id].judged_faults
    return trial.runs_to_failure and all(alert.opened_at < fault.span.start_at for fault in faults)
