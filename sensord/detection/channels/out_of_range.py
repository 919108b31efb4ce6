"""Range novelty: a channel beyond all that was ever seen of it, with a margin."""

from collections.abc import Sequence

import numpy as np

from sensord.detection.alerts import Kind
from sensord.detection.channels.contract import Past, Seen, present
from sensord.readings import Floats

MARGIN = 0.25  # of the range seen, beyond it
LEAST_MARGIN = 1.0  # scaled: a channel that hardly moved gets this much
YOUNG = 1_000  # readings: a history of so many has shown half of what there is to see


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
        z = np.concatenate([past.z for past in histories])
        seen = np.isfinite(z)
        low = np.where(seen, z, np.inf).min(axis=0)
        high = np.where(seen, z, -np.inf).max(axis=0)
        known = np.isfinite(low)
        low, high = np.where(known, low, 0), np.where(known, high, 0)
        margin = np.maximum(MARGIN * (high - low), LEAST_MARGIN) * (1 + YOUNG / np.maximum(seen.sum(axis=0), 1))
        return np.concatenate((low, high, margin)).astype(np.float32)

    def score(self, seen: Seen, constants: Floats, state: Floats) -> Floats:
        channels = seen.z.shape[1]
        down, up = state[:, :channels], state[:, channels:]  # views
        low, high, margin = np.split(constants, 3, axis=1)  # (n, channels) each
        above = present(seen.z - high) - up
        below = present(low - seen.z) - down
        score = np.maximum(np.maximum(above, below) / margin, np.float32(0))
        grows = ~seen.frozen[:, None] & (score <= 1) & ~np.isnan(seen.z)
        up += np.where(grows, np.maximum(above, np.float32(0)), np.float32(0))
        down += np.where(grows, np.maximum(below, np.float32(0)), np.float32(0))
        return np.asarray(score, np.float32)
