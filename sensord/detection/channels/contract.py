"""What an event channel is: a small detector beside the score that knows one kind of trouble, and names it.

An event channel has two acts. `learn` turns healthy histories into one row of constants; `score`, compiled, says of
each channel of a reading how strange it is in this one respect. How strange is too strange is calibrated by the trainer
for all event channels alike, and held against the score by `bank`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from sensord.detection.alerts import Kind
from sensord.readings import Floats, Integers


@dataclass(frozen=True, slots=True)
class Past:
    """A device's healthy history: at (time,) microseconds UTC; z and error (time, channels), scaled, NaN where absent
    or where nothing was expected yet."""

    at: Integers
    z: Floats
    error: Floats


class Seen(NamedTuple):
    """One reading as event channels see it.

    at: microseconds UTC. z (channels,): scaled, NaN where absent. error (channels,): z less its expectation, NaN where
    either is missing. judged: past its warm-up. frozen: in alarm, so nothing may be learnt from it.
    """

    at: int
    z: Floats
    error: Floats
    judged: bool
    frozen: bool


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

    @staticmethod
    def score(seen: Seen, constants: Floats, state: Floats, strange: Floats) -> None:
        """How strange each channel is, into strange, (channels,): finite, 0 where there is nothing to say. Compiled.

        constants: (constants_width,); state: (state_width,), moved on in place.
        """
        ...
