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
from sensord.detection.fleet import Observation
from sensord.model.bundle import Bundle
from sensord.trainer.events import GRACE_READINGS, Span, match
from sensord.trainer.gate.planted import plant
from sensord.trainer.history import History
from sensord.trainer.offline import Recorded, watch
from sensord.trainer.threshold import DAY_S, HELD_OUT

CHANCE = 0.01  # what happens by chance less often than this is no chance
SLACK = 1.05  # an error within this factor of another is as good: seeds and what is left out differ by as much
FORGIVEN = 2  # alarms, however little is allowed: the trial has seen a quarter less than the candidate
LEAD_IN = 1_000  # readings
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
    late, begins = late_part(case.history)
    spoilt, faults = plant(late, begins, PLANTED_SEED)
    rivals = [case.trial] if case.current is None else [case.trial, case.current]
    heard, found = list[Heard](), list[tuple[bool, ...]]()
    for number, bundle in enumerate(rivals):
        report("gate", 2 * number, 2 * len(rivals))
        heard.append(_heard(bundle, late, begins, case))
        report("gate", 2 * number + 1, 2 * len(rivals))
        found.append(_found(watch(bundle, spoilt, case.max_gap_s), faults, case.history.period_s))
    report("gate", 2 * len(rivals), 2 * len(rivals))
    checks = [_budget(case, heard[0].alerts, late, begins), _baselines(case.metrics)]
    if case.current is not None:
        checks.append(_error(case.current.id, heard[0].error, heard[1].error))
    return Verdict(against, (*checks, _recall(against, found)))


def late_part(history: History) -> tuple[list[Recorded], dict[str, int]]:
    """The last part of every device's history, with a lead-in for the state to settle, and the row where it begins."""
    late, begins = list[Recorded](), dict[str, int]()
    for device in history.devices:
        begin = round((1 - HELD_OUT) * len(device.at))
        first = max(begin - LEAD_IN, 0)
        late.append(Recorded(device.device_id, device.at[first:], device.values[first:]))
        begins[device.device_id] = begin - first
    return late, begins


@dataclass(frozen=True, slots=True)
class Heard:
    """What a bundle says of healthy readings. error: root mean square of what it missed, in the candidate's scale."""

    alerts: Sequence[Alert]
    error: float


def _heard(bundle: Bundle, late: Sequence[Recorded], begins: Mapping[str, int], case: Case) -> Heard:
    profiles = case.trial.profiles
    rows = {name: row for row, name in enumerate(profiles.device_ids, start=1)}
    done, squares, known = [0] * len(late), 0.0, 0

    def keep(place: int, seen: Observation) -> None:
        nonlocal squares, known
        device, first = late[place], done[place]
        done[place] += len(seen.outcome)
        scale = profiles.scale[rows.get(device.device_id, 0)]
        missed = (device.values[first : done[place]] - seen.expected) / scale
        judged = missed[max(begins[device.device_id] - first, 0) :]
        squares += float(np.nansum(np.square(judged, dtype=np.float64)))
        known += int(np.isfinite(judged).sum())

    alerts = watch(bundle, late, case.max_gap_s, keep=keep)
    return Heard(alerts, math.sqrt(squares / max(known, 1)))


# --- what is asked ---------------------------------------------------------------------------------------------------


def _budget(case: Case, alerts: Sequence[Alert], late: Sequence[Recorded], begins: Mapping[str, int]) -> Check:
    """No more alarms than the budget allows, by chance."""
    since = {each.device_id: int(each.at[begins[each.device_id]]) for each in late}
    count = sum(alert.opened_at >= since[alert.device_id] for alert in alerts)
    days = sum(len(each.at) - begins[each.device_id] for each in late) * case.history.period_s / DAY_S
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


def at_least(count: int, mean: float) -> float:
    """The chance of so many events or more where `mean` are to be expected (Poisson)."""
    fewer = sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count)) if mean > 0 else 1.0
    return 1.0 - fewer if count else 1.0


def as_many_heads(heads: int, tosses: int) -> float:
    """The chance of so many heads or more of so many fair tosses."""
    return float(sum(math.comb(tosses, k) for k in range(heads, tosses + 1)) / 2**tosses)
