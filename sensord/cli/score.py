"""`sensord score`: recorded files through the daemon's own scoring code; no broker, no database needed."""

import csv
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import msgspec
import numpy as np

from sensord.cli.context import engine_of, settings_of
from sensord.cli.options import OneOf
from sensord.cli.output import Format
from sensord.cli.recordings import file_options, progress_bars
from sensord.detection.episodes import KINDS
from sensord.detection.fleet import Observation, Outcome
from sensord.errors import ModelMissing, RecordingUnreadable
from sensord.model.bundle import Bundle, Packed, unpack
from sensord.settings import Settings
from sensord.store.registry import Registry
from sensord.stream.files import FileOptions, Table, read_tables
from sensord.trainer.offline import Recorded, replay

COLUMNS = ("device_id", "timestamp", "outcome", "score", "threshold", "anomalous", "kind")
DEFAULT_MAX_GAP_S = 300.0


@click.command("score")
@file_options
@click.option(
    "--bundle", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of an exported bundle."
)
@click.option("--fleet", help="Else: the current bundle of this fleet, from the registry.")
@click.option("--max-gap-s", type=float, help="Silence after which a device starts afresh; overrides the fleet's.")
@click.option("--format", "form", type=OneOf([Format.CSV, Format.JSONL]), default="csv", show_default=True)
@click.pass_context
def score(
    ctx: click.Context,
    files: tuple[Path, ...],
    file_options: FileOptions,
    bundle: Path | None,
    fleet: str | None,
    max_gap_s: float | None,
    form: Format,
) -> None:
    """Score FILE... offline: one row a reading, with score, threshold, verdict and the expected value of each channel.

    An empty score is no score: the device is warming up, or the reading was late.
    """
    if not files:
        raise click.UsageError("give at least one FILE")
    if (bundle is None) == (fleet is None):
        raise click.UsageError("give either --bundle or --fleet")
    model, gap = _from_folder(bundle) if bundle else _from_registry(settings_of(ctx), str(fleet))
    devices = _devices(read_tables(files, file_options), model)
    with progress_bars() as report:
        replayed = replay(model, devices, max_gap_s or gap, lambda done, of: report("score", done, of))
    names = [*COLUMNS, *(f"expected_{channel}" for channel in model.channels)]
    write = _write_csv if form is Format.CSV else _write_jsonl
    write(names, (row for pair in zip(devices, replayed.observations, strict=True) for row in _rows(*pair)))


def _from_folder(folder: Path) -> tuple[Bundle, float]:
    return unpack(Packed.read(folder)), DEFAULT_MAX_GAP_S


def _from_registry(settings: Settings, fleet: str) -> tuple[Bundle, float]:
    with engine_of(settings.store) as engine:
        stored = Registry(engine).current(fleet)
    if stored is None:
        raise ModelMissing(f"fleet {fleet} has no current bundle; see: sensord model list")
    known = settings.fleets.get(fleet)
    model = unpack(Packed(stored.bundle_id, stored.manifest, stored.weights, stored.sha256))
    return model, known.max_gap_s if known else DEFAULT_MAX_GAP_S


def _devices(tables: Iterable[Table], model: Bundle) -> list[Recorded]:
    """One recording a device; what several files hold of it goes in the order given."""
    parts: dict[str, list[Recorded]] = defaultdict(list)
    for table in tables:
        missing = [name for name in model.channels if name not in table.channels]
        if missing:
            raise RecordingUnreadable(
                f"{table.path}: channel {missing[0]!r} is missing, which {model.id} expects; it has "
                f"{', '.join(table.channels)}"
            )
        values = table.values[:, [table.channels.index(name) for name in model.channels]]
        parts[table.device_id].append(Recorded(table.device_id, table.at, values))
    return [
        Recorded(name, np.concatenate([p.at for p in found]), np.concatenate([p.values for p in found]))
        for name, found in parts.items()
    ]


def _rows(device: Recorded, seen: Observation) -> Iterator[list[object]]:
    stamps = np.datetime_as_string(device.at.astype("datetime64[us]"), unit="us", timezone="UTC")
    for row, stamp in enumerate(stamps.tolist()):
        alarmed = bool(seen.alarmed[row])
        verdict = [Outcome(seen.outcome[row]).name.lower(), _number(seen.score[row]), _number(seen.limit[row]), alarmed]
        kind = KINDS[seen.kind[row]].value if alarmed else None
        yield [device.device_id, stamp, *verdict, kind, *map(_number, seen.expected[row])]


def _number(value: np.float32) -> float | None:
    """The shortest decimal that is this float32; None for NaN."""
    return None if np.isnan(value) else float(str(value))


def _write_csv(names: list[str], rows: Iterable[list[object]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([str(cell).lower() if isinstance(cell, bool) else cell for cell in row] for row in rows)


def _write_jsonl(names: list[str], rows: Iterable[list[object]]) -> None:
    for row in rows:
        sys.stdout.write(msgspec.json.encode(dict(zip(names, row, strict=True))).decode() + "\n")
