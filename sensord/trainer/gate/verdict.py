"""The verdict on a candidate: held-out history through the daemon's own scoring, beside the bundle that is current.

What is judged is the candidate's trial: the same network and the same thresholds, with profiles fitted on the first
part of every history; the last part is what neither has seen.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sensord.clock import MICROSECONDS
from sensord.detection.alerts import Alert
from sensord.detection.baselines import BASELINES, Expectation
from sensord.model.bundle import Bundle
from sensord.trainer.calibrate import HELD_OUT
from sensord.trainer.events import GRACE_READINGS, Span, match
from sensord.trainer.gate.planted import plant
from sensord.trainer.history import History
from sensord.trainer.offline import Replayed, replay
from sensord.trainer.threshold import DAY_S

CHANCE = 0.01  # what happens by chance less often than this is no chance
SLACK = 1.05  # an error within this factor of another is as good: seeds and what is left out differ by as much
FORGIVEN = 2  # alarms, however little is allowed: the trial has seen a quarter less than the candidate
PLANTED_SEED = 1

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was asked. told: a sentence for people. figures: what it was decided by."""

    name: str
    passed: bool
    told: str
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says. against: the bundle that was current; None: there was none."""

    against: str | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def objections(self) -> str:
        return "; ".join(check.told for check in self.checks if not check.passed)


@dataclass(frozen=True, slots=True)
class Case:
    """Who is judged, and on what. budget: false alarms per device and day. metrics: of the candidate's manifest."""

    trial: Bundle
    current: Bundle | None
    history: History
    budget: float
    max_gap_s: float
    metrics: Mapping[str, float]


def judge(case: Case, report: Report = lambda stage, done, of: None) -> Verdict:
    """Ask everything of a candidate."""
    against = None if case.current is None else case.current.id
    if case.current is not None and case.current.manifest.channels != case.trial.manifest.channels:
        told = f"its channels or units are others than those of {against}, so daemons would refuse it"
        return Verdict(against, (Check("channels", False, told, {}),))
    begins = {each.device_id: round((1 - HELD_OUT) * len(each.at)) for each in case.history.devices}
    rivals = [case.trial] if case.current is None else [case.trial, case.current]
    spoilt, faults = plant(case.history.devices, begins, PLANTED_SEED)
    healthy, found = list[Replayed](), list[tuple[bool, ...]]()
    for number, bundle in enumerate(rivals):
        report("gate", 2 * number, 2 * len(rivals))
        healthy.append(replay(bundle, case.history.devices, case.max_gap_s))
        report("gate", 2 * number + 1, 2 * len(rivals))
        found.append(_found(replay(bundle, spoilt, case.max_gap_s).alerts, faults, case.history.period_s))
    report("gate", 2 * len(rivals), 2 * len(rivals))
    checks = [_budget(case, healthy[0].alerts, begins), _baselines(case.metrics)]
    if case.current is not None:
        mine, theirs = (_error_of(each, case, begins) for each in healthy)
        checks.append(_error(case.current.id, mine, theirs))
    return Verdict(against, (*checks, _recall(against, found)))


# --- what is asked ---------------------------------------------------------------------------------------------------


def _budget(case: Case, alerts: Sequence[Alert], begins: Mapping[str, int]) -> Check:
    """No more alarms than the budget allows, by chance."""
    since = {each.device_id: int(each.at[begins[each.device_id]]) for each in case.history.devices}
    count = sum(alert.opened_at >= since[alert.device_id] for alert in alerts)
    days = sum(len(each.at) - begins[each.device_id] for each in case.history.devices) * case.history.period_s / DAY_S
    allowed = case.budget * days
    chance = at_least(count, allowed)
    told = f"{count} alarms in {days:.3g} held-out device-days, {allowed:.2g} allowed"
    return Check(
        "budget",
        count <= FORGIVEN or chance >= CHANCE,
        told,
        {"alarms": count, "device_days": days, "allowed": allowed},
    )


def _baselines(metrics: Mapping[str, float]) -> Check:
    """What it expects is no farther off than what the simplest models expect."""
    mine = metrics[f"held_out_error_{Expectation.MODEL}"]
    best = min(BASELINES, key=lambda each: metrics[f"held_out_error_{each}"])
    theirs = metrics[f"held_out_error_{best}"]
    told = f"its one-step error is {mine:.4g}, that of the best baseline ({best}) {theirs:.4g}"
    return Check("baselines", mine <= theirs * SLACK, told, {"error": mine, "best_baseline": theirs})


def _error(against: str, mine: float, theirs: float) -> Check:
    """Nor than what the current bundle expects of the same readings."""
    told = f"its error on held-out history is {mine:.4g}, that of {against} {theirs:.4g}"
    return Check("error", mine <= theirs * SLACK, told, {"error": mine, "current": theirs})


def _recall(against: str | None, found: Sequence[tuple[bool, ...]]) -> Check:
    """It finds the planted faults that the current bundle finds; a sign test on those that only one of them finds."""
    mine = found[0]
    share = {"faults": len(mine), "found": sum(mine)}
    if against is None:
        return Check("recall", True, f"it finds {sum(mine)} of {len(mine)} planted faults; nothing to compare", share)
    lost = sum(theirs and not ours for ours, theirs in zip(mine, found[1], strict=True))
    won = sum(ours and not theirs for ours, theirs in zip(mine, found[1], strict=True))
    told = f"it finds {sum(mine)} of {len(mine)} planted faults, {against} {sum(found[1])}: {won} won, {lost} lost"
    figures = share | {"found_by_current": sum(found[1]), "won": won, "lost": lost}
    return Check("recall", as_many_heads(lost, won + lost) >= CHANCE, told, figures)


# --- figures ---------------------------------------------------------------------------------------------------------


def _found(alerts: Sequence[Alert], faults: Sequence[Span], period_s: float) -> tuple[bool, ...]:
    spans = [Span(alert.device_id, alert.opened_at, alert.last_seen_at) for alert in alerts]
    matching = match(faults, spans, round(GRACE_READINGS * period_s * MICROSECONDS))
    return tuple(bool(each) for each in matching.alerts_of)


def _error_of(replayed: Replayed, case: Case, begins: Mapping[str, int]) -> float:
    """Root mean square of what was missed in the last part, in the candidate's scale."""
    squares, known = 0.0, 0
    profiles = case.trial.profiles
    rows = {name: row for row, name in enumerate(profiles.device_ids, start=1)}
    for device, seen in zip(case.history.devices, replayed.observations, strict=True):
        late = slice(begins[device.device_id], None)
        scale = profiles.scale[rows.get(device.device_id, 0)]
        missed = (device.values[late] - seen.expected[late]) / scale
        squares += float(np.nansum(np.square(missed, dtype=np.float64)))
        known += int(np.isfinite(missed).sum())
    return math.sqrt(squares / max(known, 1))


def at_least(count: int, mean: float) -> float:
    """The chance of so many events or more where `mean` are to be expected (Poisson)."""
    fewer = sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count)) if mean > 0 else 1.0
    return 1.0 - fewer if count else 1.0


def as_many_heads(heads: int, tosses: int) -> float:
    """The chance of so many heads or more of so many fair tosses."""
    return float(sum(math.comb(tosses, k) for k in range(heads, tosses + 1)) / 2**tosses)
