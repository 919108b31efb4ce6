"""The daemon's scoring arithmetic run over whole histories, fast. Used by `calibrate`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sensord.detection.scorer import Flags, Judge, Memory, Scored, Scorer
from sensord.model.bundle import Profiles, Tuning
from sensord.model.network import INPUT_LIMIT, WAVE, Network, Stepper
from sensord.readings import Floats

STRETCH = 4_096  # readings of each device that the network runs over at once


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
    """What the daemon would make of whole histories, all devices side by side.

    The network runs over a history in one go, and only the judge goes reading by reading. What is absent from a
    reading is expected from the readings before, so histories with gaps are stepped through.

    histories: (time, channels) a device; rows: its row in the profiles.
    """
    whole = np.array([not np.isnan(values).any() for values in histories])
    traces: dict[int, Trace] = {}
    for alike, follow in ((whole, _run), (~whole, _step)):
        places = sorted(np.flatnonzero(alike).tolist(), key=lambda i: -len(histories[i]))
        for first in range(0, len(places), WAVE):
            wave = places[first : first + WAVE]
            columns = _Columns.of([histories[i] for i in wave], np.array([rows[i] for i in wave], np.int32))
            found = follow(network, profiles, tuning, columns)
            traces |= {i: found.of(place, len(histories[i])) for place, i in enumerate(wave)}
    return [traces[i] for i in range(len(histories))]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Histories side by side, longest first, so that those going on are always a prefix.

    values (devices, time, channels), NaN behind a history's end; lengths and rows (devices,).
    """

    values: Floats
    lengths: NDArray[np.int64]
    rows: NDArray[np.int32]

    @classmethod
    def of(cls, histories: Sequence[Floats], rows: NDArray[np.int32]) -> "_Columns":
        lengths = np.array([len(values) for values in histories])
        values = np.full((len(histories), int(lengths[0]), histories[0].shape[1]), np.nan, np.float32)
        for place, history in enumerate(histories):
            values[place, : len(history)] = history
        return cls(values, lengths, rows)


@dataclass(frozen=True, slots=True)
class _Found:
    """A trace of every device side by side: arrays (devices, time, ...)."""

    score: Floats
    alarmed: Flags
    deviation: Floats
    error: Floats

    def of(self, place: int, length: int) -> Trace:
        return Trace(
            self.score[place, :length],
            self.alarmed[place, :length],
            self.deviation[place, :length],
            self.error[place, :length],
        )


def _run(network: Network, profiles: Profiles, tuning: Tuning, columns: _Columns) -> _Found:
    """Histories without gaps: what to expect of every reading is known beforehand."""
    expected = _expectations(network, profiles, columns)
    judge = Judge(profiles, tuning)

    def score(t: int, n: int, memory: Memory) -> Scored:
        memory.expected[:] = expected[:n, t]
        return judge.judge(columns.values[:n, t], columns.rows[:n], memory)[0]

    return _follow(columns, profiles, 0, score)


def _step(network: Network, profiles: Profiles, tuning: Tuning, columns: _Columns) -> _Found:
    """Any histories, as the daemon does it."""
    scorer = Scorer(Stepper(network), profiles, tuning)

    def score(t: int, n: int, memory: Memory) -> Scored:
        return scorer.score(columns.values[:n, t], columns.rows[:n], memory)

    return _follow(columns, profiles, network.state_size, score)


def _follow(
    columns: _Columns, profiles: Profiles, state_size: int, score: Callable[[int, int, Memory], Scored]
) -> _Found:
    """Reading by reading. score: (reading, how many devices go on, their memory)."""
    devices, time, channels = columns.values.shape
    scores, (deviation, expected) = (
        np.full((devices, time), np.nan, np.float32),
        np.full((2, *columns.values.shape), np.nan, np.float32),
    )
    alarmed = np.zeros((devices, time), np.bool_)
    memory = Memory.blank(devices, state_size, channels)
    for t in range(time):
        n = int((columns.lengths > t).sum())
        memory = memory.first(n)
        scored = score(t, n, memory)
        scores[:n, t], alarmed[:n, t] = scored.score, scored.alarmed
        deviation[:n, t], expected[:n, t] = scored.deviation, scored.expected
    error = (columns.values - expected) / profiles.scale[columns.rows][:, None, :]
    return _Found(scores, alarmed, deviation, error)


@torch.inference_mode()
def _expectations(network: Network, profiles: Profiles, columns: _Columns) -> Floats:
    """The head's word on each reading, scaled: (devices, time, channels); 0 for the first."""
    mean, scale = profiles.mean[columns.rows][:, None, :], profiles.scale[columns.rows][:, None, :]
    by_state, by_reading, constant = np.split(
        profiles.head[columns.rows], [network.shape.hidden, network.shape.hidden + network.shape.channels], axis=2
    )  # (devices, channels, inputs) each
    expected = np.zeros_like(columns.values)
    state = network.initial(len(expected))
    for start in range(0, expected.shape[1] - 1, STRETCH):
        stop = min(start + STRETCH, expected.shape[1] - 1)
        scaled = (columns.values[:, start:stop] - mean) / scale
        seen = np.clip(np.nan_to_num(scaled), -np.float32(INPUT_LIMIT), np.float32(INPUT_LIMIT))
        hidden, state = network.run(torch.from_numpy(seen), state)  # (devices, stretch, hidden)
        expected[:, start + 1 : stop + 1] = (
            hidden.numpy() @ by_state.transpose(0, 2, 1)
            + seen @ by_reading.transpose(0, 2, 1)
            + constant.transpose(0, 2, 1)
        )
    return expected
