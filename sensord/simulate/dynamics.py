"""First-order lags and slow random drifts, the two building blocks of a pump's physics.

Columns are time down, machines across; taus are in readings.
"""

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]  # (readings, machines)


def lag(target: Signal, tau: Signal | float) -> Signal:
    """What follows the target with time constant tau, starting at its first row: y += (target - y) / tau.

    tau: one number, one per machine, or one per reading and machine. A new array (readings, machines).
    """
    gain = np.broadcast_to(1.0 / np.asarray(tau), target.shape)
    followed = np.empty_like(target)
    level = target[0].copy()
    for step in range(len(target)):
        level += gain[step] * (target[step] - level)
        followed[step] = level
    return followed


def drift(noise: Signal, tau: float) -> Signal:
    """White noise of unit variance turned into a slow wander of unit variance with correlation time tau."""
    gain = 1.0 / tau
    driven = noise * np.sqrt((2.0 - gain) / gain)
    driven[0] = noise[0]  # the lag starts here: in the middle of the wander, not far outside
    return lag(driven, tau)
