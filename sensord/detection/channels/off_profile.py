"""Off profile: a level that is normal elsewhere, but not at this hour of the day."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sensord.clock import MICROSECONDS
from sensord.compiled import F32, compiled
from sensord.detection.alerts import Kind
from sensord.detection.channels.contract import Past, Seen
from sensord.readings import Floats, Integers

HOURS = 24
HOUR_US = 3_600 * MICROSECONDS
DAYS = 3.0  # of history that it takes to know an hour
READINGS = 8  # of each hour, likewise
SPAN = 15.0  # readings over which the deviation is smoothed
LEVEL_SPAN = 1_000.0  # readings over which the device's own level is followed
LEAST_SPREAD = 0.1  # scaled
ZERO, ONE = F32(0), F32(1)
SHORT, LONG = F32(SPAN), F32(LEVEL_SPAN)


class OffProfile:
    """The smoothed deviation from the hour's usual level, in this hour's usual spreads; less the device's slow level.

    Hours are UTC; between their middles the profile is interpolated.

    Constants: is it known (1), mean (24 channels), spread (24 channels). State: smoothed deviation (channels), slow
    level (channels), readings so far (1).
    """

    name = "off_profile"
    kind = Kind.OFF_PROFILE
    least_limit = 4.0
    patience = 5

    def state_width(self, channels: int) -> int:
        return 2 * channels + 1

    def constants_width(self, channels: int) -> int:
        return 1 + 2 * HOURS * channels

    def learn(self, histories: Sequence[Past]) -> Floats:
        channels = histories[0].z.shape[1]
        longest = max(int(past.at[-1] - past.at[0]) for past in histories)
        mean, spread = np.zeros((HOURS, channels)), np.ones((HOURS, channels))
        count = np.sum([_by_hour(past, np.isfinite(past.z)) for past in histories], axis=0)
        known = longest >= DAYS * HOURS * HOUR_US and bool((count >= READINGS).all())
        if known:
            mean = np.sum([_by_hour(past, past.z) for past in histories], axis=0) / count
            squares = [_by_hour(past, np.square(past.z - mean[_hour(past)])) for past in histories]
            spread = np.sqrt(np.sum(squares, axis=0) / count)
        spread = np.maximum(spread, LEAST_SPREAD)
        return np.concatenate(([float(known)], mean.ravel(), spread.ravel())).astype(np.float32)

    @staticmethod
    @compiled
    def score(seen: Seen, constants: Floats, state: Floats, strange: Floats) -> None:
        channels = len(seen.z)
        smoothed, level, count = state[:channels], state[channels : 2 * channels], state[-1]
        mean, spread = constants[1 : 1 + HOURS * channels], constants[1 + HOURS * channels :]
        place = (seen.at % (HOURS * HOUR_US)) / HOUR_US - 0.5  # hours, from the middle of the first
        before = int(np.floor(place))
        part = F32(place - before)  # of the way from one hour's middle to the next one's
        one, other = (before % HOURS) * channels, ((before + 1) % HOURS) * channels
        short, long = min(count + ONE, SHORT), min(count + ONE, LONG)
        tells = constants[0] > ZERO and seen.judged
        for j in range(channels):
            if not np.isnan(seen.z[j]):
                usual = mean[one + j] * (ONE - part) + mean[other + j] * part
                smoothed[j] += (seen.z[j] - usual - smoothed[j]) / short
            off = smoothed[j] - level[j]
            if not seen.frozen:
                level[j] += off / long
            usual_spread = spread[one + j] * (ONE - part) + spread[other + j] * part
            strange[j] = abs(off) / usual_spread if tells else ZERO
        state[-1] = long


def _hour(past: Past) -> Integers:
    return np.asarray(past.at // HOUR_US % HOURS, np.int64)


def _by_hour(past: Past, values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Sums of values (time, channels) over each hour of the day, NaN left out: (24, channels)."""
    hour, known = _hour(past), np.nan_to_num(values)
    return np.stack([np.bincount(hour, column, HOURS) for column in known.T], axis=1)
