"""Options by which several commands read recorded files or a topic, and how they show progress."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sensord.cli.options import OneOf
from sensord.clock import MICROSECONDS
from sensord.stream.files import FileOptions, TimeUnit

Report = Callable[[str, int, int], None]  # (stage, done, of)
ANSWER_WITHIN_S = 15.0  # a broker

kafka_option = click.option("--kafka", help="Brokers, HOST:PORT; else kafka.bootstrap_servers of the settings.")


def file_options(command: Callable[..., None]) -> Callable[..., None]:
    """FILE... and how to read them, passed as `files` and `file_options`."""

    @click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @click.option("--device-column", help="Column that names the device; else device_id, else the file's name.")
    @click.option("--time-column", help="Column with the time; else the first of the usual names.")
    @click.option("--time-unit", type=OneOf(TimeUnit), help="What a number in the time column counts.")
    @click.option("--channels", help="Channels to take, separated by commas; else every numeric column.")
    @click.option("--ignore", default="", help="Columns that are no channels, separated by commas.")
    @click.option("--column-names", help="Names of all columns, separated by commas, for files without a header.")
    @wraps(command)
    def with_options(
        *args: object,
        device_column: str | None,
        time_column: str | None,
        time_unit: TimeUnit | None,
        channels: str | None,
        ignore: str,
        column_names: str | None,
        **kwargs: object,
    ) -> None:
        options = FileOptions(
            device_column, time_column, time_unit, _names(channels), _names(ignore) or (), _names(column_names)
        )
        command(*args, file_options=options, **kwargs)

    return with_options


def offset_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--since-offset` and `--until-offset`."""
    whole = click.IntRange(min=0)
    until = click.option("--until-offset", type=whole, help="End before this offset, in every partition.")
    since = click.option("--since-offset", type=whole, help="Begin at this offset, in every partition.")
    return since(until(command))


def microseconds(at: datetime | None) -> int | None:
    """What `Time` gave, UTC since the epoch."""
    return None if at is None else round(at.timestamp() * MICROSECONDS)


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


@contextmanager
def progress_bars(shown: bool = True) -> Iterator[Report]:
    """One bar a stage on stderr; nothing where that is no terminal, or not shown."""
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not (shown and sys.stderr.isatty())) as progress:
        tasks = {}

        def report(stage: str, done: int, of: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=of)
            progress.update(tasks[stage], completed=done, total=of)

        yield report
