"""The daemon's scoring arithmetic run over whole histories. Used by `calibrate` and `event_channels`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sensord.compiled import compiled, plain
from sensord.detection import scorer
from sensord.detection.scorer import Flags, Memory, Norms, Pace, Room
from sensord.model.bundle import Profiles, Tuning
from sensord.model.network import Network
from sensord.model.steps import Weights, weights_of
from sensord.readings import Floats

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
        return Trace(self.score[start:], self.alarmed[start:], self.deviation[start:], self.error[start:])


def trace(
    network: Network, profiles: Profiles, tuning: Tuning, histories: Sequence[Floats], rows: Sequence[int]
) -> list[Trace]:
    """What the daemon would make of whole histories, each by itself from a fresh state.

    histories: (time, channels) a device; rows: its row in the profiles.
    """
    norms, pace, weights = Norms.of(profiles), Pace.of(tuning), weights_of(network.cell)
    channels = profiles.mean.shape[1]
    room = Room.for_one(channels, norms.head.shape[1], weights)
    traces = []
    for values, row in zip(histories, rows, strict=True):
        time = len(values)
        score, (deviation, expected) = np.zeros(time, np.float32), np.zeros((2, time, channels), np.float32)
        alarmed, memory = np.zeros(time, np.bool_), Memory.blank(1, network.state_size, channels)
        _follow(plain(values), int(row), memory, norms, pace, weights, room, score, alarmed, deviation, expected)
        traces.append(Trace(score, alarmed, deviation, (values - expected) / profiles.scale[row]))
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
        alarmed[t], deviation[t], expected[t] = memory.alarmed[0], room.deviation, room.expected
        _expect_next(memory, 0, norms, profile, weights, room)
