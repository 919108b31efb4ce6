"""Off profile: a level that is normal elsewhere, but not at this hour of the day."""

from collections.abc import Sequence

import numpy as np

from sensord.clock import MICROSECONDS
from sensord.detection.alerts import Kind
from sensord.detection.channels.contract import Past, Seen, present
from sensord.readings import Floats, Integers

HOURS = 24
HOUR_US = 3_600 * MICROSECONDS
DAYS = 3.0  # of history that it takes to know an hour
READINGS = 8  # of each hour, likewise
SPAN = 15.0  # readings over which the deviation is smoothed
LEVEL_SPAN = 1_000.0  # readings over which the device's own level is followed
LEAST_SPREAD = 0.1  # scaled


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
        at = np.concatenate([past.at for past in histories])
        z = np.concatenate([past.z for past in histories])
        hour = at // HOUR_US % HOURS
        longest = max(int(past.at[-1] - past.at[0]) for past in histories)
        mean, spread = np.zeros((HOURS, channels)), np.ones((HOURS, channels))
        known = longest >= DAYS * HOURS * HOUR_US
        for each in range(HOURS if known else 0):
            here = z[hour == each]
            known &= bool((np.isfinite(here).sum(axis=0) >= READINGS).all())
            if not known:
                break
            mean[each], spread[each] = np.nanmean(here, axis=0), np.nanstd(here, axis=0)
        spread = np.maximum(spread, LEAST_SPREAD)
        if not known:
            mean[:], spread[:] = 0, 1
        return np.concatenate(([float(known)], mean.ravel(), spread.ravel())).astype(np.float32)

    def score(self, seen: Seen, constants: Floats, state: Floats) -> Floats:
        channels = seen.z.shape[1]
        smoothed, level, count = state[:, :channels], state[:, channels:-1], state[:, -1]  # views
        mean, spread = _at_hour(seen.at, constants[:, 1:].reshape(len(constants), 2, HOURS, channels))
        deviation = np.where(np.isnan(seen.z), smoothed, seen.z - mean)
        smoothed += (deviation - smoothed) / np.minimum(count + 1, np.float32(SPAN))[:, None]
        off = smoothed - level
        level += np.where(seen.frozen[:, None], np.float32(0), off / np.minimum(count + 1, LEVEL_SPAN)[:, None])
        count[:] = np.minimum(count + 1, np.float32(LEVEL_SPAN))
        tells = (constants[:, 0] > 0) & seen.judged
        return np.where(tells[:, None], np.abs(present(off)) / spread, np.float32(0)).astype(np.float32)


def _at_hour(at: Integers, profile: Floats) -> tuple[Floats, Floats]:
    """Mean and spread at each instant, (n, channels) each, between the middles of the two nearest hours.

    profile: (n, 2, hours, channels).
    """
    place = (at % (HOURS * HOUR_US)) / HOUR_US - 0.5
    before = np.floor(place).astype(np.int64)
    part = (place - before).astype(np.float32)[:, None, None]
    rows = np.arange(len(at))
    mixed = profile[rows, :, before % HOURS] * (1 - part) + profile[rows, :, (before + 1) % HOURS] * part
    return mixed[:, 0], mixed[:, 1]
