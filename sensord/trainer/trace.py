"""The daemon's scoring arithmetic run over whole histories. Used by `calibrate` and `event_channels`."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sensord import spill
from sensord.compiled import compiled, copy, plain
from sensord.detection import scorer
from sensord.detection.scorer import Flags, Memory, Norms, Pace, Room
from sensord.model.bundle import Profiles, Tuning
from sensord.model.network import Network
from sensord.model.steps import Weights, weights_of
from sensord.readings import Floats
from sensord.trainer.holes import pieces
from sensord.trainer.threads import threaded

_judge, _expect_next = scorer.judge, scorer.expect_next


@dataclass(frozen=True, slots=True)
class Trace:
    """What the scorer made of a history: score (time,), NaN while warming up; alarmed (time,); deviation u and one-step
    error, (time, channels), scaled; error NaN where nothing was expected or observed."""

    score: Floats
    alarmed: Flags
    deviation: Floats
    error: Floats

    def since(self, start: int) -> "Trace":
        """From a reading after the warm-up on, without later ones that warm up after a hole."""
        later = self.rows(slice(start, None))
        warm = ~np.isnan(later.score)
        return later if warm.all() else later.rows(warm)

    def rows(self, which: slice | Flags) -> "Trace":
        return Trace(self.score[which], self.alarmed[which], self.deviation[which], self.error[which])


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
    traces = [Trace(*columns) for columns in zip(score, alarmed, deviation, error, strict=True)]

    def follow(each: tuple[Floats, int, tuple[int, ...], Trace]) -> None:
        values, row, broken, found = each
        room, memory = (
            Room.for_one(channels, norms.head.shape[1], weights),
            Memory.blank(1, network.state_size, channels),
        )
        for piece in pieces(len(values), broken):
            if piece.start:
                scorer.restart(memory, 0)
            part = found.rows(piece)
            columns = part.score, part.alarmed, part.deviation, part.error
            _follow(plain(values[piece]), int(row), memory, norms, pace, weights, room, *columns)
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
) -> None:
    for t in range(len(values)):
        score[t], _ = _judge(values[t], memory, 0, norms, profile, pace, room)
        alarmed[t] = memory.alarmed[0]
        copy(room.deviation, deviation[t])
        copy(room.expected, expected[t])
        _expect_next(memory, 0, norms, profile, weights, room)
