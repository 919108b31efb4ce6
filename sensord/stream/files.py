"""Recorded readings from files, as tables; for the trainer, for offline scoring and for evaluation.

A file is told by what it holds: a recorded topic, lines of JSON messages, or columns of text with any separator; plain,
gzip or zstandard. A file is read whole, one after another.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

from sensord.errors import RecordingUnreadable
from sensord.stream.delimited import delimited_chunks
from sensord.stream.messages import message_chunks, plain_records, recorded_records
from sensord.stream.recordings import is_recording
from sensord.stream.stamps import TimeUnit
from sensord.stream.tables import Chunk, FileOptions, Table, tables
from sensord.stream.unpack import open_text

__all__ = ["FileOptions", "Table", "TimeUnit", "device_names", "read_tables"]

PACKED = (".gz", ".zst")


def read_tables(paths: Sequence[Path], options: FileOptions | None = None) -> Iterator[Table]:
    """One table for each device of each file, in the order given and in order of appearance.

    Raises RecordingUnreadable, naming file, line, column and value, at the file that is wrong.
    """
    options = options or FileOptions()
    for path, device_id in zip(paths, device_names(paths), strict=True):
        with open_text(path) as text:
            found = tables(path, _chunks(path, text, options, device_id))
        yield from found


def device_names(paths: Sequence[Path]) -> list[str]:
    """The device each file is about when nothing in it says so: its name without suffixes, behind as many of its
    folders as it takes to tell the files apart. Raises RecordingUnreadable when nothing does.
    """
    parts = [(*path.absolute().parent.parts[1:], _stem(path)) for path in paths]
    names = ["/".join(part[-1:]) for part in parts]
    for depth in range(2, max(map(len, parts), default=0) + 1):
        if len(set(names)) == len(names):
            break
        names = ["/".join(part[-depth:]) for part in parts]
    doubled = [path for path, name in zip(paths, names, strict=True) if names.count(name) > 1]
    if doubled:
        raise RecordingUnreadable(f"{' and '.join(map(str, doubled))}: one name for more than one file; rename one")
    return names


def _stem(path: Path) -> str:
    name = path.with_suffix("") if path.suffix in PACKED else path
    return name.stem


def _chunks(path: Path, text: TextIO, options: FileOptions, device_id: str) -> Iterator[Chunk]:
    head: list[str] = []
    for line in text:
        head.append(line)
        if line.strip():
            break
    else:
        raise RecordingUnreadable(f"{path}: holds no readings")
    first = head[-1].lstrip()
    if is_recording(first):
        return message_chunks(path, recorded_records(path, device_id), options)
    lines = chain(head, text)
    if first.startswith(("{", "[")):
        return message_chunks(path, plain_records(lines, device_id), options)
    return delimited_chunks(path, lines, options, device_id)
