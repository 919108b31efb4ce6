"""Drift: a level that moves away from what the bundle was learnt from, so slowly that the device is got used to it.

Compiled. The scorer follows a device's level within minutes, so that ageing is no anomaly; this remembers where the
level was, and says when that following has gone further than it ever did in health. `intake` drives it on live
readings, `trainer.trace` on history.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sensord.compiled import F32, compiled, inlined, plain
from sensord.detection.scorer import Counts, Flags
from sensord.errors import BundleInvalid
from sensord.readings import Floats, Integers

NAME = "drift"  # of its constants in a bundle
SPAN = 2_000  # readings over which a level is averaged
STEADY, OPEN = np.uint8(0), np.uint8(1)  # phases
BACK = F32(0.5)  # of the limit, below which a drift is over
AGAIN = 256  # readings after which an open drift is looked at again
DRIFTED, WENT_BACK, OUTLASTED, GOES_ON = 256, 512, 1_024, 2_048  # what a reading did: bits beside those of others
ZERO = F32(0)


class Drifts(NamedTuple):
    """Columns of a device's state, a row a device.

    level and origin (n, channels): the slow mean of the scorer's baseline, and where it began, scaled. followed (n,):
    readings that the level was followed, up to SPAN. Of the latest drift (n,): phase, where it began, how far it went
    at most, and whether a limit is near.
    """

    drift_level: Floats
    drift_origin: Floats
    drift_followed: Counts
    drift_phase: NDArray[np.uint8]
    drift_at: Integers
    drift_offset: Integers
    drift_position: Counts
    drift_peak: Floats
    drift_critical: Flags


class Wander(NamedTuple):
    """What is usual of each profile: limit (rows,), 0 where it isn't known; usual (rows, channels): how far a level
    went in health, scaled, positive."""

    limit: Floats
    usual: Floats


def wander_of(constants: Mapping[str, Floats], channels: int) -> Wander:
    """A bundle's constants of drift: (profile rows, 1 + channels), the limit first. One without any calls nothing a
    drift. Raises BundleInvalid."""
    width = 1 + channels
    given = constants.get(NAME, np.zeros((0, width), np.float32))
    if given.ndim != 2 or given.shape[1] != width:
        raise BundleInvalid(f"constants of {NAME} are {given.shape}; expected (rows, {width})")
    if (given[:, 0] < 0).any() or (given[:, 1:] <= 0).any():
        raise BundleInvalid(f"constants of {NAME}: a limit is negative, or what is usual not positive")
    return Wander(plain(given[:, 0]), plain(given[:, 1:]))


@inlined
def follow(drifts: Drifts, slot: int, baseline: Floats, is_own: bool) -> bool:
    """Move a device's level on by one reading; True once it has been followed for long enough to be believed.

    is_own: its profile was learnt from itself, so that the level of its history is zero; any other device's origin is
    the first level that it has.
    """
    level, origin = drifts.drift_level[slot], drifts.drift_origin[slot]
    followed = min(drifts.drift_followed[slot] + 1, SPAN)
    believed = bool(drifts.drift_followed[slot] == SPAN)
    drifts.drift_followed[slot] = followed
    for j in range(len(level)):
        level[j] += (baseline[j] - level[j]) / F32(followed)
        if not believed and followed == SPAN:
            origin[j] = ZERO if is_own else level[j]
    return believed


@inlined
def distance(drifts: Drifts, slot: int, usual: Floats) -> np.float32:
    """How many times farther than usual the level is, of the channel that has gone farthest."""
    farthest, level, origin = ZERO, drifts.drift_level[slot], drifts.drift_origin[slot]
    for j in range(len(level)):
        farthest = max(farthest, abs(level[j] - origin[j]) / usual[j])
    return farthest


@inlined
def advance(drifts: Drifts, slot: int, at: int, offset: int, position: int, far: np.float32, limit: np.float32) -> int:
    """What one reading's distance does to a device's drift: bits."""
    phase = drifts.drift_phase[slot]
    if phase == STEADY:
        if far <= limit:
            return 0
        drifts.drift_phase[slot] = OPEN
        drifts.drift_at[slot], drifts.drift_offset[slot], drifts.drift_position[slot] = at, offset, position
        drifts.drift_peak[slot] = far
        drifts.drift_critical[slot] = False
        return DRIFTED
    drifts.drift_peak[slot] = max(drifts.drift_peak[slot], far)
    if far >= BACK * limit:
        return 0
    drifts.drift_phase[slot] = STEADY
    return WENT_BACK if phase == OPEN else 0


@compiled
def settle(drifts: Drifts, slot: int) -> None:
    """Take the level as it is for the one that the device has."""
    for j in range(drifts.drift_level.shape[1]):
        drifts.drift_origin[slot, j] = drifts.drift_level[slot, j]
    drifts.drift_phase[slot] = STEADY


def shares(drifts: Drifts, slot: int, usual: Floats) -> NDArray[np.float64]:
    """Each channel's share in how far the level has gone: (channels,), sums to 1."""
    gone = np.square((drifts.drift_level[slot] - drifts.drift_origin[slot]) / usual, dtype=np.float64)
    return np.asarray(gone / gone.sum() if gone.sum() > 0 else np.full(len(gone), 1 / len(gone)))
