"""All event channels at once: their columns in a device's state, their limits, and what they say of a wave.

Used by `fleet` on live readings and by the trainer to set the limits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensord.detection.channels import EVENT_CHANNELS
from sensord.detection.channels.contract import EventChannel, Past, Seen
from sensord.detection.scorer import Flags
from sensord.errors import BundleInvalid
from sensord.readings import Floats, Integers

RUN, RAISED = 0, 1  # first floats of every event channel's state: readings in a row beyond the limit; its raise
OWN_STATE = 2
LIMIT = 0  # first float of its constants; the channel's own follow
OWN_CONSTANTS = 1
ACCEPTED_MARGIN = 1.5  # a limit is raised to so many times what a person, or time, has called normal


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one event channel says of a wave. score (n, channels), limit (n,), flagged (n,)."""

    score: Floats
    limit: Floats
    flagged: Flags

    @property
    def highest(self) -> Floats:
        """The score of the strangest channel: (n,)."""
        return np.asarray(self.score.max(axis=1))

    def shares(self, row: int) -> NDArray[np.float64]:
        """Each channel's share in one row: (channels,), sums to 1; by how far it is beyond half of the limit."""
        parts = np.square(np.maximum(self.score[row] - self.limit[row] / 2, 0), dtype=np.float64)
        return np.asarray(parts / parts.sum() if parts.sum() > 0 else np.full(len(parts), 1 / len(parts)))


def state_widths(channels: int) -> Mapping[str, int]:
    """Floats that a device keeps for each event channel."""
    return {each.name: OWN_STATE + each.state_width(channels) for each in EVENT_CHANNELS}


class Bank:
    """The event channels that a bundle has constants for.

    constants: (profile rows, 1 + constants_width) by name, the limit first; a channel without any is off. Raises
    BundleInvalid where their shape is another.
    """

    def __init__(self, constants: Mapping[str, Floats], channels: int) -> None:
        self.active = tuple(each for each in EVENT_CHANNELS if each.name in constants)
        self._constants = constants
        for each in self.active:
            shape, width = constants[each.name].shape, OWN_CONSTANTS + each.constants_width(channels)
            if len(shape) != 2 or shape[1] != width:
                raise BundleInvalid(f"constants of event channel {each.name} are {shape}; expected (rows, {width})")

    def judge(self, seen: Seen, profile: NDArray[np.int32], states: Mapping[str, Floats]) -> list[Verdict]:
        """A verdict for each active channel, in order. profile (n,): rows of the constants. states: n rows each."""
        return [
            self._verdict(each, seen, self._constants[each.name][profile], states[each.name]) for each in self.active
        ]

    def _verdict(self, channel: EventChannel, seen: Seen, constants: Floats, state: Floats) -> Verdict:
        score = channel.score(seen, constants[:, OWN_CONSTANTS:], state[:, OWN_STATE:])
        limit = np.maximum(constants[:, LIMIT], state[:, RAISED])
        beyond = (score > limit[:, None]).any(axis=1)
        state[:, RUN] = np.where(beyond, np.minimum(state[:, RUN] + 1, np.float32(channel.patience)), 0)
        return Verdict(score, limit, state[:, RUN] >= channel.patience)

    def accept(self, verdicts: Sequence[Verdict], states: Mapping[str, Floats], rows: Flags) -> None:
        """Call normal what rows show now: their limits rise beyond it."""
        for each, verdict in zip(self.active, verdicts, strict=True):
            state = states[each.name]
            raised = np.float32(ACCEPTED_MARGIN) * verdict.highest
            over = rows & (verdict.highest > verdict.limit)
            state[:, RAISED] = np.where(over, raised, state[:, RAISED])
            state[rows, RUN] = 0


def highest_scores(channel: EventChannel, constants: Floats, pasts: Sequence[Past], rows: Integers) -> list[Floats]:
    """The strangest channel's score through whole histories, side by side: (time,) a device.

    constants: (profile rows, constants_width); rows: each device's row.
    """
    order = np.argsort([-len(past.at) for past in pasts], kind="stable")  # so that a wave is always a prefix
    lengths = np.array([len(pasts[i].at) for i in order])
    channels = pasts[0].z.shape[1]
    scores = np.full((len(order), int(lengths[0])), np.nan, np.float32)
    state = np.zeros((len(order), channel.state_width(channels)), np.float32)
    chosen = constants[rows[order]]
    for t in range(int(lengths[0])):
        n = int((lengths > t).sum())
        now = [pasts[i] for i in order[:n]]
        error = np.stack([past.error[t] for past in now])
        seen = Seen(
            at=np.array([past.at[t] for past in now]),
            z=np.stack([past.z[t] for past in now]),
            error=error,
            judged=np.ones(n, np.bool_),
            frozen=np.zeros(n, np.bool_),
        )
        scores[:n, t] = channel.score(seen, chosen[:n], state[:n]).max(axis=1)
    placed = {i: scores[place, : lengths[place]] for place, i in enumerate(order.tolist())}
    return [placed[i] for i in range(len(pasts))]
