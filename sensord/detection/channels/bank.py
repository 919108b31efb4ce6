"""All event channels at once: their columns in a device's state, their limits, and what they say of a reading.

Used by `fleet` on live readings and by the trainer to set the limits.
"""

from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sensord.compiled import F32, compiled, inlined, plain
from sensord.detection.channels import EVENT_CHANNELS
from sensord.detection.channels.contract import EventChannel, Past, Seen
from sensord.detection.channels.off_profile import OffProfile
from sensord.detection.channels.out_of_range import OutOfRange
from sensord.detection.channels.spike import Spike
from sensord.detection.channels.stuck import Stuck
from sensord.detection.scorer import Flags
from sensord.errors import BundleInvalid
from sensord.readings import Floats, Integers

RUN, RAISED = 0, 1  # first floats of every event channel's state: readings in a row beyond the limit; its raise
OWN_STATE = 2
LIMIT = 0  # first float of its constants; the channel's own follow
OWN_CONSTANTS = 1
ACCEPTED_MARGIN = F32(1.5)  # a limit is raised to so many times what a person, or time, has called normal
ZERO, ONE = F32(0), F32(1)

PATIENCE = np.array([each.patience for each in EVENT_CHANNELS], np.float32)
STUCK, OUT_OF_RANGE, SPIKE, OFF_PROFILE = range(len(EVENT_CHANNELS))  # places in EVENT_CHANNELS
_stuck, _out_of_range, _spike, _off_profile = Stuck.score, OutOfRange.score, Spike.score, OffProfile.score

Columns = tuple[Floats, ...]  # of each event channel, in the order of EVENT_CHANNELS


class Verdicts(NamedTuple):
    """What the event channels say of the reading at hand, a row for each: strange (n, channels), highest: of the
    strangest channel (n,), limit (n,), flagged (n,). An event channel that is off says nothing: NaN."""

    strange: Floats
    highest: Floats
    limit: Floats
    flagged: Flags

    @classmethod
    def blank(cls, channels: int) -> Self:
        n = len(EVENT_CHANNELS)
        unknown = np.full(n, np.nan, np.float32)
        return cls(np.zeros((n, channels), np.float32), unknown, unknown.copy(), np.zeros(n, np.bool_))

    def shares(self, place: int) -> NDArray[np.float64]:
        """Each channel's share in what one event channel says: (channels,), sums to 1; by how far it is beyond half of
        the limit."""
        parts = np.square(np.maximum(self.strange[place] - self.limit[place] / 2, 0), dtype=np.float64)
        return np.asarray(parts / parts.sum() if parts.sum() > 0 else np.full(len(parts), 1 / len(parts)))


def state_widths(channels: int) -> Mapping[str, int]:
    """Floats that a device keeps for each event channel."""
    return {each.name: OWN_STATE + each.state_width(channels) for each in EVENT_CHANNELS}


def constants_of(constants: Mapping[str, Floats], channels: int) -> Columns:
    """A bundle's constants of every event channel: (profile rows, 1 + constants_width), the limit first.

    One without any is off, and has no rows. Raises BundleInvalid where their shape is another.
    """
    found = []
    for each in EVENT_CHANNELS:
        width = OWN_CONSTANTS + each.constants_width(channels)
        given = constants.get(each.name, np.zeros((0, width), np.float32))
        if given.ndim != 2 or given.shape[1] != width:
            raise BundleInvalid(f"constants of event channel {each.name} are {given.shape}; expected (rows, {width})")
        found.append(plain(given))
    return tuple(found)


@inlined
def _highest(strange: Floats) -> np.float32:
    highest: np.float32 = strange[0]
    for j in range(1, len(strange)):
        highest = max(highest, strange[j])
    return highest


@inlined
def judge(
    seen: Seen, states: Columns, slot: int, constants: Columns, profile: int, accepting: bool, verdicts: Verdicts
) -> None:
    """Every event channel's verdict on one reading; its state is moved on. accepting: what it shows is normal."""
    for place in range(len(constants)):
        if len(constants[place]) > 0:
            _judge_one(place, seen, states[place][slot], constants[place][profile], accepting, verdicts)


@compiled
def _judge_one(place: int, seen: Seen, state: Floats, constants: Floats, accepting: bool, verdicts: Verdicts) -> None:
    strange = verdicts.strange[place]
    _score(place, seen, constants[OWN_CONSTANTS:], state[OWN_STATE:], strange)
    highest, limit = _highest(strange), max(constants[LIMIT], state[RAISED])
    verdicts.highest[place], verdicts.limit[place] = highest, limit
    state[RUN] = min(state[RUN] + ONE, PATIENCE[place]) if highest > limit else ZERO
    verdicts.flagged[place] = state[RUN] >= PATIENCE[place] and not accepting
    if accepting:
        state[RUN] = ZERO
        if highest > limit:
            state[RAISED] = ACCEPTED_MARGIN * highest


@compiled
def _score(place: int, seen: Seen, constants: Floats, state: Floats, strange: Floats) -> None:
    """A line for each event channel: compiled code can't look one up in a table."""
    if place == STUCK:
        _stuck(seen, constants, state, strange)
    elif place == OUT_OF_RANGE:
        _out_of_range(seen, constants, state, strange)
    elif place == SPIKE:
        _spike(seen, constants, state, strange)
    elif place == OFF_PROFILE:
        _off_profile(seen, constants, state, strange)


def highest_scores(channel: EventChannel, constants: Floats, past: Past) -> Floats:
    """The strangest channel's score through a whole history: (time,). constants: (constants_width,)."""
    channels = past.z.shape[1]
    place, width = [each.name for each in EVENT_CHANNELS].index(channel.name), channel.state_width(channels)
    scores, state = np.zeros(len(past.at), np.float32), np.zeros(width, np.float32)
    strange = np.zeros(channels, np.float32)
    _follow(place, plain(past.at), plain(past.z), plain(past.error), plain(constants), state, strange, scores)
    return scores


@compiled
def _follow(
    place: int,
    at: Integers,
    z: Floats,
    error: Floats,
    constants: Floats,
    state: Floats,
    strange: Floats,
    scores: Floats,
) -> None:
    for row in range(len(at)):
        _score(place, Seen(at[row], z[row], error[row], True, False), constants, state, strange)
        scores[row] = _highest(strange)
