"""Writes a simulation to disk: the recording as JSONL or CSV (gzip or zstandard by suffix), the truth as JSON."""

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TextIO, cast

import msgspec
import numpy as np
import zstandard

from sensord.simulate.fleet import Simulation

TRUTH_FORMAT = 1
ROWS_AT_ONCE = 10_000

Row = tuple[str, str, list[float]]  # device, RFC 3339, values in channel order


def write_recording(simulation: Simulation, path: Path, written: Callable[[int], None] = lambda readings: None) -> None:
    """One line a reading, in order of time over all devices; whole or not at all.

    The name decides the form: `.jsonl` (the daemon's messages) or `.csv` (device_id, timestamp, channels), each also
    with `.gz` or `.zst`. written: told how many readings the last step added. Raises ValueError on any other name,
    OSError.
    """
    write_rows = _form(path)
    partial = path.with_name(path.name + ".partial")
    try:
        with _create(partial, path.suffix) as text:
            write_rows(simulation, _counted(_rows(simulation), written), text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_truth(simulation: Simulation, path: Path) -> None:
    """The planted faults as JSON: device, kind, start and end (RFC 3339, both inclusive), channels."""
    told = {
        "format": TRUTH_FORMAT,
        "devices": len(simulation.device_ids),
        "readings": len(simulation),
        "live_at": rfc3339(np.array([simulation.live_at]))[0],
        "channels": {channel.name: channel.unit for channel in simulation.channels},
        "faults": [
            {
                "device_id": fault.device_id,
                "kind": str(fault.kind),
                "start_at": rfc3339(np.array([fault.start_at]))[0],
                "end_at": rfc3339(np.array([fault.end_at]))[0],
                "channels": fault.channels,
            }
            for fault in simulation.truth
        ],
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")


def rfc3339(at: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str]:
    """Microseconds UTC as text with milliseconds and Z."""
    stamps: list[str] = np.datetime_as_string(at.astype("datetime64[us]"), unit="ms", timezone="UTC").tolist()
    return stamps


def _form(path: Path) -> Callable[[Simulation, Iterable[Row], TextIO], None]:
    suffixes = [suffix for suffix in path.suffixes if suffix not in (".gz", ".zst")]
    match suffixes[-1:]:
        case [".jsonl"]:
            return _write_jsonl
        case [".csv"]:
            return _write_csv
        case _:
            raise ValueError(f"{path.name}: a recording's name ends with .jsonl or .csv, then .gz or .zst if packed")


@contextmanager
def _create(path: Path, suffix: str) -> Iterator[TextIO]:
    """A text file, packed as the suffix says; the same text gives the same bytes."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("wb"))
        binary: IO[bytes] = file
        if suffix == ".gz":
            binary = cast(IO[bytes], stack.enter_context(gzip.GzipFile("", "wb", 6, file, 0)))
        elif suffix == ".zst":
            binary = stack.enter_context(zstandard.ZstdCompressor().stream_writer(file))
        yield stack.enter_context(io.TextIOWrapper(binary, encoding="utf-8", newline="\n"))


def _rows(simulation: Simulation) -> Iterator[Row]:
    devices = len(simulation.device_ids)
    at, values = simulation.at.reshape(-1), simulation.values.reshape(len(simulation), -1)
    order = np.argsort(at, kind="stable")
    for start in range(0, len(order), ROWS_AT_ONCE):
        rows = order[start : start + ROWS_AT_ONCE]
        names = [simulation.device_ids[column] for column in rows % devices]
        yield from zip(names, rfc3339(at[rows]), values[rows].tolist(), strict=True)


def _counted(rows: Iterable[Row], written: Callable[[int], None]) -> Iterator[Row]:
    count = 0
    for count, row in enumerate(rows, start=1):
        yield row
        if count % ROWS_AT_ONCE == 0:
            written(ROWS_AT_ONCE)
    written(count % ROWS_AT_ONCE)


def _write_jsonl(simulation: Simulation, rows: Iterable[Row], text: TextIO) -> None:
    names = [channel.name for channel in simulation.channels]
    encode = msgspec.json.Encoder().encode
    for device_id, timestamp, values in rows:
        message = {"device_id": device_id, "timestamp": timestamp, "values": dict(zip(names, values, strict=True))}
        text.write(encode(message).decode() + "\n")


def _write_csv(simulation: Simulation, rows: Iterable[Row], text: TextIO) -> None:
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["device_id", "timestamp", *(channel.name for channel in simulation.channels)])
    lines.writerows([device_id, timestamp, *values] for device_id, timestamp, values in rows)
