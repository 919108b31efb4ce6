"""Labels: files that say when something was wrong with which device, as CSV or JSON. Used by `protocols` and `cli`.

CSV has the columns device_id, start, end and perhaps kind (start_at and end_at will do; without device_id the recording
must hold one device). JSON is a list of such objects, or an object with that list under `faults` (the truth that
`sensord simulate` writes), `intervals` or `labels`, or an object of devices, each with a list of [start, end].
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from sensord.errors import RecordingUnreadable
from sensord.stream.stamps import StampError, TimeUnit, stamps
from sensord.trainer.evaluation.cases import Fault
from sensord.trainer.events import Span

LISTS = ("faults", "intervals", "labels")


@dataclass(frozen=True, slots=True)
class Label:
    """One interval, both ends included, microseconds UTC. device_id: None where the file names none."""

    device_id: str | None
    start_at: int
    end_at: int
    kind: str = ""


def read_labels(path: Path, unit: TimeUnit | None = None) -> list[Label]:
    """The intervals of a file. unit: what a number counts, as in recorded files. Raises RecordingUnreadable."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingUnreadable(f"{path}: {error}") from error
    rows = _from_json(path, text) if text.lstrip().startswith(("{", "[")) else _from_csv(path, text)
    return [_label(where, row, unit) for where, row in rows]


def for_devices(labels: Iterable[Label], device_ids: Sequence[str]) -> Mapping[str, Sequence[Fault]]:
    """Faults by device. A label goes by the device's id, or by a file's name or path that ends in it; one of a device
    that isn't here is left out. Raises RecordingUnreadable where a label names none of several devices, or no label
    goes with any device.
    """
    faults: dict[str, list[Fault]] = defaultdict(list)
    known, given = set(device_ids), 0
    for label in labels:
        given += 1
        if label.device_id is None and len(device_ids) != 1:
            raise RecordingUnreadable(f"labels without a device, but the recording has {len(device_ids)}")
        name = device_ids[0] if label.device_id is None else _known(label.device_id, known)
        if name is not None:
            faults[name].append(Fault(Span(name, label.start_at, label.end_at), label.kind))
    if given and not faults:
        raise RecordingUnreadable(
            f"none of {given} labels is about a device of the recording: {', '.join(device_ids[:5])}"
        )
    return faults


def _known(name: str, known: set[str]) -> str | None:
    path = PurePosixPath(name)
    stem = path.name.removesuffix(path.suffix) if path.suffix in (".csv", ".txt", ".json", ".jsonl") else path.name
    return next((each for each in (name, str(path.with_name(stem)) if stem else name, stem) if each in known), None)


Row = Mapping[str, object]


def _from_csv(path: Path, text: str) -> list[tuple[str, Row]]:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    return [(f"{path}, line {reader.line_num}", {k: v for k, v in row.items() if k}) for row in reader]


def _from_json(path: Path, text: str) -> list[tuple[str, Row]]:
    try:
        found: object = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise RecordingUnreadable(f"{path}: {error}") from error
    if isinstance(found, dict):
        name = next((name for name in LISTS if name in found), None)
        found = found[name] if name else _by_device(found)
    if not isinstance(found, list):
        raise RecordingUnreadable(f"{path}: no list of intervals in it")
    return [(f"{path}, interval {n}", row if isinstance(row, dict) else {}) for n, row in enumerate(found, start=1)]


def _by_device(found: Mapping[str, object]) -> object:
    """The intervals of an object of devices; None where it is none."""
    if not all(isinstance(pairs, list) for pairs in found.values()):
        return None
    return [_pair(device, pair) for device, pairs in found.items() if isinstance(pairs, list) for pair in pairs]


def _pair(device_id: str, pair: object) -> object:
    match pair:
        case [start, end]:
            return {"device_id": device_id, "start": start, "end": end}
        case {}:
            return {"device_id": device_id, **pair}
        case _:
            return None


def _label(where: str, row: Row, unit: TimeUnit | None) -> Label:
    device, kind = row.get("device_id"), row.get("kind")
    ends = [row.get(name) or row.get(f"{name}_at") for name in ("start", "end")]
    if None in ends:
        raise RecordingUnreadable(f"{where}: an interval has start and end (or start_at and end_at), and device_id")
    try:
        start_at, end_at = stamps([str(end) for end in ends], unit).tolist()
    except StampError as error:
        raise RecordingUnreadable(f"{where}: {error}") from error
    if end_at < start_at:
        raise RecordingUnreadable(f"{where}: ends before it starts")
    return Label(None if device is None else str(device), start_at, end_at, "" if kind is None else str(kind))
