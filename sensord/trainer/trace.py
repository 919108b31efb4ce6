"""The daemon's scoring arithmetic run over whole histories. Used by `calibrate` and `event_channels`."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sensord import spill
from sensord.compiled import compiled, copy, plain
from sensord.detection import drift, scorer
from sensord.detection.scorer import Flags, Memory, Norms, Pace, Room
from sensord.model.bundle import Profiles
from sensord.model.manifest import Tuning
from sensord.model.network import Network
from sensord.model.steps import Weights, weights_of
from sensord.readings import Floats
from sensord.trainer.holes import pieces
from sensord.trainer.threads import threaded
from sensord.trainer.threshold import HELD_OUT

_judge, _expect_next, _follow_level = scorer.judge, scorer.expect_next, drift.follow


@dataclass(frozen=True, slots=True)
class Trace:
    """What the scorer made of a history: score (time,), NaN while warming up; alarmed (time,); deviation u and one-step
    error, (time, channels), scaled; error NaN where nothing was expected or observed. wander (2, channels): how far the
    device's level went at most, in the first part and in the part that is held out."""

    score: Floats
    alarmed: Flags
    deviation: Floats
    error: Floats
    wander: Floats

    def since(self, start: int) -> "Trace":
        """From a reading after the warm-up on, without later ones that warm up after a hole."""
        later = self.rows(slice(start, None))
        warm = ~np.isnan(later.score)
        return later if warm.all() else later.rows(warm)

    def rows(self, which: slice | Flags) -> "Trace":
        return Trace(self.score[which], self.alarmed[which], self.deviation[which], self.error[which], self.wander)


def _blank_drifts(channels: int) -> drift.Drifts:
    """One device's, that was never seen."""
    level, origin = np.zeros((2, 1, channels), np.float32)
    followed, position = np.zeros((2, 1), np.int32)
    at, offset = np.zeros((2, 1), np.int64)
    phase, peak, critical = np.zeros(1, np.uint8), np.zeros(1, np.float32), np.zeros(1, np.bool_)
    return drift.Drifts(level, origin, followed, phase, at, offset, position, peak, critical)


def trace(
    network: Network,
    profiles: Profiles,
    tuning: Tuning,
    histories: Sequence[Floats],
    rows: Sequence[int],
    breaks: Sequence[tuple[int, ...]] = (),
) -> list[Trace]:
    """What the daemon would make of whole histories, each by itself from a fresh state.

    histories: (time, channels) a device; rows: its row in the profiles; breaks: where it has holes, after which the
    state starts afresh.
    """
    norms, pace, weights = Norms.of(profiles), Pace.of(tuning), weights_of(network.cell)
    channels, lengths = profiles.mean.shape[1], [len(values) for values in histories]
    score, alarmed = spill.rows(lengths, (), np.float32), spill.rows(lengths, (), np.bool_)
    deviation, error = (spill.rows(lengths, (channels,), np.float32) for _ in range(2))
    wander = np.zeros((len(histories), 2, channels), np.float32)
    traces = [Trace(*columns) for columns in zip(score, alarmed, deviation, error, wander, strict=True)]

    def follow(each: tuple[Floats, int, tuple[int, ...], Trace]) -> None:
        values, row, broken, found = each
        room, memory = (
            Room.for_one(channels, norms.head.shape[1], weights),
            Memory.blank(1, network.state_size, channels),
        )
        levels = _blank_drifts(channels)
        cut = round((1 - HELD_OUT) * len(values))
        for piece in pieces(len(values), broken):
            if piece.start:
                scorer.restart(memory, 0)
            part = found.rows(piece)
            columns = part.score, part.alarmed, part.deviation, part.error
            drifts = levels, cut - piece.start, found.wander
            _follow(plain(values[piece]), int(row), memory, norms, pace, weights, room, *columns, *drifts)
        np.subtract(values, found.error, out=found.error)  # until here it is what was expected
        np.divide(found.error, profiles.scale[row], out=found.error)

    deque(threaded(follow, zip(histories, rows, breaks or [()] * len(histories), traces, strict=True)), maxlen=0)
    return traces


@compiled
def _follow(
    values: Floats,
    profile: int,
    memory: Memory,
    norms: Norms,
    pace: Pace,
    weights: Weights,
    room: Room,
    score: Floats,
    alarmed: Flags,
    deviation: Floats,
    expected: Floats,
    levels: drift.Drifts,
    cut: int,
    wander: Floats,
) -> None:
    for t in range(len(values)):
        score[t], _ = _judge(values[t], memory, 0, norms, profile, pace, room)
        alarmed[t] = memory.alarmed[0]
        copy(room.deviation, deviation[t])
        copy(room.expected, expected[t])
        if not np.isnan(score[t]) and _follow_level(levels, 0, memory.baseline[0], profile > 0):
            farthest = wander[0 if t < cut else 1]
            for j in range(len(farthest)):
                gone = abs(levels.drift_level[0, j] - levels.drift_origin[0, j])
                farthest[j] = max(farthest[j], gone)
        _expect_next(memory, 0, norms, profile, weights, room)
