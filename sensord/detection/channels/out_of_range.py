"""Range novelty: a channel beyond all that was ever seen of it, with a margin."""

from collections.abc import Sequence

import numpy as np

from sensord.compiled import F32, compiled
from sensord.detection.alerts import Kind
from sensord.detection.channels.contract import Past, Seen
from sensord.readings import Floats

MARGIN = 0.25  # of the range seen, beyond it
LEAST_MARGIN = 1.0  # scaled: a channel that hardly moved gets this much
YOUNG = 1_000  # readings: a history of so many has shown half of what there is to see
ZERO, ONE = F32(0), F32(1)


class OutOfRange:
    """How many margins a reading lies outside the range.

    The range is history's and grows with what the device shows later, as long as it stays within the margin: a slow
    drift moves it along, a jump does not. A short history has seen little, so its margin is wider.

    Constants: low (channels), high (channels), margin (channels). State: how far the range has grown, down (channels)
    and up (channels).
    """

    name = "out_of_range"
    kind = Kind.OUT_OF_RANGE
    least_limit = 1.0
    patience = 3

    def state_width(self, channels: int) -> int:
        return 2 * channels

    def constants_width(self, channels: int) -> int:
        return 3 * channels

    def learn(self, histories: Sequence[Past]) -> Floats:
        low = np.min([np.fmin.reduce(past.z, axis=0, initial=np.inf) for past in histories], axis=0)
        high = np.max([np.fmax.reduce(past.z, axis=0, initial=-np.inf) for past in histories], axis=0)
        count = np.sum([np.isfinite(past.z).sum(axis=0) for past in histories], axis=0)
        known = np.isfinite(low)
        low, high = np.where(known, low, 0), np.where(known, high, 0)
        margin = np.maximum(MARGIN * (high - low), LEAST_MARGIN) * (1 + YOUNG / np.maximum(count, 1))
        return np.concatenate((low, high, margin)).astype(np.float32)

    @staticmethod
    @compiled
    def score(seen: Seen, constants: Floats, state: Floats, strange: Floats) -> None:
        channels = len(seen.z)
        down, up = state[:channels], state[channels:]
        low, high, margin = constants[:channels], constants[channels : 2 * channels], constants[2 * channels :]
        for j in range(channels):
            absent = np.isnan(seen.z[j])
            above = (ZERO if absent else seen.z[j] - high[j]) - up[j]
            below = (ZERO if absent else low[j] - seen.z[j]) - down[j]
            strange[j] = max(max(above, below) / margin[j], ZERO)
            if not seen.frozen and not absent and strange[j] <= ONE:
                up[j] += max(above, ZERO)
                down[j] += max(below, ZERO)
