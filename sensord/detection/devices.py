"""State of many devices as arrays, one row (slot) a device, and its pages on disk.

`fleet` reads and writes the rows; `store` keeps the pages as bytes that only this file understands.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sensord.detection.channels import EVENT_CHANNELS
from sensord.detection.channels.bank import state_widths
from sensord.detection.device_pages import STATE_FORMATS, Header, open_page, sealed_page
from sensord.detection.drift import Drifts
from sensord.detection.episodes import Episodes
from sensord.detection.intake import NEVER, Lines, Presence, State
from sensord.detection.scorer import Memory
from sensord.errors import StateUnreadable
from sensord.memory import in_large_pages
from sensord.readings import Floats, Integers

PAGE = 1_024  # devices a page
LEAST_CAPACITY = 64
MOST_GROWTH = 16_384  # devices at once: 50 MB
RING = 32  # last readings kept of each device
RINGS = ("ring_at", "ring_observed", "ring_expected", "ring_ratio")
EVENT = "event_"  # before an event channel's name: its column


@dataclass(frozen=True, slots=True)
class Field:
    """One column of device state. of_bundle: it means nothing under another bundle."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    initial: float = 0
    of_bundle: bool = False


def fields(channels: int, state_size: int) -> tuple[Field, ...]:
    """Every column that a device has."""
    return (
        # scoring: see scorer.Memory
        Field("recurrent", "<f4", (state_size,), of_bundle=True),
        Field("expected", "<f4", (channels,), of_bundle=True),
        Field("smoothed", "<f4", (channels,), of_bundle=True),
        Field("baseline", "<f4", (channels,), of_bundle=True),
        Field("peak", "<f4", of_bundle=True),
        Field("course", "<f4", (channels,), of_bundle=True),
        Field("warm", "<i4", of_bundle=True),
        Field("settled", "|b1", of_bundle=True),
        Field("alarmed", "|b1", of_bundle=True),
        Field("slack", "<f4", of_bundle=True),
        # event channels: see channels.bank
        *(Field(EVENT + name, "<f4", (width,), of_bundle=True) for name, width in state_widths(channels).items()),
        # presence: see silence
        Field("first_at", "<i8", initial=NEVER),
        Field("last_at", "<i8", initial=NEVER),
        Field("steady", "<i4"),
        Field("witnessed_at", "<i8", initial=NEVER),
        Field("heard_at", "<i8", initial=NEVER),
        Field("absence", "|u1"),
        Field("absent_offset", "<i8"),
        Field("absent_position", "<i4"),
        # the ring's next row is this modulo RING
        Field("seen", "<i8"),  # readings accepted so far
        # the episode: see episodes
        Field("phase", "|u1"),
        Field("kind", "|u1"),
        Field("first_kind", "|u1"),
        Field("accepting", "|b1"),
        Field("run", "<i4"),
        Field("dead_time", "<i4"),
        Field("dead_ratio", "<f4"),
        Field("ratio_peak", "<f4"),
        Field("opened_at", "<i8"),
        Field("last_seen_at", "<i8"),
        Field("first_offset", "<i8"),
        Field("first_position", "<i4"),
        Field("last_offset", "<i8"),
        Field("readings", "<i4"),
        Field("score_first", "<f4"),
        Field("score_peak", "<f4"),
        Field("score_last", "<f4"),
        Field("threshold", "<f4"),
        Field("critical", "|b1"),
        # the level: see drift
        Field("drift_level", "<f4", (channels,), of_bundle=True),
        Field("drift_origin", "<f4", (channels,), of_bundle=True),
        Field("drift_followed", "<i4", of_bundle=True),
        Field("drift_phase", "|u1"),
        Field("drift_at", "<i8"),
        Field("drift_offset", "<i8"),
        Field("drift_position", "<i4"),
        Field("drift_peak", "<f4"),
        Field("drift_critical", "|b1"),
        # the ring of last readings, of which one row is touched at a time: last, so that all else lies together;
        # expected is in channel units, as observed is; ratio: score by limit, NaN where there was no score
        Field(RINGS[0], "<i8", (RING,)),
        Field(RINGS[1], "<f4", (RING, channels)),
        Field(RINGS[2], "<f4", (RING, channels)),
        Field(RINGS[3], "<f4", (RING,), initial=math.nan),
    )


@dataclass(frozen=True, slots=True)
class Page:
    """Some devices, as they are until one of them is touched. rows: (n,), structured; a part of the store."""

    fields: tuple[Field, ...]
    device_ids: tuple[str, ...]
    rows: NDArray[np.void]

    def copied(self) -> "Page":
        """The same, for good: another thread may read it."""
        return Page(self.fields, self.device_ids, self.rows.copy())

    def sealed(self) -> bytes:
        """As it is stored."""
        columns = tuple((field.name, field.dtype, field.shape) for field in self.fields)
        body = b"".join(np.ascontiguousarray(self.rows[field.name]).tobytes() for field in self.fields)
        return sealed_page(Header(columns, self.device_ids), body)


class Devices:
    """Columns of device state, growing in place; a slot never moves but in `keep`.

    Each column has more rows than there are devices, those beyond len(self) still initial; `fields` gives shapes and
    meaning. All that belongs to one device lies in one piece: where there are so many that each reading has to fetch
    its device from main memory, it fetches a few neighbouring lines, and not one from each of 45 columns.
    """

    recurrent: Floats
    expected: Floats
    smoothed: Floats
    baseline: Floats
    peak: Floats
    course: Floats
    warm: NDArray[np.int32]
    settled: NDArray[np.bool_]
    alarmed: NDArray[np.bool_]
    slack: Floats
    first_at: Integers
    last_at: Integers
    steady: NDArray[np.int32]
    witnessed_at: Integers
    heard_at: Integers
    absence: NDArray[np.uint8]
    absent_offset: Integers
    absent_position: NDArray[np.int32]
    seen: Integers
    ring_at: Integers
    ring_observed: Floats
    ring_expected: Floats
    ring_ratio: Floats
    phase: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    first_kind: NDArray[np.uint8]
    accepting: NDArray[np.bool_]
    run: NDArray[np.int32]
    dead_time: NDArray[np.int32]
    dead_ratio: Floats
    ratio_peak: Floats
    opened_at: Integers
    last_seen_at: Integers
    first_offset: Integers
    first_position: NDArray[np.int32]
    last_offset: Integers
    readings: NDArray[np.int32]
    score_first: Floats
    score_peak: Floats
    score_last: Floats
    threshold: Floats
    critical: NDArray[np.bool_]
    drift_level: Floats
    drift_origin: Floats
    drift_followed: NDArray[np.int32]
    drift_phase: NDArray[np.uint8]
    drift_at: Integers
    drift_offset: Integers
    drift_position: NDArray[np.int32]
    drift_peak: Floats
    drift_critical: NDArray[np.bool_]

    def __init__(self, channels: int, state_size: int) -> None:
        self.fields = fields(channels, state_size)
        self.ids: list[str] = []
        self.slots: dict[str, int] = {}
        self._moved = np.zeros(0, np.bool_)
        self._touched = np.zeros(0, np.bool_)  # pages
        row = np.dtype([(field.name, field.dtype, field.shape) for field in self.fields], align=True)
        self._block = np.zeros(0, row)
        self.state: State  # all columns, for compiled code
        self._grow()

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, device_ids: list[str]) -> Integers:
        """The slot of each device, a new one where it has none: (n,)."""
        slots = self.slots
        try:
            return np.fromiter(map(slots.__getitem__, device_ids), np.int64, len(device_ids))
        except KeyError:
            return np.fromiter((self._slot(name) for name in device_ids), np.int64, len(device_ids))

    def reserve(self, devices: int) -> None:
        """Make room for so many at once."""
        if devices > len(self._moved):
            self._grow(devices)

    def touch(self, slots: Integers) -> None:
        """Mark slots as changed since the last snapshot."""
        self._touched[slots // PAGE] = True

    def take_moved(self) -> Integers:
        """Slots whose open episode only went on since this was last asked."""
        moved = np.flatnonzero(self._moved)
        self._moved[moved] = False
        return moved

    def take_over(self, other: "Devices") -> None:
        """Copy all that doesn't belong to a network from the same devices under another one."""
        rows = slice(0, len(self.ids))
        for field in self.fields:
            if not field.of_bundle:
                self._column(field)[rows] = other._column(field)[rows]
        self.touch(np.arange(len(self.ids)))

    def begin_anew(self, slots: Integers) -> None:
        """Set back all that belongs to a network."""
        for field in self.fields:
            if field.of_bundle:
                self._column(field)[slots] = field.initial

    def keep(self, slots: Integers) -> None:
        """Forget all other devices; those kept move together, in the order of their slots. slots: rising."""
        kept = len(slots)
        self._block[:kept] = self._block[slots]
        for field in self.fields:
            self._column(field)[kept : len(self.ids)] = field.initial
        self._moved[:] = False
        self.ids = [self.ids[slot] for slot in slots.tolist()]
        self.slots = {name: slot for slot, name in enumerate(self.ids)}
        self._touched[:] = False
        self._touched[: self.page_count] = True

    @property
    def page_count(self) -> int:
        """How many pages hold all devices."""
        return -(-len(self.ids) // PAGE)

    def events(self, name: str) -> Floats:
        """An event channel's column: (capacity, width)."""
        column: Floats = getattr(self, EVENT + name)
        return column

    def _slot(self, device_id: str) -> int:
        slot = self.slots.get(device_id)
        if slot is None:
            slot = self.slots[device_id] = len(self.ids)
            self.ids.append(device_id)
            if slot >= len(self._moved):
                self._grow()
        return slot

    def _grow(self, least: int = 0) -> None:
        """Make room in place, in steps: to copy a million devices would hold up the stream, and need room for two."""
        was = len(self._moved)
        now = max(was + min(max(was, LEAST_CAPACITY), MOST_GROWTH), least)
        if self.ids:
            self._block.resize(now, refcheck=False)  # by us alone, and not while anybody holds a part of it
        else:
            was, self._block = 0, np.zeros(now, self._block.dtype)
        in_large_pages(self._block)
        for field in self.fields:
            column = self._block[field.name]
            setattr(self, field.name, column)
            if field.initial:
                column[was:] = field.initial
        self._moved.resize(now, refcheck=False)
        self._touched.resize(-(-now // PAGE), refcheck=False)
        self.state = self._shown()

    def _shown(self) -> State:
        """The columns as compiled code reads them."""
        columns: dict[str, Any] = {field.name: self._column(field) for field in self.fields}  # of kinds as named there
        columns |= {"moved": self._moved, "touched": self._touched}
        return State(
            self._lines(),
            Memory(*(columns[name] for name in Memory._fields)),
            tuple(self.events(each.name) for each in EVENT_CHANNELS),
            Presence(*(columns[name] for name in Presence._fields)),
            Episodes(*(columns[name] for name in Episodes._fields)),
            Drifts(*(columns[name] for name in Drifts._fields)),
        )

    def _lines(self) -> Lines:
        kinds: Mapping[str, Any] = self._block.dtype.fields or {}
        ring = [(kinds[name][1], kinds[name][0].itemsize // RING) for name in RINGS]
        return Lines(
            self._block.ctypes.data, self._block.itemsize, kinds[RINGS[0]][1], (ring[0], ring[1], ring[2], ring[3])
        )

    def _column(self, field: Field) -> NDArray[np.generic]:
        column: NDArray[np.generic] = getattr(self, field.name)
        return column

    # --- pages -------------------------------------------------------------------------------------------------------

    def dirty(self) -> list[int]:
        """Numbers of the pages changed since `settle`."""
        return np.flatnonzero(self._touched).tolist()

    def dirty_pages(self) -> dict[int, Page]:
        """The pages changed since `settle`."""
        return {number: self._page(number) for number in self.dirty()}

    def settle(self) -> None:
        """The dirty pages are stored, or on their way."""
        self._touched[:] = False

    def unsettle(self, numbers: Iterable[int]) -> None:
        """These pages did not get there."""
        self._touched[list(numbers)] = True

    def _page(self, number: int) -> Page:
        rows = slice(number * PAGE, min((number + 1) * PAGE, len(self.ids)))
        return Page(self.fields, tuple(self.ids[rows]), self._block[rows])

    def load(self, pages: Mapping[int, bytes]) -> None:
        """Take over stored pages into an empty store. Raises StateUnreadable."""
        if len(pages) > 1:
            self._grow(len(pages) * PAGE)
        for expected, (number, page) in enumerate(sorted(pages.items())):
            if number != expected:
                raise StateUnreadable(f"state page {expected} is missing (found {sorted(pages)})")
            self._load_page(number, *open_page(number, page))

    def _load_page(self, number: int, version: int, header: Header, body: memoryview) -> None:
        """An older version's page may lack columns: their initial values stand."""
        mine = {(field.name, field.dtype, field.shape): field for field in self.fields}
        lacking = version == STATE_FORMATS[-1] and len(header.columns) != len(mine)
        told = set(header.columns)
        if lacking or not told <= set(mine) or len(told) < len(header.columns):
            raise StateUnreadable(f"state page {number} has other columns than this model's state")
        held = [mine[column] for column in header.columns]
        count, first = len(header.device_ids), number * PAGE
        if count > PAGE or first != len(self.ids):
            raise StateUnreadable(f"state page {number} holds {count} devices from slot {len(self.ids)} on")
        size = sum(count * _row_bytes(field) for field in held)
        if len(body) != size:
            raise StateUnreadable(f"state page {number} has {len(body)} bytes of state; {size} expected")
        self._enlist(header.device_ids)
        at = 0
        for field in held:
            length = count * _row_bytes(field)
            rows = np.frombuffer(body[at : at + length], np.dtype(field.dtype)).reshape(count, *field.shape)
            if field.of_bundle and field.dtype == "<f4" and not np.isfinite(rows).all():
                raise StateUnreadable(f"state page {number}: {field.name} is not finite")
            self._column(field)[first : first + count] = rows
            at += length

    def _enlist(self, device_ids: Iterable[str]) -> None:
        for device_id in device_ids:
            if device_id in self.slots:
                raise StateUnreadable(f"device {device_id!r} has two slots")
            self._slot(device_id)


def _row_bytes(field: Field) -> int:
    kind: DTypeLike = field.dtype
    return np.dtype(kind).itemsize * math.prod(field.shape)
