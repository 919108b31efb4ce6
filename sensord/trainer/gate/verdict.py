"""The verdict on a candidate: held-out history through the daemon's own scoring, beside the bundle that is current.

What is judged is the candidate's trial: the same network and the same thresholds, with profiles fitted on the first
part of every history; the last part is what neither has seen. Nor has it seen the alerts that people called real.
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
from sensord.trainer.offline import LEAD_IN, Recorded, watch
from sensord.trainer.threshold import DAY_S, HELD_OUT

CHANCE = 0.01  # what happens by chance less often than this is no chance
SLACK = 1.05  # an error within this factor of another is as good: seeds and what is left out differ by as much
FORGIVEN = 2  # alarms, however little is allowed: the trial has seen a quarter less than the candidate
PLANTED_SEED = 1

Report = Callable[[str, int, int], None]
Flagged = tuple[bool, ...]  # for each fault whether it is found


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
    known = case.history.confirmed
    heard, planted, confirmed = list[Heard](), list[Flagged](), list[Flagged]()
    for number, bundle in enumerate(rivals):
        report("gate", 2 * number, 2 * len(rivals))
        heard.append(_heard(bundle, late, begins, case))
        report("gate", 2 * number + 1, 2 * len(rivals))
        planted.append(_found(bundle, spoilt, faults, case))
        confirmed.append(_found(bundle, known.devices, known.alerts, case))
    report("gate", 2 * len(rivals), 2 * len(rivals))
    checks = [_budget(case, heard[0].alerts, late, begins), _baselines(case.metrics)]
    if case.current is not None:
        checks.append(_error(case.current.id, heard[0].error, heard[1].error))
    checks.append(_recall(against, Recall.of(planted)))
    if known.alerts:
        checks.append(_confirmed(against, Recall.of(confirmed)))
    return Verdict(against, tuple(checks))


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


@dataclass(frozen=True, slots=True)
class Recall:
    """Which of the same faults the candidate finds, and which the current bundle. theirs: None: there is no current."""

    mine: Flagged
    theirs: Flagged | None

    @classmethod
    def of(cls, found: Sequence[Flagged]) -> "Recall":
        """found: by the candidate, and by the current bundle where there is one."""
        return cls(found[0], found[1] if len(found) > 1 else None)

    @property
    def won(self) -> int:
        return sum(ours and not theirs for ours, theirs in zip(self.mine, self.theirs or self.mine, strict=True))

    @property
    def lost(self) -> int:
        return sum(theirs and not ours for ours, theirs in zip(self.mine, self.theirs or self.mine, strict=True))

    def told(self, what: str, against: str | None) -> str:
        """A sentence for people."""
        mine = f"it finds {sum(self.mine)} of {len(self.mine)} {what}"
        if self.theirs is None:
            return f"{mine}; nothing to compare"
        return f"{mine}, {against} {sum(self.theirs)}: {self.won} won, {self.lost} lost"

    @property
    def figures(self) -> Mapping[str, float]:
        share = {"faults": len(self.mine), "found": sum(self.mine)}
        if self.theirs is None:
            return share
        return share | {"found_by_current": sum(self.theirs), "won": self.won, "lost": self.lost}


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


def _recall(against: str | None, recall: Recall) -> Check:
    """It finds the planted faults that the current bundle finds; a sign test on those that only one of them finds."""
    by_chance = as_many_heads(recall.lost, recall.won + recall.lost)
    return Check("recall", by_chance >= CHANCE, recall.told("planted faults", against), recall.figures)


def _confirmed(against: str | None, recall: Recall) -> Check:
    """Of the alerts that people called real it finds as many as the current bundle."""
    # No room for chance: each was a fault that somebody went and saw. Who can spare one promotes with --force.
    return Check("confirmed", recall.lost <= recall.won, recall.told("confirmed alerts", against), recall.figures)


# --- figures ---------------------------------------------------------------------------------------------------------


def _found(bundle: Bundle, devices: Sequence[Recorded], faults: Sequence[Span], case: Case) -> Flagged:
    """Which faults in recordings the bundle's alerts overlap."""
    if not faults:
        return ()
    alerts = watch(bundle, devices, case.max_gap_s)
    spans = [Span(alert.device_id, alert.opened_at, alert.last_seen_at) for alert in alerts]
    matching = match(faults, spans, round(GRACE_READINGS * case.history.period_s * MICROSECONDS))
    return tuple(bool(each) for each in matching.alerts_of)


def at_least(count: int, mean: float) -> float:
    """The chance of so many events or more where `mean` are to be expected (Poisson)."""
    fewer = sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count)) if mean > 0 else 1.0
    return 1.0 - fewer if count else 1.0


def as_many_heads(heads: int, tosses: int) -> float:
    """The chance of so many heads or more of so many fair tosses."""
    return float(sum(math.comb(tosses, k) for k in range(heads, tosses + 1)) / 2**tosses)
