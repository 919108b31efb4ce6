"""Built-in baselines: the same pipeline with a head that may look at less. Shown beside the model in every report."""

from enum import StrEnum

import numpy as np

from sensord.detection.scorer import Flags


class Expectation(StrEnum):
    """What the expected reading is made of."""

    MODEL = "model"  # [h, z, 1]: recurrent state, last reading, constant
    VAR = "var1"  # [z, 1]: vector autoregression of order 1
    T2 = "t2"  # nothing: Hotelling's T2 of the raw reading against its mean

    def inputs(self, hidden: int, channels: int) -> Flags:
        """Which of the head's inputs may be used: (hidden + channels + 1,)."""
        may_see_state, may_see_reading = self is Expectation.MODEL, self is not Expectation.T2
        return np.repeat(np.array([may_see_state, may_see_reading]), [hidden, channels + 1])


BASELINES = (Expectation.T2, Expectation.VAR)
