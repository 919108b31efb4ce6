"""Runs of anomalous readings: calm -> pending -> open -> clearing -> closed, a reading of one device at a time.

A device has one episode at a time, whatever detectors call: one fault is one alert. The score has to call several
readings in a row to open it; an event channel, which has its own patience, opens it at once and names it. `fleet`
drives this and turns the transitions into alerts. All counting is in readings, all times are event time.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sensord.compiled import F32, compiled, inlined
from sensord.detection.alerts import Kind
from sensord.detection.channels import EVENT_CHANNELS
from sensord.detection.channels.bank import Verdicts
from sensord.detection.scorer import Counts, Flags
from sensord.model.manifest import Tuning
from sensord.readings import Floats, Integers

CALM, PENDING, OPEN, CLEARING = np.uint8(0), np.uint8(1), np.uint8(2), np.uint8(3)
KINDS = tuple(Kind)  # a kind's code is its place here, and is stored: append only
CODE = {kind: np.uint8(code) for code, kind in enumerate(KINDS)}
ANOMALY, SPIKE = CODE[Kind.ANOMALY], CODE[Kind.SPIKE]
CODES = np.array([CODE[each.kind] for each in EVENT_CHANNELS], np.uint8)  # of each event channel
PLACES = np.array(
    [next((i for i, each in enumerate(EVENT_CHANNELS) if each.kind is kind), -1) for kind in KINDS], np.int64
)  # of each kind's event channel; -1: it has none

OPENED, ESCALATED, CLOSED, MOVED, OVERDUE = 1, 2, 4, 8, 16  # what a reading did, as bits
LONG = 64  # anomalous readings from which an episode that still rises is critical
RISES = F32(1.1)  # times what the score was half a ring ago
ZERO, UNKNOWN = F32(0), F32(np.nan)


class Episodes(NamedTuple):
    """Columns of a device's state: (n,) each.

    phase. kind: who named it; first_kind: as it opened. run: readings in a row that speak for the next change.
    dead_time: readings left of it; dead_ratio: what is worse than this ends it. ratio_peak: by how much a limit was
    exceeded at most. readings: anomalous ones. Scores and threshold are those of the detector that named it.
    """

    phase: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    first_kind: NDArray[np.uint8]
    run: Counts
    dead_time: Counts
    dead_ratio: Floats
    ratio_peak: Floats
    opened_at: Integers
    last_seen_at: Integers
    first_offset: Integers
    first_position: Counts
    last_offset: Integers
    readings: Counts
    score_first: Floats
    score_peak: Floats
    score_last: Floats
    threshold: Floats
    critical: Flags


class Rules(NamedTuple):
    """Tuning, as episodes read it. longest: microseconds that one may be open. outlasts: readings after which what
    began as a spike is none."""

    open_after: int
    close_after: int
    critical: np.float32
    dead_time: int
    outlasts: np.float32
    longest: int

    @classmethod
    def of(cls, tuning: Tuning, longest: int) -> Self:
        outlasts = F32(3 * tuning.smoothing)
        return cls(tuning.open_after, tuning.close_after, F32(tuning.critical), tuning.dead_time, outlasts, longest)


class Called(NamedTuple):
    """What all detectors say of a reading. kind: the first event channel that calls names it, else the score. ratio: by
    how much the limit is exceeded, at most, among those who call; 0 where nobody does."""

    anomalous: bool
    kind: np.uint8
    ratio: np.float32


class Place(NamedTuple):
    """Where in the log, and when, a reading stands."""

    at: int
    offset: int
    position: int


@inlined
def call(score: np.float32, limit: np.float32, alarmed: bool, verdicts: Verdicts) -> Called:
    """What the score and the event channels say together."""
    kind, ratio = ANOMALY, score / limit if alarmed else ZERO
    anomalous = alarmed
    for back in range(len(verdicts.flagged)):
        place = len(verdicts.flagged) - 1 - back
        if verdicts.flagged[place]:
            kind, anomalous = CODES[place], True
            ratio = max(ratio, verdicts.highest[place] / verdicts.limit[place])
    return Called(anomalous, kind, ratio)


@inlined
def _own(kind: np.uint8, score: np.float32, verdicts: Verdicts) -> np.float32:
    """The score of the detector of a kind; NaN where it says nothing."""
    if kind == ANOMALY:
        return score
    place = PLACES[kind]
    return verdicts.highest[place] if place >= 0 else UNKNOWN


@compiled
def _name(e: Episodes, slot: int, called: Called, score: np.float32, limit: np.float32, verdicts: Verdicts) -> None:
    """Give an episode the kind that is called now; its figures are that detector's from here on, but for the first."""
    own = _own(called.kind, score, verdicts)
    e.kind[slot] = called.kind
    e.threshold[slot] = limit if called.kind == ANOMALY else verdicts.limit[PLACES[called.kind]]
    if e.phase[slot] < OPEN:
        e.score_first[slot] = own  # an alert keeps where it began, whatever it turns out to be
    e.score_last[slot] = own
    e.score_peak[slot] = own


@inlined
def _begin(e: Episodes, slot: int, place: Place) -> None:
    e.opened_at[slot] = place.at
    e.first_offset[slot] = place.offset
    e.first_position[slot] = place.position
    e.readings[slot] = 0
    e.ratio_peak[slot] = ZERO
    e.critical[slot] = False


@inlined
def _extend(e: Episodes, slot: int, place: Place, called: Called, score: np.float32, verdicts: Verdicts) -> None:
    """Move on the figures, which are those of the detector that named the episode."""
    own = _own(e.kind[slot], score, verdicts)
    known = not np.isnan(own)
    if known:
        e.score_last[slot] = own
    e.ratio_peak[slot] = max(e.ratio_peak[slot], called.ratio)
    if called.anomalous:
        e.last_seen_at[slot] = place.at
        e.last_offset[slot] = place.offset
        e.readings[slot] += 1
        if known and not e.score_peak[slot] >= own:
            e.score_peak[slot] = own


@inlined
def _count(e: Episodes, slot: int, phase: np.uint8, anomalous: bool) -> int:
    """Readings in a row that speak for the next change: anomalous ones until it opens, calm ones until it closes."""
    speaks = anomalous if phase <= PENDING else not anomalous
    goes_on = phase in (PENDING, CLEARING)
    run = (int(e.run[slot]) + 1 if goes_on else 1) if speaks else 0
    e.run[slot] = run
    return run


@inlined
def _is_no_spike(e: Episodes, slot: int, called: Called, rules: Rules) -> bool:
    """What began as a spike and goes on is no spike: another event channel names it, or the score once the smoothed
    residual has had time to forget the spike itself."""
    if e.kind[slot] != SPIKE or called.kind == SPIKE:
        return False
    return called.kind != ANOMALY or bool(F32(e.readings[slot]) >= rules.outlasts)


@inlined
def _escalate(e: Episodes, slot: int, rules: Rules) -> bool:
    beyond = e.phase[slot] == OPEN and e.score_peak[slot] > rules.critical * e.threshold[slot]
    if not beyond or e.critical[slot]:
        return False
    e.critical[slot] = True
    return True


@compiled
def goes_on_rising(e: Episodes, slot: int, ratio: Floats, seen: int) -> int:
    """Escalate an episode of the score that has lasted long and still gets worse: bits. Looked at twice in a ring of
    last readings, whose younger half is held against the older. ratio (ring,): score by limit."""
    half = len(ratio) // 2
    lasts = e.phase[slot] == OPEN and e.kind[slot] == ANOMALY and e.readings[slot] >= LONG
    if not lasts or e.critical[slot] or seen % half != 0:
        return 0
    younger, older = ZERO, ZERO
    for back in range(half):
        younger += ratio[(seen - 1 - back) % len(ratio)]
        older += ratio[(seen - 1 - half - back) % len(ratio)]
    if not younger > RISES * older:  # NaN, where there is no score, is no rise
        return 0
    e.critical[slot] = True
    return ESCALATED


@inlined
def rest(e: Episodes, slot: int, rules: Rules) -> None:
    """Begin the dead time after an episode: only what is worse than that opens the next one."""
    e.phase[slot] = CALM
    e.run[slot] = 0
    e.dead_time[slot] = rules.dead_time
    e.dead_ratio[slot] = e.ratio_peak[slot]


@inlined
def _phase_after(anomalous: bool, is_open: bool, closed: bool) -> np.uint8:
    if anomalous:
        return OPEN if is_open else PENDING
    return CLEARING if is_open and not closed else CALM


@inlined
def advance(
    e: Episodes,
    slot: int,
    place: Place,
    called: Called,
    score: np.float32,
    limit: np.float32,
    verdicts: Verdicts,
    rules: Rules,
) -> int:
    """Move a device's episode by one reading; returns what it did."""
    e.dead_time[slot] = max(e.dead_time[slot] - 1, 0)
    phase, anomalous = e.phase[slot], called.anomalous
    if phase == CALM:
        if not anomalous:
            return 0
        _begin(e, slot, place)
        _name(e, slot, called, score, limit, verdicts)
    was_open = phase >= OPEN
    _extend(e, slot, place, called, score, verdicts)
    run = _count(e, slot, phase, anomalous)
    instantly = anomalous and called.kind != ANOMALY
    awake = e.dead_time[slot] == 0 or called.ratio > e.dead_ratio[slot]
    opened = anomalous and not was_open and awake and (instantly or run >= rules.open_after)
    if opened and instantly:
        _name(e, slot, called, score, limit, verdicts)
    closed = was_open and not anomalous and run >= rules.close_after

    e.phase[slot] = _phase_after(anomalous, opened or was_open, closed)
    if opened:
        e.run[slot] = 0
        e.first_kind[slot] = e.kind[slot]
    if closed:
        rest(e, slot, rules)
    renamed = was_open and anomalous and _is_no_spike(e, slot, called, rules)
    if renamed:
        _name(e, slot, called, score, limit, verdicts)
    escalated = _escalate(e, slot, rules) or renamed
    did = (OPENED if opened else 0) | (CLOSED if closed else 0) | (ESCALATED if escalated and not opened else 0)
    if was_open and not closed:
        did |= MOVED
        if place.at - e.opened_at[slot] > rules.longest:
            did |= OVERDUE
    return did


@compiled
def break_off(e: Episodes, slot: int) -> bool:
    """End the episode of a device that starts afresh; True if it was open."""
    was_open = bool(e.phase[slot] >= OPEN)
    e.phase[slot] = CALM
    e.run[slot] = 0
    return was_open
