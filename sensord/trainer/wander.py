"""How far the level of a healthy device wanders, by itself: what is more is a drift. Used by `event_channels`."""

from collections.abc import Sequence

import numpy as np

from sensord.clock import MICROSECONDS
from sensord.detection.drift import SPAN
from sensord.readings import Floats, Integers

READINGS = 5 * SPAN  # that it takes to know
DAYS = 3.0  # likewise: the time of day isn't ageing
LEAST_USUAL = 0.05  # scaled, of what isn't foreseen: where the last reading foresees most, this is a far larger offset
LEAST_LIMIT = 2.0  # times farther than ever
MARGIN = 1.5  # times as much as any device's level went farther in the part that is held out than before
DAY_US = 86_400 * MICROSECONDS


def learn_wander(profiles: int, at: Sequence[Integers], rows: Integers, own: Floats, of_fleet: Floats) -> Floats:
    """Limit and usual distance of each profile: (profiles, 1 + channels); a limit of 0 where it can't be known.

    at: each device's times, microseconds. rows: its profile. own, of_fleet (devices, 2, channels): how far its level
    went at most in the first part of its history and in the last, under its own profile and under the fleet's.
    """
    known = np.array([len(each) >= READINGS and each[-1] - each[0] >= DAYS * DAY_US for each in at], np.bool_)
    channels = own.shape[2]
    learnt = np.concatenate((np.zeros((profiles, 1)), np.ones((profiles, channels))), axis=1).astype(np.float32)
    if not known.any():
        return learnt
    learnt[rows[known], 1:] = np.maximum(own[known].max(axis=1), LEAST_USUAL)  # a device's own row is its alone
    learnt[0, 1:] = np.maximum(of_fleet[known].max(axis=(0, 1)), LEAST_USUAL)
    grown = [each[known, 1] / np.maximum(each[known, 0], LEAST_USUAL) for each in (own, of_fleet)]
    limit = max(LEAST_LIMIT, MARGIN * float(np.max(grown)))
    learnt[0, 0] = limit
    learnt[rows[known], 0] = limit
    return learnt
