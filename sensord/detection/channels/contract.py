"""What an event channel is: a small detector beside the score that knows one kind of trouble, and names it.

An event channel has two acts. `learn` turns healthy histories into one row of constants, `score` says of each channel
of each reading how strange it is in this one respect. How strange is too strange is calibrated by the trainer for all
event channels alike, and held against the score by `bank`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sensord.detection.alerts import Kind
from sensord.detection.scorer import Flags
from sensord.readings import Floats, Integers


@dataclass(frozen=True, slots=True)
class Past:
    """A device's healthy history: at (time,) microseconds UTC; z and error (time, channels), scaled, NaN where absent
    or where nothing was expected yet."""

    at: Integers
    z: Floats
    error: Floats


@dataclass(frozen=True, slots=True)
class Seen:
    """A wave as event channels see it, n rows.

    at (n,) microseconds UTC. z (n, channels): scaled readings, NaN where absent. error (n, channels): z less its
    expectation, NaN where either is missing. judged (n,): past its warm-up. frozen (n,): in alarm, so nothing may be
    learnt from it.
    """

    at: Integers
    z: Floats
    error: Floats
    judged: Flags
    frozen: Flags


class EventChannel(Protocol):
    """One kind of trouble. State and constants are flat float32 rows; a fresh device's state is all zeros."""

    name: str  # of its columns and tensors
    kind: Kind
    least_limit: float  # no calibration goes below
    patience: int  # readings in a row beyond the limit that it takes

    def state_width(self, channels: int) -> int:
        """Floats that each device keeps."""
        ...

    def constants_width(self, channels: int) -> int:
        """Floats that `learn` returns."""
        ...

    def learn(self, histories: Sequence[Past]) -> Floats:
        """Constants from healthy histories of one device, or of several that share them: (constants_width,), finite."""
        ...

    def score(self, seen: Seen, constants: Floats, state: Floats) -> Floats:
        """How strange each channel is: (n, channels), finite, 0 where there is nothing to say.

        constants: (n, constants_width); state: (n, state_width), moved on in place.
        """
        ...


def present(values: Floats) -> Floats:
    """Values with 0 for what is absent."""
    return np.where(np.isnan(values), np.float32(0), values)
