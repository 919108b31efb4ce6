"""Takes readings in, one after another, each with all that it does to its device. Driven by `fleet`.

Compiled. A loop over a batch stops where alerts have something to tell, and goes on from there: what happened is told
as bits.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sensord.compiled import F32, compiled, copy, inlined
from sensord.detection import drift, episodes, scorer
from sensord.detection.channels import bank
from sensord.detection.channels.contract import Seen
from sensord.detection.scorer import Counts, Flags, Memory, Norms, Room
from sensord.memory import prefetch
from sensord.model.steps import ELSEWHERE, Weights
from sensord.readings import Floats, Integers

SCORED, WARM_UP, LATE, RESET = np.uint8(0), np.uint8(1), np.uint8(2), np.uint8(3)  # what became of a reading
GAP, BROKEN, AGAIN = 32, 64, 128  # more bits, beside those of `episodes`
NEVER = np.iinfo(np.int64).min  # last_at of a device that was never seen
LINE, AHEAD = 64, 4  # bytes that come from memory at once; readings that a device is asked for before its turn
WITNESS = 32  # readings without a gap after which a device's word is taken for its partition's time
CALM, OPEN = episodes.CALM, episodes.OPEN
LIMIT, UNKNOWN = scorer.RESIDUAL_LIMIT, F32(np.nan)

_call, _advance, _break_off = episodes.call, episodes.advance, episodes.break_off
_goes_on_rising = episodes.goes_on_rising
_judge, _expect_next, _head, _restart = scorer.judge, scorer.expect_next, scorer.head, scorer.restart
_judge_events = bank.judge
_follow_level, _far, _advance_drift = drift.follow, drift.distance, drift.advance


class Presence(NamedTuple):
    """When a device spoke, and its last readings; a row a device. See `devices.fields`."""

    first_at: Integers
    last_at: Integers
    steady: Counts
    witnessed_at: Integers
    seen: Integers
    ring_at: Integers
    ring_observed: Floats
    ring_expected: Floats
    ring_ratio: Floats
    accepting: Flags
    moved: Flags  # an open episode only went on, since alerts were last asked for
    touched: Flags  # by page: changed since the last snapshot


class Lines(NamedTuple):
    """Where the devices' rows lie in memory, in bytes. first: address of the first row. always: of each row, from its
    beginning, what every reading touches. ring: where each column of the ring begins in a row, and one place's size."""

    first: int
    row: int
    always: int
    ring: tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]


class State(NamedTuple):
    """All columns of the devices."""

    lines: Lines
    memory: Memory
    events: bank.Columns
    presence: Presence
    episodes: episodes.Episodes
    drifts: drift.Drifts


class Model(NamedTuple):
    """What a bundle says, and how long things may take. max_gap: microseconds. page: devices a page. again: readings
    into an episode when its evidence is taken again."""

    norms: Norms
    constants: bank.Columns
    wander: drift.Wander
    weights: Weights
    pace: scorer.Pace
    rules: episodes.Rules
    max_gap: int
    page: int
    again: int


class Batch(NamedTuple):
    """Readings as columns, n rows: see `readings.Readings`. profile: of each slot, not of each row."""

    slots: Integers
    at: Integers
    offsets: Integers
    positions: Integers
    values: Floats
    profile: Counts


class Outcome(NamedTuple):
    """What becomes of each row: see `fleet.Observation`. witness (n,). inputs (n, channels): what the network is to be
    stepped by, where that happens elsewhere; else (0, channels)."""

    outcome: NDArray[np.uint8]
    score: Floats
    limit: Floats
    alarmed: Flags
    kind: NDArray[np.uint8]
    in_episode: Flags
    expected: Floats
    witness: Flags
    inputs: Floats


class Desk(NamedTuple):
    """Where what is known of the reading at hand is put."""

    room: Room
    z: Floats
    error: Floats
    verdicts: bank.Verdicts

    @classmethod
    def for_one(cls, channels: int, model: Model) -> Self:
        room = Room.for_one(channels, model.norms.head.shape[1], model.weights)
        z, error = np.zeros((2, channels), np.float32)
        return cls(room, z, error, bank.Verdicts.blank(channels))


@inlined
def _detect(
    x: Floats, at: int, state: State, slot: int, model: Model, profile: int, desk: Desk
) -> tuple[np.float32, np.float32, bool]:
    """The score's and the event channels' word on one reading: score, limit, and whether the score calls it."""
    memory, room = state.memory, desk.room
    score, limit = _judge(x, memory, slot, model.norms, profile, model.pace, room)
    alarmed, scale = memory.alarmed[slot], model.norms.scale[profile]
    for j in range(len(x)):
        desk.z[j] = UNKNOWN if np.isnan(x[j]) else room.z[j]
        desk.error[j] = min(max((x[j] - room.expected[j]) / scale[j], -LIMIT), LIMIT)
        if np.isnan(x[j]) or np.isnan(room.expected[j]):
            desk.error[j] = UNKNOWN
    frozen = alarmed or state.episodes.phase[slot] >= OPEN
    seen = Seen(at, desk.z, desk.error, not np.isnan(score), frozen)
    accepting = state.presence.accepting[slot]
    _judge_events(seen, state.events, slot, model.constants, profile, accepting, desk.verdicts)
    state.presence.accepting[slot] = False
    return score, limit, alarmed


@inlined
def _drift(score: np.float32, state: State, slot: int, profile: int, where: episodes.Place, model: Model) -> int:
    """What a reading does to its device's drift: bits; nothing while warming up."""
    drifts, wander = state.drifts, model.wander
    if np.isnan(score) or len(wander.limit) == 0 or wander.limit[profile] == 0:
        return 0
    if not _follow_level(drifts, slot, state.memory.baseline[slot], profile > 0):
        return 0
    far = _far(drifts, slot, wander.usual[profile])
    did = _advance_drift(drifts, slot, where.at, where.offset, where.position, far, wander.limit[profile])
    if drifts.drift_phase[slot] == drift.OPEN:
        if where.at - drifts.drift_at[slot] > model.rules.longest:
            did |= drift.OUTLASTED
        elif did == 0 and state.presence.seen[slot] % drift.AGAIN == 0:
            did |= drift.GOES_ON
    return did


@inlined
def _remember(x: Floats, at: int, presence: Presence, slot: int, expected: Floats, ratio: np.float32) -> None:
    place = presence.seen[slot] % presence.ring_at.shape[1]
    presence.ring_at[slot, place] = at
    copy(x, presence.ring_observed[slot, place])
    copy(expected, presence.ring_expected[slot, place])
    presence.ring_ratio[slot, place] = ratio
    if presence.seen[slot] == 0:
        presence.first_at[slot] = at
    presence.last_at[slot] = at
    presence.seen[slot] += 1
    presence.steady[slot] = min(presence.steady[slot] + 1, WITNESS)
    if presence.steady[slot] >= WITNESS:
        presence.witnessed_at[slot] = at


@inlined
def _write(
    row: int,
    slot: int,
    score: np.float32,
    limit: np.float32,
    called: episodes.Called,
    state: State,
    desk: Desk,
    out: Outcome,
) -> None:
    out.outcome[row] = WARM_UP if np.isnan(score) else SCORED
    out.score[row], out.limit[row] = score, limit
    out.alarmed[row], out.kind[row] = called.anomalous, called.kind
    copy(desk.room.expected, out.expected[row])
    out.in_episode[row] = state.episodes.phase[slot] != CALM
    out.witness[row] = state.presence.steady[slot] >= WITNESS


@inlined
def _fetch(slot: int, lines: Lines) -> None:
    """What every reading touches of a device."""
    row = lines.first + slot * lines.row
    for line in range(0, lines.always, LINE):
        prefetch(row + line)


@inlined
def _fetch_ring(slot: int, lines: Lines, presence: Presence) -> None:
    """The place of the ring that the next reading goes to; `_fetch` has brought what says which."""
    place = presence.seen[slot] % presence.ring_at.shape[1]
    for begin, size in lines.ring:
        address = lines.first + slot * lines.row + begin + place * size
        prefetch(address)
        prefetch(address + size - 1)


@inlined
def _fetch_ahead(rows: Integers, place: int, slots: Integers, state: State) -> None:
    """Have what the readings after this one touch brought meanwhile."""
    if place + AHEAD < len(rows):
        _fetch(slots[rows[place + AHEAD]], state.lines)
    if place + AHEAD // 2 < len(rows):
        _fetch_ring(slots[rows[place + AHEAD // 2]], state.lines, state.presence)


@compiled
def take(
    rows: Integers, first: int, batch: Batch, state: State, model: Model, desk: Desk, out: Outcome
) -> tuple[int, int]:
    """Take rows in from place `first` on. Returns where to go on, and what the row before that did: bits, 0 at the end.

    After GAP the same row is to be taken again: its device's episode is over, and alerts have to be told before it is.
    """
    memory, presence = state.memory, state.presence
    for place in range(first, len(rows)):
        _fetch_ahead(rows, place, batch.slots, state)
        row = rows[place]
        slot, at, x = batch.slots[row], batch.at[row], batch.values[row]
        profile = batch.profile[slot]
        last = presence.last_at[slot]
        if at <= last:
            continue  # late, as it says already
        if last != NEVER and at - last > model.max_gap:
            presence.steady[slot] = 0
            if _break_off(state.episodes, slot):
                return place, GAP
            _restart(memory, slot)
        score, limit, alarmed = _detect(x, at, state, slot, model, profile, desk)
        _remember(x, at, presence, slot, desk.room.expected, score / limit)
        called = _call(score, limit, alarmed, desk.verdicts)
        where = episodes.Place(at, batch.offsets[row], batch.positions[row])
        did = _advance(state.episodes, slot, where, called, score, limit, desk.verdicts, model.rules)
        did |= _goes_on_rising(state.episodes, slot, presence.ring_ratio[slot], presence.seen[slot])
        did |= _drift(score, state, slot, profile, where, model)
        presence.touched[slot // model.page] = True

        _write(row, slot, score, limit, called, state, desk, out)
        if did & episodes.MOVED:
            presence.moved[slot] = True
            did = did & ~episodes.MOVED | (AGAIN if state.episodes.readings[slot] == model.again else 0)
        if model.weights.kind == ELSEWHERE:
            copy(desk.room.z, out.inputs[row])
        elif _expect_next(memory, slot, model.norms, profile, model.weights, desk.room):
            out.outcome[row] = RESET
            if _break_off(state.episodes, slot):
                did |= BROKEN
        if did:
            return place + 1, did
    return len(rows), 0


@inlined
def _see(z: Floats, room: Room) -> None:
    hidden = len(room.inputs) - len(z) - 1
    for j in range(len(z)):
        room.inputs[hidden + j] = min(max(z[j], -scorer.INPUT), scorer.INPUT)


@compiled
def stepped(
    rows: Integers, first: int, batch: Batch, after: Floats, state: State, model: Model, desk: Desk, out: Outcome
) -> tuple[int, int]:
    """Rows of one wave whose network was stepped elsewhere: after (rows, state_size). Returns as `take` does."""
    for place in range(first, len(rows)):
        row = rows[place]
        slot = batch.slots[row]
        if out.outcome[row] == LATE:
            continue
        copy(after[place], state.memory.recurrent[slot])
        _see(out.inputs[row], desk.room)
        if _head(state.memory, slot, model.norms, batch.profile[slot], desk.room):
            out.outcome[row] = RESET
            if _break_off(state.episodes, slot):
                return place + 1, BROKEN
    return len(rows), 0


@compiled
def warm(slots: Integers, back: int, profile: Counts, state: State, model: Model, desk: Desk, inputs: Floats) -> None:
    """Score the reading that each device had `back` readings ago, raising nothing. Where the network is stepped
    elsewhere, inputs (slots, channels) say by what; NaN where a device had no such reading."""
    presence, ring = state.presence, state.presence.ring_at.shape[1]
    for place in range(len(slots)):
        slot = slots[place]
        if presence.seen[slot] < back:
            continue
        at = (presence.seen[slot] - back) % ring
        x = presence.ring_observed[slot, at]
        _detect(x, presence.ring_at[slot, at], state, slot, model, profile[slot], desk)
        if model.weights.kind == ELSEWHERE:
            copy(desk.room.z, inputs[place])
        else:
            _expect_next(state.memory, slot, model.norms, profile[slot], model.weights, desk.room)


@compiled
def warmed(
    slots: Integers, inputs: Floats, after: Floats, profile: Counts, state: State, model: Model, desk: Desk
) -> None:
    """Go on from what `warm` has scored, once the network was stepped elsewhere: after (slots, state_size)."""
    for place in range(len(slots)):
        slot = slots[place]
        copy(after[place], state.memory.recurrent[slot])
        _see(inputs[place], desk.room)
        _head(state.memory, slot, model.norms, profile[slot], desk.room)
