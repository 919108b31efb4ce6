"""Spike: a surprise larger than any that this device has had in a while."""

from collections.abc import Sequence

import numpy as np

from sensord.detection.alerts import Kind
from sensord.detection.channels.contract import Past, Seen, present
from sensord.readings import Floats

BLOCK = 64  # readings; the largest surprise of each block is what the next ones are held against
BLOCKS = 32  # span over which a device's usual largest surprise is followed
USUAL_SPREAD = 0.35  # of the log of block maxima, where a history has too few blocks to tell
PRIOR_BLOCKS = 4.0  # that many blocks' worth of USUAL_SPREAD is mixed in
FLOOR = 1e-3  # scaled; smaller errors are all alike


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

    def score(self, seen: Seen, constants: Floats, state: Floats) -> Floats:
        channels = seen.z.shape[1]
        highest, moved, count = state[:, :channels], state[:, channels:-1], state[:, -1]  # views
        size = np.abs(present(seen.error))
        usual = constants[:, :channels] + moved
        score = (np.log(np.maximum(size, np.float32(FLOOR))) - usual) / constants[:, channels:]

        learning = ~seen.frozen & seen.judged
        highest[:] = np.where(learning[:, None], np.maximum(highest, size), highest)
        count += learning
        full = count >= BLOCK
        surprise = np.log(np.maximum(highest, np.float32(FLOOR))) - usual
        moved += np.where(full[:, None] & (highest > 0), surprise / np.float32(BLOCKS), np.float32(0))
        highest[full] = 0
        count[full] = 0
        return np.where(np.isnan(seen.error), np.float32(0), np.maximum(score, np.float32(0)))


INPUT_SIZED = 10.0  # scaled error of a channel without history that no sane reading reaches


def _log_block_maxima(error: Floats) -> Floats:
    """(time, channels) to (blocks, channels); NaN for a block without a value, a short last block left out."""
    whole = len(error) // BLOCK * BLOCK
    blocks = np.abs(error[:whole]).reshape(-1, BLOCK, error.shape[1])
    highest = np.where(np.isnan(blocks), -np.inf, blocks).max(axis=1)
    return np.where(np.isfinite(highest), np.log(np.maximum(highest, FLOOR)), np.nan).astype(np.float32)
