"""Puts each device's readings into the order of event time, as far as they may come late. Used by `daemon`, `trainer`.

A reading waits until its device has sent one that is `lateness` younger; whatever belongs before it has come by then,
or is too late. Its turn comes with that very reading, not with the batch that brings it: a replay is cut into other
batches, and has to hand out the same order. What waits is part of the partition's state: a replay from a snapshot goes
on with what waited then.
"""

import msgspec
import numpy as np

from sensord.detection.pages import seal, unseal
from sensord.errors import StateUnreadable
from sensord.readings import Integers, Partition, Readings

REORDER_PAGE = -1  # its number among the state pages, beside those of `devices`
MAGIC = b"SNSDLATE"
FORMAT = 1


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    channels: int
    device_ids: tuple[str, ...]


class Reorder:
    """One partition's readings that wait for earlier ones. lateness: microseconds; 0: nothing waits."""

    def __init__(self, partition: Partition, channels: int, lateness: int) -> None:
        self._lateness = lateness
        self._channels = channels
        self._waiting = Readings.none(partition, channels)
        self._stored = False  # there is a page to be replaced

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, readings: Readings) -> Readings:
        """Take readings in as they came; returns those whose turn it is, by event time."""
        if not self._lateness and not len(self._waiting):
            return readings
        known = Readings.join([self._waiting, readings])
        turn = np.maximum(_turns(known, self._lateness), len(self._waiting) - 1)  # where the limit was larger before
        self._waiting = known.pick(np.flatnonzero(turn == len(known)))
        ready = np.flatnonzero(turn < len(known))
        order = np.lexsort((known.positions[ready], known.offsets[ready], known.at[ready], turn[ready]))
        return known.pick(ready[order])

    def rest(self) -> Readings:
        """What waits still, by event time: where nothing more will come."""
        waiting, self._waiting = self._waiting, self._waiting.pick(np.zeros(0, np.int64))
        return waiting.pick(np.lexsort((waiting.positions, waiting.offsets, waiting.at)))

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def pages(self) -> dict[int, bytes]:
        """What waits, as a state page; nothing where nothing ever waits."""
        if not self._lateness and not self._stored:
            return {}
        self._stored = True
        waiting = self._waiting
        header = msgspec.json.encode(_Header(FORMAT, self._channels, tuple(waiting.device_ids)))
        whole = np.stack([waiting.at, waiting.offsets, waiting.positions]).astype("<i8")  # (3, n)
        body = whole.tobytes() + waiting.values.astype("<f4").tobytes()
        checked = np.array([len(header)], "<u4").tobytes() + header + body
        return {REORDER_PAGE: seal(MAGIC, checked)}

    def load(self, page: bytes) -> None:
        """Go on with what waited when the page was written. Raises StateUnreadable."""
        checked = unseal(MAGIC, page, "the page of waiting readings", least=4)
        size = int(np.frombuffer(checked, "<u4", 1)[0])
        try:
            header = msgspec.json.decode(checked[4 : 4 + size], type=_Header)
        except (ValueError, RecursionError) as error:
            raise StateUnreadable(f"the page of waiting readings has no readable header: {error}") from error
        self._waiting = self._readings(header, checked[4 + size :])
        self._stored = True

    def _readings(self, header: _Header, body: memoryview) -> Readings:
        n, channels = len(header.device_ids), self._channels
        if header.format != FORMAT or header.channels != channels:
            raise StateUnreadable(
                f"the page of waiting readings has format {header.format} and {header.channels} channels; "
                f"this version reads format {FORMAT}, the bundle has {channels} channels"
            )
        if len(body) != n * (3 * 8 + 4 * channels):
            raise StateUnreadable(f"the page of waiting readings holds {len(body)} bytes for {n} readings")
        at, offsets, positions = np.frombuffer(body, "<i8", 3 * n).reshape(3, n)
        values = np.frombuffer(body, "<f4", n * channels, 3 * 8 * n).reshape(n, channels)
        return Readings(self._waiting.partition, list(header.device_ids), at, values, offsets, positions)


def _turns(known: Readings, lateness: int) -> Integers:
    """The row with which each row's turn has come: (n,); n where it has to wait. Row by row, whatever the batches were.

    That is the first row of its device, from its own on, behind which all of the device is older by `lateness`.
    """
    n = len(known)
    codes: dict[str, int] = {}
    device = np.fromiter((codes.setdefault(name, len(codes)) for name in known.device_ids), np.int64, n)
    times, rank = np.unique(known.at, return_inverse=True)
    wanted = np.searchsorted(times, known.at + lateness)  # the rank that is young enough
    own = device * (n + 1)  # keeps devices apart: no rank is as large
    order = np.argsort(device, kind="stable")
    youngest = np.maximum.accumulate((own + rank)[order])  # so far, of each row's device: rises over all of them
    place = np.searchsorted(youngest, own + wanted)
    beyond = np.searchsorted(device[order], device, side="right")  # where its device's rows end
    by = np.append(order, n)[np.where(place < beyond, place, n)]
    return np.asarray(np.maximum(by, np.arange(n)), np.int64)
