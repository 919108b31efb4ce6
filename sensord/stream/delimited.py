"""Readings in columns of text: CSV with any separator, or columns set apart by blanks; with a header or names given."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from sensord.errors import RecordingUnreadable
from sensord.readings import Floats, Integers
from sensord.stream.dead_letters import Refusal, check_device_id
from sensord.stream.stamps import StampError, TimeUnit, stamps
from sensord.stream.tables import Chunk, FileOptions

ROWS = 1_000  # a chunk's: small enough to stay in the processor's cache
SAMPLE = 20  # lines looked at to find the separator
SEPARATORS = (";", "\t", "|", ",", None)  # None: blanks
ABSENT = frozenset(("", "na", "n/a", "nan", "null", "none", "-"))
DEVICE_NAME = "device_id"
TIME_NAMES = ("datetime", "timestamp", "time", "date_time", "event_time", "at", "ts", "date", "cycle", "cycles")

Row = list[str]


def delimited_chunks(path: Path, lines: Iterator[str], options: FileOptions, device_id: str) -> Iterator[Chunk]:
    """The file's rows. device_id: whose they are when no column says it. Raises RecordingUnreadable."""
    rows = _rows(path, lines)
    names = options.column_names or _header(path, rows)
    layout: _Layout | None = None
    while chunk := list(islice(rows, ROWS)):
        cells = _columns(path, names, chunk)
        places = np.array([line for line, _ in chunk], np.int64)
        layout = layout or _layout(path, names, cells, options)
        yield Chunk(
            device_ids=_device_ids(path, cells, places, layout, device_id),
            channels=tuple(names[column] for column in layout.channels),
            at=_times(path, cells, places, layout, options.time_unit),
            values=_values(path, cells, places, layout),
            lines=places,
        )


# --- rows ------------------------------------------------------------------------------------------------------------


def _rows(path: Path, lines: Iterator[str]) -> Iterator[tuple[int, Row]]:
    """Line number and cells of each row that isn't blank."""
    sample = list(islice(lines, SAMPLE))
    separator = _separator(path, sample)
    lines = chain(sample, lines)
    if separator is None:
        yield from ((number, line.split()) for number, line in enumerate(lines, start=1) if line.strip())
        return
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise RecordingUnreadable(f"{path}, line {reader.line_num}: {error}") from error


def _separator(path: Path, sample: list[str]) -> str | None:
    """The separator that cuts all sampled lines into equally many cells, the most of them; blanks only for want of
    another. Where none does, the one that cuts the first line: the rows will tell which of them is wrong.
    """
    written = [line for line in sample if line.strip()]
    if not written:
        raise RecordingUnreadable(f"{path}: holds no readings")
    widths = {separator: [_width(line, separator) for line in written] for separator in SEPARATORS}
    even = {separator: width[0] for separator, width in widths.items() if min(width) == max(width) > 1}
    for found in (even, {separator: width[0] for separator, width in widths.items() if width[0] > 1}):
        marks = {separator: width for separator, width in found.items() if separator is not None}
        if marks:
            return max(marks, key=marks.__getitem__)
        if found:
            return None
    raise RecordingUnreadable(
        f"{path}: one column only; columns are set apart by a comma, a semicolon, a tab, a bar or blanks"
    )


def _width(line: str, separator: str | None) -> int:
    return len(line.split()) if separator is None else len(next(csv.reader([line], delimiter=separator), []))


def _header(path: Path, rows: Iterator[tuple[int, Row]]) -> tuple[str, ...]:
    line, cells = next(rows)
    names = tuple(cell.strip() for cell in cells)
    if all(_is_number(name) for name in names):
        raise RecordingUnreadable(f"{path}, line {line}: numbers where the header should be; give --column-names")
    doubled = sorted({name for name in names if name and names.count(name) > 1})
    if doubled:
        raise RecordingUnreadable(f"{path}, line {line}: more than one column {doubled[0]!r}; rename one")
    return names


def _columns(path: Path, names: Sequence[str], chunk: list[tuple[int, Row]]) -> list[tuple[str, ...]]:
    try:
        columns = list(zip(*(row for _, row in chunk), strict=True))
    except ValueError:
        columns = []
    if len(columns) == len(names):
        return columns
    line, row = next((line, row) for line, row in chunk if len(row) != len(names))
    raise RecordingUnreadable(f"{path}, line {line}: {len(row)} cells where {len(names)} columns are named")


# --- which column is what --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Layout:
    """The places of the columns, and all names for messages."""

    names: tuple[str, ...]
    device: int | None
    time: int
    channels: tuple[int, ...]


def _layout(path: Path, names: Sequence[str], cells: list[tuple[str, ...]], options: FileOptions) -> _Layout:
    names = tuple(names)
    device = _device_place(path, names, options.device_column)
    time = _time_place(path, names, options.time_column)
    if options.channels is not None:
        chosen = tuple(_place(path, names, channel, "--channels") for channel in options.channels)
    else:
        left_out = {"", *options.ignore}
        chosen = tuple(
            column
            for column, name in enumerate(names)
            if column not in (device, time) and name not in left_out and _is_numeric(cells[column])
        )
    return _Layout(names, device, time, chosen)


def _place(path: Path, names: tuple[str, ...], name: str, option: str) -> int:
    if name not in names:
        raise RecordingUnreadable(f"{path}: no column {name!r} ({option}); there are {', '.join(names)}")
    return names.index(name)


def _device_place(path: Path, names: tuple[str, ...], wanted: str | None) -> int | None:
    if wanted is not None:
        return _place(path, names, wanted, "--device-column")
    return names.index(DEVICE_NAME) if DEVICE_NAME in names else None


def _time_place(path: Path, names: tuple[str, ...], wanted: str | None) -> int:
    if wanted is not None:
        return _place(path, names, wanted, "--time-column")
    lower = [name.lower() for name in names]
    usual = [name for name in TIME_NAMES if name in lower]
    if not usual:
        raise RecordingUnreadable(
            f"{path}: no column is called {', '.join(TIME_NAMES[:3])} or the like; name it with --time-column "
            f"({', '.join(names)})"
        )
    return lower.index(usual[0])


def _is_numeric(cells: tuple[str, ...]) -> bool:
    """Whether any cell is a number, or none says anything; a channel with a word in it is an error, not a text."""
    return any(_is_number(cell) for cell in cells) or all(cell.strip().lower() in ABSENT for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.strip().lower() not in ABSENT


# --- what the cells say ----------------------------------------------------------------------------------------------


def _device_ids(
    path: Path, cells: list[tuple[str, ...]], lines: Integers, layout: _Layout, device_id: str
) -> list[str]:
    if layout.device is None:
        return [device_id] * len(lines)
    device_ids = [cell.strip() for cell in cells[layout.device]]
    for name in dict.fromkeys(device_ids):
        try:
            check_device_id(name)
        except Refusal as refusal:
            raise RecordingUnreadable(f"{path}, line {lines[device_ids.index(name)]}: {refusal.detail}") from None
    return device_ids


def _times(
    path: Path, cells: list[tuple[str, ...]], lines: Integers, layout: _Layout, unit: TimeUnit | None
) -> Integers:
    try:
        return stamps(cells[layout.time], unit)
    except StampError as error:
        cell = cells[layout.time][error.row]
        where = f"{path}, line {lines[error.row]}, column {layout.names[layout.time]!r}"
        raise RecordingUnreadable(f"{where}: {cell!r} {error}") from None


def _values(path: Path, cells: list[tuple[str, ...]], lines: Integers, layout: _Layout) -> Floats:
    values = np.empty((len(lines), len(layout.channels)), np.float32)  # (rows, channels)
    for place, column in enumerate(layout.channels):
        try:
            numbers = _numbers(cells[column])
        except _NumberError as error:
            where = f"{path}, line {lines[error.row]}, column {layout.names[column]!r}"
            raise RecordingUnreadable(f"{where}: {error}") from None
        values[:, place] = numbers
    return values


class _NumberError(ValueError):
    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = row


def _numbers(cells: tuple[str, ...]) -> Floats:
    """The cells as numbers, NaN where absent: (rows,)."""
    try:
        wide = np.array(list(map(float, cells)))
    except ValueError:
        wide = np.array([_number(row, cell) for row, cell in enumerate(cells)])
    with np.errstate(over="ignore"):
        numbers: Floats = wide.astype(np.float32)
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        row = int(infinite[0])
        raise _NumberError(
            row, f"{cells[row]!r} is infinite or beyond float32; leave a cell empty where nothing is known"
        )
    return numbers


def _number(row: int, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        if cell.strip().lower() in ABSENT:
            return float("nan")
    hint = "write decimals with a point" if "," in cell else "mend it, or leave the column out with --ignore"
    raise _NumberError(row, f"{cell!r} is no number; {hint}")
