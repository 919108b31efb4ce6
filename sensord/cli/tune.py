"""`sensord tune`: history in, settings for `sensord train` out. Needs optuna, which is imported where it searches."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from sensord.cli.compare import Cells
from sensord.cli.context import settings_of
from sensord.cli.histories import Asked, history_options
from sensord.cli.output import Format, format_option
from sensord.cli.recordings import Report, progress_bars
from sensord.cli.tune_telling import one_line, show
from sensord.clock import SystemClock
from sensord.errors import SensordError
from sensord.trainer.history import History
from sensord.trainer.job import TrainOptions
from sensord.trainer.search.found import Found, Tried

MINUTE_S = 60.0
PICTURES = (".png", ".svg")
Draw = Callable[[Found, Path], None]
Search = Callable[[History, TrainOptions, Report, Callable[[Tried], None]], Found]


class Picture(click.Path):
    """A file that a picture can be drawn into."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """By its suffix."""
        path = Path(str(value))
        if path.suffix not in PICTURES:
            self.fail(f"{path} is no picture: give a name that ends in {' or '.join(PICTURES)}", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"there is no folder {path.parent}", param, ctx)
        return path


@click.command("tune")
@history_options
@click.option("--trials", type=click.IntRange(min=1), default=30, show_default=True, help="How many, in all.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Stop after this time.")
@click.option(
    "--cells", type=Cells(), default="lstm,gru", show_default=True, help="Which cells to try beside trainer.cell."
)
@click.option(
    "--study", type=click.Path(dir_okay=False, path_type=Path), help="Keep the trials here, and go on with them."
)
@click.option("--plot", type=Picture(dir_okay=False), help="Draw the trials into this file, PNG or SVG by its name.")
@format_option(Format.TABLE, Format.JSON)
@click.pass_context
def tune(
    ctx: click.Context,
    asked: Asked,
    trials: int,
    minutes: float | None,
    cells: tuple[str, ...],
    study: Path | None,
    plot: Path | None,
    form: Format,
) -> None:
    """Try settings on FILE..., or on the fleet's topics, and tell those that find most.

    No labels are needed: faults are planted into healthy history. Trial 0 are the settings in force. Nothing is
    published. Ctrl-C ends the search, and shows the best so far.
    """
    settings = settings_of(ctx, asked.overrides)
    options = asked.options(settings)
    search = _search(trials, minutes, cells, study)
    draw = None if plot is None else _drawer()
    with progress_bars() as report:
        history = asked.history(settings, report)
        for note in history.notes:
            click.echo(f"note: {note}", err=True)
        found = search(history, options, report, lambda tried: click.echo(one_line(tried), err=True))
    show(found, form, asked)
    if plot is not None and draw is not None:
        draw(found, plot)
        click.echo(f"drawn: {plot}", err=True)


def _search(trials: int, minutes: float | None, cells: Sequence[str], file: Path | None) -> Search:
    """Asked for before the work begins. Raises SensordError where optuna isn't installed."""
    try:
        from sensord.trainer.search.study import Limits, Study  # noqa: PLC0415  # optuna is an extra
    except ModuleNotFoundError as error:
        raise SensordError(f"tune needs {error.name}, which is not installed: pip install 'sensord[tune]'") from error
    limits = Limits(trials, None if minutes is None else minutes * MINUTE_S)

    def search(history: History, options: TrainOptions, report: Report, told: Callable[[Tried], None]) -> Found:
        return Study(history, options, cells, SystemClock(), file).run(limits, report, told)

    return search


def _drawer() -> Draw:
    """Asked for before the work begins. Raises SensordError where matplotlib isn't installed."""
    try:
        draw: Draw = importlib.import_module("sensord.cli.tune_charts").draw
    except ModuleNotFoundError as error:
        raise SensordError(
            f"--plot draws with {error.name}, which is not installed: pip install 'sensord[plot]'"
        ) from error
    return draw
