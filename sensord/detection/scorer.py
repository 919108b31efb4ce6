"""Scores a wave: reconstruction error, smoothed and compared with what the device's history allows.

Used by `fleet` for live readings and by the trainer's calibration, so that both judge alike. Per reading it costs one
step of the network and a fixed amount of arithmetic; every row is computed independently of the others in its wave.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sensord.model.bundle import Profiles, Tuning
from sensord.model.network import INPUT_LIMIT, Stepper
from sensord.readings import Floats

RESIDUAL_LIMIT = np.float32(1e6)  # scaled values are held within this, so that squares stay finite in float32
Flags = NDArray[np.bool_]
Counts = NDArray[np.int32]


@dataclass(slots=True)
class Memory:
    """What scoring keeps of each device between readings; arrays of n rows, changed in place.

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

    def first(self, n: int) -> Self:
        """The first n rows, as views."""
        return type(self)(
            recurrent=self.recurrent[:n],
            expected=self.expected[:n],
            smoothed=self.smoothed[:n],
            baseline=self.baseline[:n],
            peak=self.peak[:n],
            course=self.course[:n],
            warm=self.warm[:n],
            settled=self.settled[:n],
            alarmed=self.alarmed[:n],
            slack=self.slack[:n],
        )


@dataclass(frozen=True, slots=True)
class Scored:
    """What one wave gave; n rows.

    score and limit (n,): NaN while warming up. deviation u (n, channels): smoothed residual less its baseline,
    scaled. expected (n, channels): in channel units, NaN where nothing was expected yet. broken (n,): rows whose state
    came out non-finite and was reset.
    """

    score: Floats
    limit: Floats
    alarmed: Flags
    deviation: Floats
    expected: Floats
    broken: Flags


class Judge:
    """Profiles and tuning: what turns a reading and what was expected of it into a score.

    It steps no network, so calibration runs it over histories whose expectations are known already.
    """

    def __init__(self, profiles: Profiles, tuning: Tuning) -> None:
        self.profiles = profiles
        self.tuning = tuning

    def judge(self, values: Floats, profile: NDArray[np.int32], memory: Memory) -> tuple[Scored, Floats]:
        """Score one reading a row and move all of the memory on but the recurrent state and what is expected next.

        values: (n, channels) in channel units, NaN where absent. profile: (n,) rows of the profiles. Returns the score,
        and the readings as the network is to see them: (n, channels), scaled, as expected where absent.
        """
        tuning, profiles = self.tuning, self.profiles
        mean, scale = profiles.mean[profile], profiles.scale[profile]  # (n, channels)
        fresh = memory.warm == 0  # (n,)
        scoring = memory.warm >= tuning.warm_up
        offset = memory.expected + memory.baseline
        expected = np.where(fresh[:, None], np.float32(np.nan), offset * scale + mean)

        absent = np.isnan(values)
        z = np.clip((values - mean) / scale, -RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        z = np.where(absent, memory.expected, z)
        residual = np.where(fresh[:, None], np.float32(0), z - memory.expected)
        residual = np.where(absent, memory.smoothed, residual)  # what isn't there changes nothing
        memory.smoothed += (residual - memory.smoothed) / np.float32(tuning.smoothing)
        deviation = memory.smoothed - memory.baseline

        precision = profiles.precision[profile]  # (n, channels, channels)
        score = distance(deviation, precision)
        held = along(deviation, memory.course, precision)  # (n, channels): what an alarm is about
        peak = np.where(memory.alarmed, memory.peak, memory.peak * np.float32(tuning.decay))
        memory.peak[:] = np.where(scoring, np.maximum(peak, score), np.float32(0))
        eased = np.exp(memory.slack)  # (n,)
        limit = np.maximum(profiles.threshold[profile] * eased, memory.peak * np.float32(tuning.peak_share))
        clear = limit * np.float32(tuning.clear_share)
        memory.alarmed[:] = scoring & np.where(memory.alarmed, distance(held, precision) > clear, score > limit)

        alarmed = memory.alarmed[:, None]
        followed = np.where(alarmed, deviation - held, deviation)  # drift goes on beside a fault
        memory.baseline += followed / self._baseline_span(memory, profile)[:, None]
        memory.course[:] = np.where(alarmed, memory.course + deviation, np.float32(0))
        self._adapt(memory, scoring & ~memory.alarmed, score > profiles.usual[profile] * eased)
        memory.warm += 1
        memory.settled |= memory.warm >= tuning.warm_up
        scored = Scored(
            np.where(scoring, score, np.float32(np.nan)),
            np.where(scoring, limit, np.float32(np.nan)),
            memory.alarmed.copy(),
            deviation,
            expected,
            np.zeros(len(values), np.bool_),
        )
        return scored, z

    def _adapt(self, memory: Memory, calm: Flags, louder: Flags) -> None:
        """Let the threshold follow the device: it rises until half of the calm readings score beyond the usual.

        A stochastic approximation of the scores' median (Robbins and Monro 1951), on a log scale. An alarm budget
        allows alarms too rare to be counted as they come, so what is held is how far the threshold lies beyond the
        median.
        No anomalous reading teaches, and the limit keeps a fault that grows slowly from being learnt away.
        """
        step = np.where(louder, np.float32(0.5), np.float32(-0.5)) / np.float32(self.tuning.adaptation)
        limit = np.log(np.float32(self.tuning.adaptation_limit))
        memory.slack[:] = np.clip(memory.slack + np.where(calm, step, np.float32(0)), -limit, limit)

    def _baseline_span(self, memory: Memory, profile: NDArray[np.int32]) -> Floats:
        """Readings over which the baseline forgets: (n,).

        A device without a profile of its own learns its level in its first warm-up, as a running mean.
        """
        learning = (profile == 0) & ~memory.settled
        running = memory.warm.astype(np.float32) + np.float32(1)
        return np.where(learning, running, np.float32(self.tuning.baseline))


class Scorer:
    """A judge with the network whose state says what to expect."""

    def __init__(self, stepper: Stepper, profiles: Profiles, tuning: Tuning) -> None:
        self.stepper = stepper
        self.profiles = profiles
        self._judge = Judge(profiles, tuning)

    def score(self, values: Floats, profile: NDArray[np.int32], memory: Memory) -> Scored:
        """Score one reading a row and move the memory on.

        values: (n, channels) in channel units, NaN where absent; n <= WAVE. profile: (n,) rows of the profiles.
        """
        scored, z = self._judge.judge(values, profile, memory)
        return replace(scored, broken=self._expect_next(z, profile, memory))

    def _expect_next(self, z: Floats, profile: NDArray[np.int32], memory: Memory) -> Flags:
        """Step the network and ask the head for the next reading; returns the rows that had to be reset: (n,)."""
        seen = np.clip(z, -np.float32(INPUT_LIMIT), np.float32(INPUT_LIMIT))
        memory.recurrent[:] = self.stepper.step(seen, memory.recurrent)
        ones = np.ones((len(z), 1), np.float32)
        inputs = np.concatenate((self.stepper.hidden(memory.recurrent), seen, ones), axis=1)
        memory.expected[:] = (self.profiles.head[profile] * inputs[:, None, :]).sum(axis=2)  # (n, channels)
        finite = np.isfinite(memory.recurrent).all(axis=1) & np.isfinite(memory.expected).all(axis=1)
        broken = np.logical_not(finite, dtype=np.bool_)
        if broken.any():
            restart(memory, broken)
        return broken


def restart(memory: Memory, rows: Flags) -> None:
    """Give rows a fresh recurrent state; the learnt baseline stays."""
    memory.recurrent[rows] = 0
    memory.expected[rows] = 0
    memory.smoothed[rows] = memory.baseline[rows]
    memory.peak[rows] = 0
    memory.course[rows] = 0
    memory.warm[rows] = 0
    memory.alarmed[rows] = False


def distance(deviation: Floats, precision: Floats) -> Floats:
    """Mahalanobis distance sqrt(u' P u): deviation (n, channels), precision (n, channels, channels); returns (n,)."""
    return np.asarray(np.sqrt(np.maximum(contributions(deviation, precision).sum(axis=1), np.float32(0))))


def along(deviation: Floats, course: Floats, precision: Floats) -> Floats:
    """The part of each deviation that lies along its course, orthogonally as `distance` measures: (n, channels).

    All of the deviation where there is no course yet.
    """
    covector = (precision * course[:, None, :]).sum(axis=2)  # (n, channels)
    square = (course * covector).sum(axis=1)
    known = square > 0
    share = (deviation * covector).sum(axis=1) / np.where(known, square, np.float32(1))
    return np.asarray(np.where(known[:, None], share[:, None] * course, deviation))


def contributions(deviation: Floats, precision: Floats) -> Floats:
    """Each channel's part u_j (P u)_j of the squared distance: (n, channels); a row sums to the square."""
    return np.asarray(deviation * (precision * deviation[:, None, :]).sum(axis=2))


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
