"""`sensord compare`: cells and baselines side by side, on tasks with a known answer."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import msgspec
from rich.table import Table

from sensord.cli.output import console
from sensord.cli.recordings import progress_bars
from sensord.errors import SensordError
from sensord.model.cells import CELLS
from sensord.trainer.compare.long_gap import LongGap, compare_long_gap
from sensord.trainer.compare.sine import Forecast, compare_sine


class Cells(click.ParamType[tuple[str, ...]]):
    """Names of cells, separated by commas."""

    name = "cells"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(name.strip() for name in str(value).split(",")))
        if unknown := [name for name in names if name not in CELLS]:
            self.fail(f"no cell is called {unknown[0]!r}; there are {', '.join(CELLS)}", param, ctx)
        return names


class Gaps(click.ParamType[tuple[int, ...]]):
    """Lengths in readings: one, several separated by commas, or FIRST..LAST, doubling from the first."""

    name = "gaps"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        first, dots, last = str(value).partition("..")
        try:
            gaps = _doubling(int(first), int(last)) if dots else tuple(int(gap) for gap in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no gap: give 200, 50,200 or 50..800", param, ctx)
        if not gaps or min(gaps) < 1:
            self.fail(f"{value!r} holds no gap of 1 reading or more", param, ctx)
        return gaps


def _doubling(first: int, last: int) -> tuple[int, ...]:
    """first, its double, and so on; not beyond last."""
    gaps = []
    while 0 < first <= last:
        gaps.append(first)
        first *= 2
    return tuple(gaps)


def shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--cells`, `--json` and `--out`, passed as `cells`, `as_json` and `out`."""
    for option in (
        click.option(
            "--out", type=click.Path(file_okay=False, path_type=Path), help="Draw a PNG into this directory too."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the figures as one line of JSON, last."),
        click.option("--cells", type=Cells(), default=",".join(CELLS), show_default=True, help="Which cells."),
    ):
        command = option(command)
    return command


@click.group("compare")
def compare() -> None:
    """Put cells and baselines side by side on tasks with a known answer."""


@compare.command("sine")
@shared_options
@click.option("--steps", type=click.IntRange(min=1), default=1_000, show_default=True, help="Optimiser steps.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the fit.")
def sine(cells: tuple[str, ...], as_json: bool, out: Path | None, steps: int, seed: int) -> None:
    """Forecast a sine wave: each cell learns the next reading, then goes on alone from its own forecasts."""
    draw = None if out is None else _charts()
    with progress_bars() as report:
        found = compare_sine(cells, steps, seed, report)
    _show_sine(found)
    if draw is not None and out is not None:
        _saved(draw.draw_sine(found, out))
    if as_json:
        figures = {cell: {"losses": one.losses, "error": one.error} for cell, one in found.items()}
        click.echo(msgspec.json.encode(figures))


@compare.command("long-gap")
@shared_options
@click.option(
    "--gap", "gaps", type=Gaps(), default="200", show_default=True, help="Readings: 200, 50,200 or 50..800 (doubling)."
)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs with seeds 0, 1, ...")
def long_gap(cells: tuple[str, ...], as_json: bool, out: Path | None, gaps: tuple[int, ...], seeds: int) -> None:
    """Tell faults that only a command hundreds of readings ago gives away: area under the ROC curve, mean of the seeds.

    Trunk and heads are fitted as `sensord train` fits them, on healthy readings alone. 1 tells every fault, 0.5 none.
    """
    draw = None if out is None else _charts()
    with progress_bars() as report:
        found = compare_long_gap(gaps, cells, seeds, report=report)
    _show_long_gap(found)
    if draw is not None and out is not None:
        _saved(draw.draw_long_gap(found, out))
    if as_json:
        click.echo(msgspec.json.encode(found.auc))


def _charts() -> ModuleType:
    """Asked for before the work begins, so that hours aren't lost for a missing package. Raises SensordError."""
    try:
        from sensord.cli import compare_charts  # noqa: PLC0415  # matplotlib is an extra
    except ModuleNotFoundError as error:
        raise SensordError(
            f"--out draws with {error.name}, which is not installed: pip install 'sensord[plot]'"
        ) from error
    return compare_charts


def _saved(path: Path) -> None:
    click.echo(f"drawn: {path}", err=True)


def _show_sine(found: dict[str, Forecast]) -> None:
    table = Table(box=None)
    table.add_column("loss at step")
    for cell in found:
        table.add_column(cell, justify="right")
    for step in next(iter(found.values())).losses:
        table.add_row(str(step), *(f"{one.losses[step]:.2e}" for one in found.values()))
    table.add_row("error alone", *(f"{one.error:.4f}" for one in found.values()))
    console().print(table)


def _show_long_gap(found: LongGap) -> None:
    table = Table(box=None)
    table.add_column("AUC at gap")
    for gap in found.auc:
        table.add_column(str(gap), justify="right")
    for name in found.names:
        table.add_row(name, *(f"{found.mean(gap, name):.3f}" for gap in found.auc))
    console().print(table)
