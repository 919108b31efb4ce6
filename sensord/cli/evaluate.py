"""`sensord evaluate`: detection measured on labelled data sets, beside the built-in baselines."""

import importlib
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from pathlib import Path

import click
import msgspec

from sensord.cli.evaluation.figures import figures_of
from sensord.cli.evaluation.table import show
from sensord.cli.options import Time
from sensord.cli.recordings import file_options, progress_bars
from sensord.clock import MICROSECONDS
from sensord.errors import RecordingUnreadable
from sensord.stream.files import FileOptions
from sensord.trainer.evaluation import protocols
from sensord.trainer.evaluation.judging import Evaluation, Trial
from sensord.trainer.evaluation.judging import evaluate as judge
from sensord.trainer.evaluation.labels import Label, read_labels
from sensord.trainer.fit import FitOptions

DEFAULT_SHARE = 0.3  # of each device's readings, taken as healthy history
DEFAULT_BUDGET = 0.05  # as a fleet's


@click.group("evaluate")
def evaluate() -> None:
    """Measure detection on a labelled data set."""


def outcome_options(command: Callable[..., None]) -> Callable[..., None]:
    """What every protocol is run with and what comes of it, passed as `finish`."""

    @click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the trunk's fit.")
    @click.option("--json", "as_json", is_flag=True, help="Print the figures as one line of JSON, last.")
    @click.option(
        "--report",
        type=click.Path(dir_okay=False, writable=True, path_type=Path),
        help="Write a page with all figures and pictures of the devices: one HTML file.",
    )
    @wraps(command)
    def with_options(*args: object, seed: int, as_json: bool, report: Path | None, **kwargs: object) -> None:
        draw = None if report is None else _page()

        def finish(read: Callable[[], Trial]) -> None:
            with progress_bars() as progress:
                found = judge(read(), FitOptions(seed=seed), progress)
                if report is not None and draw is not None:
                    page = draw(found, lambda done, of: progress("draw", done, of))
                    report.write_text(page, encoding="utf-8")
            show(found)
            if report is not None:
                click.echo(f"report: {report}")
            if as_json:
                click.echo(msgspec.json.encode(figures_of(found)))

        command(*args, finish=finish, **kwargs)

    return with_options


Finish = Callable[[Callable[[], Trial]], None]
Page = Callable[[Evaluation, Callable[[int, int], None]], str]


def _page() -> Page:
    """The page's maker, which needs matplotlib; that is installed where pictures are wanted."""
    try:
        page: Page = importlib.import_module("sensord.cli.evaluation.page").page
    except ModuleNotFoundError as error:
        raise click.UsageError(f"--report needs {error.name}: pip install 'sensord[plot]'") from error
    return page


@evaluate.command("skab")
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@outcome_options
def skab(folders: tuple[Path, ...], finish: Finish) -> None:
    """SKAB's protocol on DIR...: each file is a device, its first 400 rows its history, all later rows are judged.

    Thresholds are set without labels. F1, FAR (false alarms) and MAR (missed alarms) count rows, pooled over files.
    """
    finish(lambda: protocols.skab([file for folder in folders for file in _files(folder)]))


@evaluate.command("cmapss")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@outcome_options
def cmapss(file: Path, finish: Finish) -> None:
    """NASA's turbofans run to failure, as in train_FD001.txt: how early do engines alert before they fail.

    Each engine's first 30 % of life are its history, all later cycles are scored in order. An alert in the first half
    of life is a false one.
    """
    finish(lambda: protocols.cmapss(file))


@evaluate.command("recording")
@file_options
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="When something was wrong: CSV (device_id, start, end, kind) or JSON, such as `simulate --truth` writes.",
)
@click.option("--label-column", help="Else: the column of FILE that isn't 0 where a reading is faulty.")
@click.option("--history-rows", type=click.IntRange(min=1), help="The first rows of each device are its history.")
@click.option(
    "--history-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help=f"Or the first share of each device's readings; {DEFAULT_SHARE:g} where nothing is named.",
)
@click.option("--until", type=Time(), help="Or all readings before this time.")
@click.option(
    "--alarm-budget",
    type=click.FloatRange(min=0, min_open=True),
    help=f"False alarms per device and day that thresholds keep to; {DEFAULT_BUDGET:g} where nothing is named.",
)
@click.option(
    "--row-share", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Or: share of healthy readings."
)
@click.option("--max-gap-s", type=click.FloatRange(min=0, min_open=True), default=300.0, show_default=True)
@outcome_options
def recording(
    files: tuple[Path, ...],
    file_options: FileOptions,
    labels: Path | None,
    label_column: str | None,
    history_rows: int | None,
    history_share: float | None,
    until: datetime | None,
    alarm_budget: float | None,
    row_share: float | None,
    max_gap_s: float,
    finish: Finish,
) -> None:
    """Any labelled recording: FILE... as `train` and `score` read them, one device or a fleet.

    The history of each device is taken as healthy; all later readings are judged. Labels are looked at only then.
    """
    if not files:
        raise click.UsageError("give at least one FILE")
    if (labels is None) == (label_column is None):
        raise click.UsageError("give either --labels or --label-column")
    _at_most_one(**{"--history-rows": history_rows, "--history-share": history_share, "--until": until})
    _at_most_one(**{"--alarm-budget": alarm_budget, "--row-share": row_share})
    healthy = protocols.Healthy(
        history_rows,
        history_share or (DEFAULT_SHARE if history_rows is None and until is None else None),
        None if until is None else round(until.timestamp() * MICROSECONDS),
    )
    budget = protocols.Budget(alarm_budget or (DEFAULT_BUDGET if row_share is None else None), row_share)
    truth: list[Label] | str = str(label_column) if labels is None else read_labels(labels, file_options.time_unit)
    finish(lambda: protocols.recording(files, file_options, truth, healthy, budget, max_gap_s))


def _at_most_one(**given: object) -> None:
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise click.UsageError(f"give only one of {' and '.join(names)}")


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.rglob("*.csv")) if folder.is_dir() else [folder]
    if not files:
        raise RecordingUnreadable(f"{folder}: no .csv file in it")
    return files
