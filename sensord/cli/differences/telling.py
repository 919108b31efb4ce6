"""Tells a comparison as it was asked for: rows on stdout, and a page where one is wanted. Used by the commands."""

import importlib
from collections.abc import Callable
from pathlib import Path

import click

from sensord.cli.differences.comparison import Comparison
from sensord.cli.differences.table import show
from sensord.cli.output import Format
from sensord.cli.recordings import progress_bars

Tell = Callable[[Comparison, Format, int], None]  # (what, how, most rows)
Page = Callable[[Comparison, Callable[[int, int], None]], str]

report_option = click.option(
    "--report",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write a page with pictures of the alerts that differ: one HTML file.",
)


def teller(report: Path | None) -> Tell:
    """Raises UsageError at once where a page is wanted and can't be drawn."""
    page = None if report is None else _page()

    def tell(comparison: Comparison, form: Format, limit: int) -> None:
        show(comparison, form, limit)
        if report is not None and page is not None:
            with progress_bars() as progress:
                drawn = page(comparison, lambda done, of: progress("draw", done, of))
            report.write_text(drawn, encoding="utf-8")
            click.echo(f"report: {report}", err=True)

    return tell


def _page() -> Page:
    """The page's maker, which needs matplotlib; that is installed where pictures are wanted."""
    try:
        page: Page = importlib.import_module("sensord.cli.differences.page").page
    except ModuleNotFoundError as error:
        raise click.UsageError(f"--report needs {error.name}: pip install 'sensord[plot]'") from error
    return page
