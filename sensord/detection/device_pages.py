"""The form of a stored page of devices' state, and a glimpse of one device for whoever only looks.

`devices` writes and reads whole pages. A page says itself which columns it has, and how wide they are, so that `web`
needs no bundle to show a device's last readings.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from sensord.detection.pages import CHECKSUM, seal, unseal
from sensord.errors import StateUnreadable
from sensord.readings import Floats, Integers

MAGIC = b"SNSDPAGE"
STATE_FORMATS = (1, 2, 3, 4)  # read; the last is written
DTYPES = ("<f4", "<i4", "<i8", "|b1", "|u1")
SIZES = 12  # bytes: format, header's size, body's size


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a page holds. columns: name, dtype and shape, each as long as there are devices."""

    columns: tuple[tuple[str, str, tuple[int, ...]], ...]
    device_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Glimpse:
    """A device's last readings, oldest first. at (n,): microseconds UTC. observed, expected (n, channels): channel
    units, NaN where there was none. ratio (n,): score by limit, NaN where there was no score, and of older pages."""

    at: Integers
    observed: Floats
    expected: Floats
    ratio: Floats


def sealed_page(header: Header, body: bytes) -> bytes:
    """As it is stored."""
    told = msgspec.json.encode(header)
    return seal(MAGIC, np.array([STATE_FORMATS[-1], len(told), len(body)], "<u4").tobytes() + told + body)


def open_page(number: int, page: bytes) -> tuple[int, Header, memoryview]:
    """A page's format, header and body. Raises StateUnreadable."""
    content = unseal(MAGIC, page, f"state page {number}", least=SIZES)
    version, header_size, body_size = np.frombuffer(content, "<u4", 3).tolist()
    if version not in STATE_FORMATS:
        known = " and ".join(map(str, STATE_FORMATS))
        raise StateUnreadable(f"state page {number} has format {version}; this version reads {known}")
    if len(content) != SIZES + header_size + body_size:
        raise StateUnreadable(f"state page {number} is cut short")
    return version, _header(number, content[SIZES : SIZES + header_size]), content[SIZES + header_size :]


def has_device(number: int, head: bytes, device_id: str) -> bool | None:
    """Whether a page has a device, by its first bytes alone; None where these are too few to say. Raises
    StateUnreadable."""
    start = len(MAGIC) + CHECKSUM
    if len(head) < start + SIZES:
        return None
    size = int(np.frombuffer(head, "<u4", 3, start)[1])
    told = head[start + SIZES : start + SIZES + size]
    return device_id in _header(number, told).device_ids if len(told) == size else None


def glimpse(number: int, page: bytes, device_id: str) -> Glimpse | None:
    """None where the page doesn't have it. Raises StateUnreadable."""
    _, header, body = open_page(number, page)
    if device_id not in header.device_ids:
        return None
    try:
        columns = _row(number, header, body, header.device_ids.index(device_id))
        at, seen = columns["ring_at"], int(columns["seen"])
        places = np.arange(max(0, seen - len(at)), seen) % len(at)
        ratio = columns.get("ring_ratio", np.full(len(at), np.nan, np.float32))
        return Glimpse(at[places], columns["ring_observed"][places], columns["ring_expected"][places], ratio[places])
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError, MemoryError) as error:
        raise StateUnreadable(f"state page {number} has other columns than this version knows: {error}") from error


def _header(number: int, told: bytes | memoryview) -> Header:
    try:
        return msgspec.json.decode(told, type=Header)
    except (ValueError, RecursionError) as error:
        raise StateUnreadable(f"state page {number} has no readable header: {error}") from error


def _row(number: int, header: Header, body: memoryview, row: int) -> Mapping[str, NDArray[Any]]:
    """One device's values, by column."""
    count, at, found = len(header.device_ids), 0, dict[str, NDArray[Any]]()
    for column, dtype, shape in header.columns:
        if dtype not in DTYPES:  # numpy would take more than types
            raise TypeError(f"{column} is of type {dtype!r}")
        size = np.dtype(dtype).itemsize * math.prod(shape)
        found[column] = np.frombuffer(body[at + row * size : at + (row + 1) * size], dtype).reshape(shape)
        at += count * size
    if at != len(body):
        raise StateUnreadable(f"state page {number} has {len(body)} bytes of state; {at} expected")
    return found
