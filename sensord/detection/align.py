"""Gathers what comes channel by channel into readings: each device's values of about the same time. Used by `daemon`,
`trainer`.

A device's reading is held from its first value on. It is handed out when all channels are there, when one comes that
it has already, or when a value comes that is `span` or more younger than its first. That is decided row by row, so a
replay that is cut into other batches hands out the same. What is held is part of the partition's state.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from sensord.detection.pages import seal, unseal
from sensord.errors import StateUnreadable
from sensord.readings import Floats, Partition, Readings

ALIGN_PAGE = -2  # its number among the state pages, beside those of `devices` and `reorder`
MAGIC = b"SNSDHELD"
FORMAT = 1


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    channels: int
    device_ids: tuple[str, ...]


@dataclass(slots=True)
class _Held:
    """A reading that is being gathered. at: of its first value; offset, position: of its last. values: (channels,)."""

    at: int
    offset: int
    position: int
    values: Floats


class Align:
    """One partition's readings that are being gathered. span: microseconds; 0: nothing is held."""

    def __init__(self, partition: Partition, channels: int, span: int) -> None:
        self._partition, self._channels, self._span = partition, channels, span
        self._held: dict[str, _Held] = {}
        self._stored = False  # there is a page to be replaced

    def take(self, readings: Readings) -> Readings:
        """Take values in as they came; returns the readings that are whole by now, each in its turn."""
        if not self._span and not self._held:
            return readings
        done: list[tuple[str, _Held]] = []
        positions = readings.positions.tolist()
        rows = zip(readings.device_ids, readings.at.tolist(), readings.offsets.tolist(), positions, strict=True)
        for row, (device, at, offset, position) in enumerate(rows):
            self._add(device, _Held(at, offset, position, readings.values[row].copy()), done)
        return self._readings(done)

    def rest(self) -> Readings:
        """What is held still: where nothing more will come."""
        held, self._held = self._held, {}
        return self._readings(list(held.items()))

    def _add(self, device: str, value: _Held, done: list[tuple[str, _Held]]) -> None:
        held = self._held.get(device)
        if held is not None and value.at <= held.at - self._span:
            done.append((device, value))  # far too late to belong to it
            return
        if held is not None and (value.at >= held.at + self._span or _overlap(held, value)):
            done.append((device, self._held.pop(device)))
            held = None
        if held is None:
            held = self._held[device] = value
        else:
            fresh = ~np.isnan(value.values)
            held.values[fresh] = value.values[fresh]
            held.offset, held.position = value.offset, value.position
        if not np.isnan(held.values).any():
            done.append((device, self._held.pop(device)))

    def _readings(self, done: list[tuple[str, _Held]]) -> Readings:
        if not done:
            return Readings.none(self._partition, self._channels)
        whole = np.array([(one.at, one.offset, one.position) for _, one in done], np.int64)  # (n, 3)
        values = np.stack([one.values for _, one in done])
        at, offsets, positions = np.ascontiguousarray(whole.T)
        return Readings(self._partition, [device for device, _ in done], at, values, offsets, positions)

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def pages(self) -> dict[int, bytes]:
        """What is held, as a state page; nothing where nothing ever is."""
        if not self._span and not self._stored:
            return {}
        self._stored = True
        header = msgspec.json.encode(_Header(FORMAT, self._channels, tuple(self._held)))
        whole = np.array([(one.at, one.offset, one.position) for one in self._held.values()], "<i8").reshape(-1, 3)
        values = np.array([one.values for one in self._held.values()], "<f4").reshape(-1, self._channels)
        sizes = np.array([len(header)], "<u4").tobytes()
        return {ALIGN_PAGE: seal(MAGIC, sizes + header + whole.tobytes() + values.tobytes())}

    def load(self, page: bytes) -> None:
        """Go on with what was held when the page was written. Raises StateUnreadable."""
        checked = unseal(MAGIC, page, "the page of held readings", least=4)
        size = int(np.frombuffer(checked, "<u4", 1)[0])
        try:
            header = msgspec.json.decode(checked[4 : 4 + size], type=_Header)
        except (ValueError, RecursionError) as error:
            raise StateUnreadable(f"the page of held readings has no readable header: {error}") from error
        n, body = len(header.device_ids), checked[4 + size :]
        if (header.format, header.channels) != (FORMAT, self._channels):
            raise StateUnreadable(
                f"the page of held readings has format {header.format} and {header.channels} channels; this version "
                f"reads format {FORMAT}, the bundle has {self._channels} channels"
            )
        if len(body) != n * (3 * 8 + 4 * self._channels):
            raise StateUnreadable(f"the page of held readings holds {len(body)} bytes for {n} readings")
        whole = np.frombuffer(body, "<i8", 3 * n).reshape(n, 3).tolist()
        values = np.frombuffer(body, "<f4", n * self._channels, 3 * 8 * n).reshape(n, self._channels)
        held = zip(header.device_ids, whole, values, strict=True)
        self._held = {device: _Held(at, offset, place, row.copy()) for device, (at, offset, place), row in held}
        self._stored = True


def _overlap(held: _Held, value: _Held) -> bool:
    """Whether a value comes for a channel that has one already."""
    return bool((~np.isnan(held.values) & ~np.isnan(value.values)).any())
