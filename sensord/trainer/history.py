"""History: readings of healthy devices that a bundle is learned from; from recorded files or a topic's range.

Built by `cli`, used by `job` and `evaluate`. What nothing can be learned from is refused here, named and with a remedy.
"""

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Self

import numpy as np

from sensord import spill
from sensord.clock import MICROSECONDS
from sensord.errors import HistoryUnusable
from sensord.readings import Floats, Partition, RawRecord
from sensord.stream.decoders import Decoder
from sensord.stream.tables import Chunk, Pile, Table
from sensord.trainer.confirmed import NONE_CONFIRMED, Confirmed, confirmed
from sensord.trainer.decoded import decoded
from sensord.trainer.holes import NO_HOLES, Breaks, Cause, Holes
from sensord.trainer.offline import Recorded

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMED = 5  # devices that a message names before it counts the rest


@dataclass(frozen=True, slots=True)
class Needs:
    """The least history, in readings. A device with less than per_device is left out, with a note."""

    per_device: int = 64
    in_all: int = 300


@dataclass(frozen=True, slots=True)
class Range:
    """Which readings to take: since <= at < until (microseconds UTC), of these the first rows of each device."""

    since: int | None = None
    until: int | None = None
    rows: int | None = None

    def of(self, device: Recorded) -> Recorded:
        first = 0 if self.since is None else int(np.searchsorted(device.at, self.since))
        last = len(device.at) if self.until is None else int(np.searchsorted(device.at, self.until))
        return _cut(device, slice(first, last if self.rows is None else min(last, first + self.rows)))


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Readings of a fleet's devices in order of time.

    devices: each with values (n, channels) float32, NaN where absent; every channel has a value in every device and
    moves in at least one. notes: what was left out and why, a sentence each, for people. breaks: where holes were cut.
    left_out: how many readings for each cause. confirmed: alerts among these that people called real.
    """

    channels: tuple[str, ...]
    devices: tuple[Recorded, ...]
    notes: tuple[str, ...] = ()
    breaks: Breaks = field(default_factory=dict)
    left_out: Mapping[Cause, int] = field(default_factory=dict)
    confirmed: Confirmed = NONE_CONFIRMED

    @property
    def values(self) -> Mapping[str, Floats]:
        """(n, channels) by device."""
        return {device.device_id: device.values for device in self.devices}

    @property
    def readings(self) -> int:
        return sum(len(device.at) for device in self.devices)

    @property
    def first_at(self) -> int:
        return min(int(device.at[0]) for device in self.devices)

    @property
    def last_at(self) -> int:
        return max(int(device.at[-1]) for device in self.devices)

    @property
    def period_s(self) -> float:
        """The median time between a device's readings."""
        steps = spill.joined((np.diff(device.at) for device in self.devices), np.int64)
        return float(np.median(steps, overwrite_input=True)) / MICROSECONDS

    def split(self, fraction: float) -> tuple[Self, Self]:
        """The first share of each device's readings, and the rest."""
        cuts = [round(fraction * len(device.at)) for device in self.devices]
        earlier = tuple(_cut(device, slice(0, cut)) for device, cut in zip(self.devices, cuts, strict=True))
        later = tuple(_cut(device, slice(cut, None)) for device, cut in zip(self.devices, cuts, strict=True))
        begins = {device.device_id: cut for device, cut in zip(self.devices, cuts, strict=True)}
        after = {
            name: tuple(row - begins[name] for row in rows if row > begins[name])
            for name, rows in self.breaks.items()
            if name in begins
        }
        return replace(self, devices=earlier), replace(self, devices=later, breaks=after)

    def without(self, holes: Holes) -> Self:
        """The same without its holes; what was left out and why is noted, and confirmed alerts are kept aside.

        Raises SpillFull.
        """
        cut = [holes.cut(device) for device in self.devices]
        counted = sum((counts for _, _, counts in cut), Counter[Cause]())
        left_out = {cause: counted[cause] for cause in Cause if counted[cause]}
        notes = tuple(f"left out: {count} readings {cause.told}" for cause, count in left_out.items())
        return replace(
            self,
            devices=tuple(device for device, _, _ in cut),
            notes=self.notes + notes,
            breaks={device.device_id: breaks for device, breaks, _ in cut if breaks},
            left_out=left_out,
            confirmed=confirmed(self.devices, holes),
        )


def from_tables(
    tables: Iterable[Table],
    channels: Sequence[str] | None = None,
    wanted: Range = Range(),
    needs: Needs = Needs(),
    holes: Holes = NO_HOLES,
) -> History:
    """History from recorded files. channels: else all that the files have, which then must be the same. Raises
    HistoryUnusable.
    """
    whole = join(tables, channels)
    return check(replace(whole, devices=tuple(wanted.of(device) for device in whole.devices)).without(holes), needs)


def join(tables: Iterable[Table], channels: Sequence[str] | None = None) -> History:
    """All that the files hold, unchecked but for order; a device's files are put in order by their first time stamp.

    Raises HistoryUnusable, SpillFull.
    """
    of_device: dict[str, list[Table]] = defaultdict(list)
    for table in tables:
        of_device[table.device_id].append(table)
    every = [table for parts in of_device.values() for table in parts]
    names = tuple(channels or dict.fromkeys(channel for table in every for channel in table.channels))
    for device_id, parts in of_device.items():
        parts.sort(key=lambda table: int(table.at[0]))
        _check_order(device_id, parts)
    lengths = [sum(map(len, parts)) for parts in of_device.values()]
    at, values = spill.rows(lengths, (), np.int64), spill.rows(lengths, (len(names),), np.float32)
    for parts, stamps, measured in zip(of_device.values(), at, values, strict=True):
        np.concatenate([table.at for table in parts], out=stamps)
        _choose(parts, names, measured)
    return History(names, tuple(Recorded(*device) for device in zip(of_device, at, values, strict=True)))


def from_records(
    decoder: Decoder,
    batches: Iterable[tuple[Partition, Sequence[RawRecord]]],
    channels: Sequence[str],
    wanted: Range = Range(),
    needs: Needs = Needs(),
    holes: Holes = NO_HOLES,
    span: int = 0,
) -> History:
    """History from a topic: batches of records, each partition's by rising offset.

    channels: the decoder's. span: see `align`, microseconds. What the daemon would refuse or drop is left out and
    counted in the notes. Raises HistoryUnusable.
    """
    pile, names = Pile(), tuple(channels)
    refused: Counter[str] = Counter()
    for _, found in decoded(decoder, batches, len(names), span, refused):
        pile.add(Chunk(found.device_ids, names, found.at, found.values, found.offsets))
    notes = [f"{count} readings or records refused as {reason}" for reason, count in sorted(refused.items())]
    devices, late = [], 0
    for device_id, (at, values, _) in pile.by_device():
        fresh = at > np.r_[np.iinfo(np.int64).min, np.maximum.accumulate(at)[:-1]]
        kept = int(np.sum(fresh))
        if kept < len(at):
            at[:kept], values[:kept] = at[fresh], values[fresh]
        late += len(at) - kept
        devices.append(Recorded(device_id, at[:kept], values[:kept]))
    if late:
        notes.append(f"{late} late or repeated readings dropped, as the daemon drops them")
    taken = History(names, tuple(wanted.of(device) for device in devices), tuple(notes))
    return check(taken.without(holes), needs)


# --- checks ----------------------------------------------------------------------------------------------------------


def check(history: History, needs: Needs = Needs()) -> History:
    """The history without the devices that have too little. Raises HistoryUnusable."""
    enough = tuple(device for device in history.devices if len(device.at) >= needs.per_device)
    short = [f"{each.device_id} ({len(each.at)})" for each in history.devices if len(each.at) < needs.per_device]
    notes = history.notes
    if short:
        notes += (f"devices left out with fewer than {needs.per_device} readings: {_some(short)}",)
    history = replace(history, devices=enough, notes=notes)
    if history.readings < needs.in_all:
        raise HistoryUnusable(
            f"too little history: {history.readings} readings of {len(enough)} devices; at least {needs.in_all} in all "
            f"are needed, and {needs.per_device} of a device" + "".join(f"; {note}" for note in notes)
        )
    _check_finite(history)
    _check_movement(history)
    return history


def _check_order(device_id: str, parts: Sequence[Table]) -> None:
    """Raises HistoryUnusable at the first time stamp that isn't after the one before, within a file or across files."""
    before: Table | None = None
    for table in parts:
        if before is not None and table.at[0] <= before.at[-1]:
            raise HistoryUnusable(
                f"{table.path}, line {table.lines[0]}: {device_id} at {_told(table.at[0])}, while {before.path} "
                f"goes on to {_told(before.at[-1])}; files of one device must not overlap, and devices of one "
                "name need --device-column or files of different names"
            )
        wrong = np.flatnonzero(np.diff(table.at) <= 0)
        if len(wrong):
            row = int(wrong[0]) + 1
            what = "repeats" if table.at[row] == table.at[row - 1] else "is before"
            raise HistoryUnusable(
                f"{table.path}, line {table.lines[row]}: {device_id} at {_told(table.at[row])} {what} "
                f"{_told(table.at[row - 1])} of line {table.lines[row - 1]}; put the file in order of time, one "
                "reading a time stamp, or name the devices with --device-column"
            )
        before = table


def _choose(parts: Sequence[Table], channels: tuple[str, ...], values: Floats) -> None:
    """A device's channels, from its tables one after another into values, (time, channels)."""
    row = 0
    for table in parts:
        missing = [channel for channel in channels if channel not in table.channels]
        if missing:
            raise HistoryUnusable(
                f"{table.path}: channel {missing[0]!r} is missing; it has {', '.join(table.channels)}. "
                "Name the channels that all files have with --channels"
            )
        for place, channel in enumerate(channels):
            values[row : row + len(table), place] = table.values[:, table.channels.index(channel)]
        row += len(table)


def _check_finite(history: History) -> None:
    for device in history.devices:
        blank = ~np.isfinite(device.values).any(axis=0)
        if blank.any():
            channel = history.channels[int(np.argmax(blank))]
            raise HistoryUnusable(
                f"{device.device_id}: no finite value of {channel!r} in {len(device.at)} readings; leave out the "
                "channel (--channels) or the device"
            )


def _check_movement(history: History) -> None:
    moves = np.zeros(len(history.channels), bool)
    for device in history.devices:
        moves |= np.nanmax(device.values, axis=0) > np.nanmin(device.values, axis=0)
    still = [channel for channel, moving in zip(history.channels, moves, strict=True) if not moving]
    if still:
        rest = ",".join(channel for channel, moving in zip(history.channels, moves, strict=True) if moving)
        remedy = f"leave it out: --channels {shlex.quote(rest)}" if rest else "there is nothing to learn from"
        raise HistoryUnusable(f"constant in every device: {', '.join(still)}; {remedy}")


# --- small parts -----------------------------------------------------------------------------------------------------


def _cut(device: Recorded, rows: slice) -> Recorded:
    return Recorded(device.device_id, device.at[rows], device.values[rows])


def _told(at: int) -> str:
    return (EPOCH + timedelta(microseconds=int(at))).isoformat().replace("+00:00", "Z")


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
