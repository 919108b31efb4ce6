"""`sensord replay`: files into a topic; or, with --model, recorded readings under one bundle against another.

What scores is in `backtest`, since that imports torch.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from pathlib import Path

import click
from click.core import ParameterSource

from sensord.cli.context import settings_of
from sensord.cli.differences.telling import report_option
from sensord.cli.options import OneOf, Time
from sensord.cli.output import Format, format_option, limit_option
from sensord.cli.recordings import (
    ANSWER_WITHIN_S,
    file_options,
    kafka_option,
    microseconds,
    offset_options,
    progress_bars,
)
from sensord.stream import replaying
from sensord.stream.files import FileOptions
from sensord.stream.replaying import ReplayOptions, Restamp

PUBLISHING = ("speed", "restamp", "resume", "partitions", "by_key")
OF_FILES = ("device_column", "time_column", "time_unit", "channels", "ignore", "column_names")
OF_TOPIC = ("since_offset", "until_offset", "kafka")
SCORING = ("against", "fleet", "since", "until", "since_offset", "until_offset", "workers", "report", "form", "limit")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A backtest: bundles by name, which readings (times in microseconds), how many workers, what to show."""

    model: str
    against: str | None
    fleet: str | None
    since: int | None
    until: int | None
    since_offset: int | None
    until_offset: int | None
    workers: int | None
    report: Path | None
    form: Format
    limit: int


def scoring_options(command: Callable[..., None]) -> Callable[..., None]:
    """What a backtest is asked with, passed as `wanted`; None without --model."""

    @click.option("--model", help="Publish nothing: score the readings under this bundle. An id, current or shadow.")
    @click.option("--against", help="And under this one; what differs is shown.")
    @click.option("--fleet", help="The bundles' fleet; may be left out where the settings name only one.")
    @click.option("--since", type=Time(), help="With --model: score readings from this time on.")
    @click.option("--until", type=Time(), help="With --model: score readings before this time.")
    @offset_options
    @click.option("--workers", type=click.IntRange(1, 256), help="Cores that score; all by default.")
    @report_option
    @limit_option()
    @format_option()
    @wraps(command)
    def with_options(
        *args: object,
        model: str | None,
        against: str | None,
        fleet: str | None,
        since: datetime | None,
        until: datetime | None,
        since_offset: int | None,
        until_offset: int | None,
        workers: int | None,
        report: Path | None,
        limit: int,
        form: Format,
        **kwargs: object,
    ) -> None:
        if model is None:
            command(*args, wanted=None, **kwargs)
            return
        times = microseconds(since), microseconds(until)
        wanted = Wanted(model, against, fleet, *times, since_offset, until_offset, workers, report, form, limit)
        command(*args, wanted=wanted, **kwargs)

    return with_options


@click.command("replay")
@file_options
@click.option("--topic", help="Topic to publish to; with --model and without FILE, the topic to read.")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), help="1: as recorded, 10: ten times as fast.")
@click.option("--restamp", type=OneOf(Restamp), help="Shift all times so that the first, or the last, reading is now.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted replay of the same files; nothing is doubled.")
@click.option("--partitions", type=click.IntRange(min=1), help="Create the topic with so many, if it does not exist.")
@click.option("--by-key", is_flag=True, help="Partition by key, not as recorded.")
@kafka_option
@scoring_options
@click.pass_context
def replay(
    ctx: click.Context,
    files: tuple[Path, ...],
    file_options: FileOptions,
    topic: str | None,
    speed: float | None,
    restamp: Restamp | None,
    resume: bool,
    partitions: int | None,
    by_key: bool,
    kafka: str | None,
    wanted: Wanted | None,
) -> None:
    """Publish FILE... to a topic: recorded topics, lines of JSON messages, or columns (CSV), plain or packed.

    As fast as it goes, unless --speed is given. Several files are merged by time.

    With --model nothing is published: the readings of FILE..., or of a topic, are scored by the daemon's own code under
    one bundle, with --against under another one too. Alerts are written as those of the run "replay", of which nobody
    is told, and what differs is shown. JSON has all figures; JSON lines and CSV have the alerts that differ.
    """
    if wanted is not None:
        _check_scoring(ctx, files, topic)
        settings = settings_of(ctx, {"kafka.bootstrap_servers": kafka})
        from sensord.cli.backtest import Source, backtest  # noqa: PLC0415  # torch, where it is asked for

        backtest(settings, Source(files, file_options, topic), wanted)
        return
    _refuse(ctx, SCORING, "goes with --model")
    if not files:
        raise click.UsageError("name at least one FILE")
    if topic is None:
        raise click.UsageError("name the topic to publish to with --topic, or a bundle to score under with --model")
    options = ReplayOptions(speed, restamp, resume, partitions, by_key, file_options, ANSWER_WITHIN_S)
    with progress_bars() as report:
        kafka_settings = settings_of(ctx, {"kafka.bootstrap_servers": kafka}).kafka
        done = replaying.replay(kafka_settings, topic, files, options, lambda sent, of: report("replay", sent, of))
    already = f", {done.skipped} were there already" if resume else ""
    click.echo(f"replayed {done.published} messages to {topic}{already}", err=True)


def _check_scoring(ctx: click.Context, files: Collection[Path], topic: str | None) -> None:
    """Raises UsageError."""
    _refuse(ctx, PUBLISHING, "is for publishing, and --model publishes nothing")
    if bool(files) == (topic is not None):
        raise click.UsageError("with --model give either FILE... or --topic")
    _refuse(ctx, OF_TOPIC if files else OF_FILES, "goes with --topic" if files else "goes with FILE...")


def _refuse(ctx: click.Context, names: Collection[str], why: str) -> None:
    """Raises UsageError for the first of these that the command line names."""
    for parameter in ctx.command.params:
        if parameter.name in names and ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} {why}")
