"""`sensord evaluate`: detection measured on labelled data sets, beside the built-in baselines."""

from pathlib import Path

import click
import msgspec
from rich.table import Table

from sensord.cli.output import console
from sensord.cli.recordings import progress_bars
from sensord.detection.baselines import Expectation
from sensord.errors import RecordingUnreadable
from sensord.stream.files import read_tables
from sensord.trainer.evaluate import SKAB_HISTORY, Evaluation, Labelled, Rates, evaluate_skab, split_labels
from sensord.trainer.fit import FitOptions
from sensord.trainer.job import TrainOptions
from sensord.trainer.offline import Recorded


@click.group("evaluate")
def evaluate() -> None:
    """Measure detection on a labelled data set."""


@evaluate.command("skab")
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Of the trunk's fit.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one line of JSON, last.")
def skab(folders: tuple[Path, ...], seed: int, as_json: bool) -> None:
    """SKAB's protocol on DIR...: each file is a device, its first 400 rows its history, all later rows are judged.

    Thresholds are set without labels. F1, FAR (false alarms) and MAR (missed alarms) count rows, pooled over files.
    """
    files = [file for folder in folders for file in _files(folder)]
    with progress_bars() as report:
        recordings, channels = _read(files)
        options = TrainOptions("skab", fit=FitOptions(seed=seed))
        found = evaluate_skab(recordings, channels, options, report)
    _show(found)
    if as_json:
        click.echo(msgspec.json.encode(_figures(found)))


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.rglob("*.csv")) if folder.is_dir() else [folder]
    if not files:
        raise RecordingUnreadable(f"{folder}: no .csv file in it")
    return files


def _read(files: list[Path]) -> tuple[list[Labelled], tuple[str, ...]]:
    recordings, common = [], None
    for table in read_tables(files):
        try:
            channels, values, faulty = split_labels(table.channels, table.values)
        except KeyError as error:
            raise RecordingUnreadable(f"{table.path}: no column {error}, so there is nothing to judge by") from error
        if common not in (None, channels):
            raise RecordingUnreadable(f"{table.path}: channels {', '.join(channels)} differ from the other files'")
        if len(table) <= SKAB_HISTORY:
            raise RecordingUnreadable(f"{table.path}: {len(table)} rows; the first {SKAB_HISTORY} are history alone")
        common = channels
        recordings.append(Labelled(Recorded(table.device_id, table.at, values), faulty))
    return recordings, common or ()


def _show(found: Evaluation) -> None:
    table = Table(box=None)
    for heading in ("expectation", "F1", "FAR", "MAR"):
        table.add_column(heading, justify="left" if heading == "expectation" else "right")
    for name, rates in {Expectation.MODEL: found.model, **found.baselines}.items():
        table.add_row(str(name), f"{rates.f1:.3f}", f"{rates.far:.1%}", f"{rates.mar:.1%}")
    console().print(table)
    if found.model.f1 <= max(rates.f1 for rates in found.baselines.values()):
        click.echo("the recurrent state adds nothing here: a baseline does as well")


def _figures(found: Evaluation) -> dict[str, object]:
    baselines = {str(name): _rates(rates) for name, rates in found.baselines.items()}
    return {**_rates(found.model), "devices": found.devices, "baselines": baselines}


def _rates(rates: Rates) -> dict[str, float]:
    return {"f1": rates.f1, "far": rates.far, "mar": rates.mar}
