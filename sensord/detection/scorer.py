"""Scores a reading: reconstruction error, smoothed and compared with what the device's history allows.

Used by `fleet` for live readings and by the trainer's calibration, so that both judge alike. Compiled, one device at a
time: nothing that happens to others changes a bit of its score.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sensord.compiled import F32, copy, inlined, plain
from sensord.model.bundle import Profiles
from sensord.model.manifest import Tuning
from sensord.model.network import INPUT_LIMIT
from sensord.model.steps import Weights, Work, step, work_for
from sensord.readings import Floats

RESIDUAL_LIMIT = F32(1e6)  # scaled values are held within this, so that squares stay finite in float32
INPUT = F32(INPUT_LIMIT)
ZERO, ONE, HALF, UNKNOWN = F32(0), F32(1), F32(0.5), F32(np.nan)

Flags = NDArray[np.bool_]
Counts = NDArray[np.int32]


class Memory(NamedTuple):
    """What scoring keeps of each device between readings; a row a device, changed in place.

    recurrent (n, state_size). expected (n, channels): the head's word on the next reading, scaled. smoothed f and
    baseline b of the residual (n, channels), scaled. peak (n,): maximum of the score, decaying while calm. course
    (n, channels): sum of the deviations since the alarm began, 0 while calm; its direction is the alarm's. warm (n,):
    readings since a fresh state. settled (n,): was warm once, so its baseline is learnt. alarmed (n,). slack (n,):
    logarithm of the factor on the threshold.
    """

    recurrent: Floats
    expected: Floats
    smoothed: Floats
    baseline: Floats
    peak: Floats
    course: Floats
    warm: Counts
    settled: Flags
    alarmed: Flags
    slack: Floats

    @classmethod
    def blank(cls, n: int, state_size: int, channels: int) -> Self:
        """Devices that were never seen."""
        return cls(
            recurrent=np.zeros((n, state_size), np.float32),
            expected=np.zeros((n, channels), np.float32),
            smoothed=np.zeros((n, channels), np.float32),
            baseline=np.zeros((n, channels), np.float32),
            peak=np.zeros(n, np.float32),
            course=np.zeros((n, channels), np.float32),
            warm=np.zeros(n, np.int32),
            settled=np.zeros(n, np.bool_),
            alarmed=np.zeros(n, np.bool_),
            slack=np.zeros(n, np.float32),
        )


class Norms(NamedTuple):
    """Profiles as the scorer reads them; a row a profile. head (rows, inputs, channels), the rest as in `Profiles`."""

    mean: Floats
    scale: Floats
    head: Floats
    precision: Floats
    threshold: Floats
    usual: Floats

    @classmethod
    def of(cls, profiles: Profiles) -> Self:
        return cls(
            plain(profiles.mean),
            plain(profiles.scale),
            np.array(profiles.head.transpose(0, 2, 1), np.float32, order="C"),
            plain(profiles.precision),
            plain(profiles.threshold),
            plain(profiles.usual),
        )


class Pace(NamedTuple):
    """Tuning as the scorer reads it: spans in readings, in float32. longest_slack: logarithm."""

    warm_up: int
    smoothing: np.float32
    baseline: np.float32
    decay: np.float32
    peak_share: np.float32
    clear_share: np.float32
    adaptation: np.float32
    longest_slack: np.float32

    @classmethod
    def of(cls, tuning: Tuning) -> Self:
        shares = (tuning.decay, tuning.peak_share, tuning.clear_share)
        decay, peak_share, clear_share = map(F32, shares)
        spans = F32(tuning.smoothing), F32(tuning.baseline)
        return cls(
            tuning.warm_up,
            *spans,
            decay,
            peak_share,
            clear_share,
            F32(tuning.adaptation),
            F32(np.log(tuning.adaptation_limit)),
        )


class Room(NamedTuple):
    """Where what is known of the reading at hand is put: (channels,) each, but inputs: what the head sees, (inputs,).

    z: scaled, as expected where absent. deviation u: smoothed residual less its baseline, scaled. expected: in channel
    units, NaN where nothing was expected yet. covector, held: the scorer's own.
    """

    z: Floats
    deviation: Floats
    expected: Floats
    covector: Floats
    held: Floats
    inputs: Floats
    work: Work

    @classmethod
    def for_one(cls, channels: int, inputs: int, weights: Weights) -> Self:
        z, deviation, expected, covector, held = np.zeros((5, channels), np.float32)
        return cls(z, deviation, expected, covector, held, np.zeros(inputs, np.float32), work_for(weights))


@inlined
def _apply(matrix: Floats, vector: Floats, product: Floats) -> None:
    """product = matrix @ vector, of a symmetric matrix."""
    product[:] = ZERO
    for k in range(len(vector)):
        factor = vector[k]
        for j in range(len(product)):
            product[j] += matrix[k, j] * factor


@inlined
def distance(deviation: Floats, precision: Floats, covector: Floats) -> np.float32:
    """Mahalanobis distance sqrt(u' P u): deviation (channels,), precision (channels, channels).

    covector: P u is left there.
    """
    _apply(precision, deviation, covector)
    square = ZERO
    for j in range(len(deviation)):
        square += deviation[j] * covector[j]
    return F32(np.sqrt(max(square, ZERO)))


@inlined
def along(deviation: Floats, course: Floats, precision: Floats, covector: Floats, held: Floats) -> None:
    """The part of a deviation that lies along its course, orthogonally as `distance` measures, left in held.

    All of the deviation where there is no course yet. (channels,) each; covector is overwritten.
    """
    _apply(precision, course, covector)
    square, shared = ZERO, ZERO
    for j in range(len(course)):
        square += course[j] * covector[j]
        shared += deviation[j] * covector[j]
    for j in range(len(course)):
        held[j] = shared / square * course[j] if square > ZERO else deviation[j]


@inlined
def restart(memory: Memory, slot: int) -> None:
    """Give a device a fresh recurrent state; the learnt baseline stays."""
    memory.recurrent[slot] = ZERO
    memory.expected[slot] = ZERO
    copy(memory.baseline[slot], memory.smoothed[slot])
    memory.peak[slot] = ZERO
    memory.course[slot] = ZERO
    memory.warm[slot] = 0
    memory.alarmed[slot] = False


@inlined
def _compare(x: Floats, memory: Memory, slot: int, norms: Norms, profile: int, pace: Pace, room: Room) -> None:
    """Residuals against what was expected; what isn't there changes nothing."""
    expected, smoothed, baseline = memory.expected[slot], memory.smoothed[slot], memory.baseline[slot]
    mean, scale = norms.mean[profile], norms.scale[profile]
    z, u, told = room.z, room.deviation, room.expected
    fresh = memory.warm[slot] == 0
    for j in range(len(x)):
        told[j] = UNKNOWN if fresh else (expected[j] + baseline[j]) * scale[j] + mean[j]
        if np.isnan(x[j]):
            z[j] = expected[j]
        else:
            z[j] = min(max((x[j] - mean[j]) / scale[j], -RESIDUAL_LIMIT), RESIDUAL_LIMIT)
            residual = ZERO if fresh else z[j] - expected[j]
            smoothed[j] += (residual - smoothed[j]) / pace.smoothing
        u[j] = smoothed[j] - baseline[j]


@inlined
def _adapt(memory: Memory, slot: int, louder: bool, pace: Pace) -> None:
    """Let the threshold follow the device: it rises until half of the calm readings score beyond the usual.

    A stochastic approximation of the scores' median (Robbins and Monro 1951), on a log scale. An alarm budget allows
    alarms too rare to be counted as they come, so what is held is how far the threshold lies beyond the median.
    No anomalous reading teaches, and the limit keeps a fault that grows slowly from being learnt away.
    """
    moved = memory.slack[slot] + (HALF if louder else -HALF) / pace.adaptation
    memory.slack[slot] = min(max(moved, -pace.longest_slack), pace.longest_slack)


@inlined
def _baseline_span(memory: Memory, slot: int, profile: int, pace: Pace) -> np.float32:
    """Readings over which the baseline forgets.

    A device without a profile of its own learns its level in its first warm-up, as a running mean.
    """
    if profile == 0 and not memory.settled[slot]:
        return F32(memory.warm[slot]) + ONE
    return pace.baseline


@inlined
def judge(
    x: Floats, memory: Memory, slot: int, norms: Norms, profile: int, pace: Pace, room: Room
) -> tuple[np.float32, np.float32]:
    """Score one reading and move all of the device's memory on but its recurrent state and what is expected next.

    x: (channels,) in channel units, NaN where absent. Returns score and limit, NaN while warming up; the rest is left
    in the room.
    """
    baseline, course = memory.baseline[slot], memory.course[slot]
    scoring = memory.warm[slot] >= pace.warm_up
    _compare(x, memory, slot, norms, profile, pace, room)
    u, held, precision = room.deviation, room.held, norms.precision[profile]
    score = distance(u, precision, room.covector)
    along(u, course, precision, room.covector, held)

    was_alarmed = memory.alarmed[slot]
    peak = memory.peak[slot] if was_alarmed else memory.peak[slot] * pace.decay
    memory.peak[slot] = max(peak, score) if scoring else ZERO
    eased = np.exp(memory.slack[slot])
    limit = max(norms.threshold[profile] * eased, memory.peak[slot] * pace.peak_share)
    if was_alarmed:
        alarmed = scoring and distance(held, precision, room.covector) > limit * pace.clear_share
    else:
        alarmed = scoring and score > limit
    memory.alarmed[slot] = alarmed

    span = _baseline_span(memory, slot, profile, pace)
    for j in range(len(u)):
        followed = u[j] - held[j] if alarmed else u[j]  # drift goes on beside a fault
        baseline[j] += followed / span
        course[j] = course[j] + u[j] if alarmed else ZERO
    if scoring and not alarmed:
        _adapt(memory, slot, score > norms.usual[profile] * eased, pace)
    memory.warm[slot] += 1
    memory.settled[slot] |= memory.warm[slot] >= pace.warm_up
    if not scoring:
        return UNKNOWN, UNKNOWN
    return score, limit


@inlined
def _all_finite(values: Floats) -> bool:
    finite = True
    for j in range(len(values)):
        finite = finite and np.isfinite(values[j])
    return finite


@inlined
def head(memory: Memory, slot: int, norms: Norms, profile: int, room: Room) -> bool:
    """Ask the head, once the network has been stepped by the inputs in the room; True where it had to be reset."""
    inputs, recurrent, expected = room.inputs, memory.recurrent[slot], memory.expected[slot]
    hidden = len(inputs) - len(expected) - 1
    copy(recurrent[:hidden], inputs[:hidden])
    inputs[-1] = ONE
    matrix = norms.head[profile]
    expected[:] = ZERO
    for k in range(len(inputs)):
        factor = inputs[k]
        for j in range(len(expected)):
            expected[j] += matrix[k, j] * factor
    if _all_finite(recurrent) and _all_finite(expected):
        return False
    restart(memory, slot)
    return True


@inlined
def expect_next(memory: Memory, slot: int, norms: Norms, profile: int, weights: Weights, room: Room) -> bool:
    """Step the network by the reading in the room and ask the head for the next one; True where it had to be reset."""
    channels, hidden = len(room.z), len(room.inputs) - len(room.z) - 1
    seen = room.inputs[hidden : hidden + channels]
    for j in range(channels):
        seen[j] = min(max(room.z[j], -INPUT), INPUT)
    step(seen, memory.recurrent[slot], weights, room.work)
    return head(memory, slot, norms, profile, room)


def shares(deviation: Floats, precision: Floats, feedback: Floats) -> NDArray[np.float64]:
    """Each channel's share in a score: (n, channels), not negative; a row sums to 1.

    How much of the squared distance goes away when the one channel is put right: the reconstruction-based contribution
    (Alcala and Qin 2009), (d' P u)^2 / (d' P d). It names the channel rather than those that its error leaks into by
    way of the precision. A channel that is off by 1 is also expected elsewhere from its last reading: it shows as
    d = e_j - W e_j in the residuals.

    deviation u (n, channels); precision P (n, channels, channels); feedback W: (n, channels, channels), the head's
    weights on the last reading.
    """
    u, p = deviation.astype(np.float64), precision.astype(np.float64)
    directions = np.eye(u.shape[1]) - feedback.astype(np.float64)  # (n, channels, one column a faulty channel)
    pulled = np.einsum("nij,nj->ni", p, u)
    along = np.einsum("nij,ni->nj", directions, pulled) ** 2
    length = np.einsum("nij,nik,nkj->nj", directions, p, directions)
    parts = np.where(length > 0, along / np.where(length > 0, length, 1), 0)
    total = parts.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, parts / np.where(total > 0, total, 1), 1 / u.shape[1]), np.float64)
