"""Built-in baselines: the same pipeline with a head that may look at less. Shown beside the model in every report."""

from enum import StrEnum

import numpy as np

from sensord.detection.scorer import Flags


class Expectation(StrEnum):
    """What the expected reading is made of: a trunk's state h, the last reading z, a constant."""

    MODEL = "model"  # [h, z, 1]
    UNTRAINED = "untrained"  # [h, z, 1] of a trunk as it was before its fit: what any memory gives
    EWMA = "ewma"  # [h, 1], h the exponentially weighted mean of the readings
    VAR = "var1"  # [z, 1]: vector autoregression of order 1
    T2 = "t2"  # nothing: Hotelling's T2 of the raw reading against its mean

    def inputs(self, hidden: int, channels: int) -> Flags:
        """Which of the head's inputs may be used: (hidden + channels + 1,)."""
        sees_state = self not in (Expectation.VAR, Expectation.T2)
        sees_reading = self not in (Expectation.EWMA, Expectation.T2)
        return np.repeat([sees_state, sees_reading, self is not Expectation.T2], [hidden, channels, 1])


BASELINES = (Expectation.UNTRAINED, Expectation.EWMA, Expectation.VAR, Expectation.T2)
