"""Spike: a surprise larger than any that this device has had in a while."""

from collections.abc import Sequence

import numpy as np

from sensord.compiled import F32, compiled
from sensord.detection.alerts import Kind
from sensord.detection.channels.contract import Past, Seen
from sensord.readings import Floats

BLOCK = 64  # readings; the largest surprise of each block is what the next ones are held against
BLOCKS = 32  # span over which a device's usual largest surprise is followed
USUAL_SPREAD = 0.35  # of the log of block maxima, where a history has too few blocks to tell
PRIOR_BLOCKS = 4.0  # that many blocks' worth of USUAL_SPREAD is mixed in
FLOOR = 1e-3  # scaled; smaller errors are all alike
ZERO, ONE = F32(0), F32(1)
WHOLE, MEMORY, LEAST = F32(BLOCK), F32(BLOCKS), F32(FLOOR)


class Spike:
    """The log of the one-step error, in spreads above the mean log of past block maxima (block maxima: Coles 2001,
    chapter 3).

    Constants: mean (channels) and spread (channels) of log block maxima. State: the running block's maximum (channels),
    how far the mean has moved since history (channels), and readings in the running block (1).
    """

    name = "spike"
    kind = Kind.SPIKE
    least_limit = 5.0
    patience = 1

    def state_width(self, channels: int) -> int:
        return 2 * channels + 1

    def constants_width(self, channels: int) -> int:
        return 2 * channels

    def learn(self, histories: Sequence[Past]) -> Floats:
        blocks = np.concatenate([_log_block_maxima(past.error) for past in histories])  # (blocks, channels)
        known = np.isfinite(blocks)
        count = known.sum(axis=0)
        filled = np.where(known, blocks, 0)
        mean = filled.sum(axis=0) / np.maximum(count, 1)
        squares = np.where(known, (filled - mean) ** 2, 0).sum(axis=0)
        spread = np.sqrt((squares + PRIOR_BLOCKS * USUAL_SPREAD**2) / (count + PRIOR_BLOCKS))
        return np.concatenate((np.where(count > 0, mean, np.log(INPUT_SIZED)), spread)).astype(np.float32)

    @staticmethod
    @compiled
    def score(seen: Seen, constants: Floats, state: Floats, strange: Floats) -> None:
        channels = len(seen.error)
        mean, spread = constants[:channels], constants[channels:]
        highest, moved = state[:channels], state[channels : 2 * channels]
        learning = seen.judged and not seen.frozen
        full = learning and state[-1] + ONE >= WHOLE
        for j in range(channels):
            absent = np.isnan(seen.error[j])
            size = ZERO if absent else abs(seen.error[j])
            usual = mean[j] + moved[j]
            strange[j] = ZERO if absent else max((np.log(max(size, LEAST)) - usual) / spread[j], ZERO)
            if learning:
                highest[j] = max(highest[j], size)
            if full and highest[j] > ZERO:
                moved[j] += (np.log(max(highest[j], LEAST)) - usual) / MEMORY
            if full:
                highest[j] = ZERO
        if learning:
            state[-1] = ZERO if full else state[-1] + ONE


INPUT_SIZED = 10.0  # scaled error of a channel without history that no sane reading reaches


def _log_block_maxima(error: Floats) -> Floats:
    """(time, channels) to (blocks, channels); NaN for a block without a value, a short last block left out."""
    whole = len(error) // BLOCK * BLOCK
    blocks = np.abs(error[:whole]).reshape(-1, BLOCK, error.shape[1])
    highest = np.where(np.isnan(blocks), -np.inf, blocks).max(axis=1)
    return np.where(np.isfinite(highest), np.log(np.maximum(highest, FLOOR)), np.nan).astype(np.float32)
