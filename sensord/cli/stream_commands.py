"""`sensord record` and `sensord replay`: a topic into a file, files into a topic."""

import signal
from datetime import datetime
from pathlib import Path

import click

from sensord.cli.context import settings_of
from sensord.cli.options import OneOf, Time
from sensord.cli.recordings import file_options, progress_bars
from sensord.clock import MICROSECONDS
from sensord.stream import replaying
from sensord.stream.files import FileOptions
from sensord.stream.replaying import ReplayOptions, Restamp

ANSWER_WITHIN_S = 15.0

kafka_option = click.option("--kafka", help="Brokers, HOST:PORT; else kafka.bootstrap_servers of the settings.")
topic_option = click.option("--topic", required=True, help="Topic.")


@click.command("record")
@topic_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--since", type=Time(), help="Begin with records of this time stamp.")
@click.option("--until", type=Time(), help="End before records of this time stamp.")
@click.option("--since-offset", type=click.IntRange(min=0), help="Begin at this offset, in every partition.")
@click.option("--until-offset", type=click.IntRange(min=0), help="End before this offset, in every partition.")
@click.option("--follow", is_flag=True, help="Go on with what comes, until interrupted.")
@kafka_option
@click.pass_context
def record(
    ctx: click.Context,
    topic: str,
    file: Path,
    since: datetime | None,
    until: datetime | None,
    since_offset: int | None,
    until_offset: int | None,
    follow: bool,
    kafka: str | None,
) -> None:
    """Record a topic to FILE: keys, values, time stamps and offsets as JSON lines, packed if named .zst or .gz.

    It ends with what the topic holds now, and with what it has when interrupted.
    """
    if follow and (until is not None or until_offset is not None):
        raise click.UsageError("--follow has no end, --until and --until-offset set one")
    if not file.parent.is_dir():
        raise click.BadParameter(f"folder {file.parent} does not exist", param_hint="FILE")
    settings = settings_of(ctx, {"kafka.bootstrap_servers": kafka}).kafka
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # keeps what was recorded, as an interrupt does
    with progress_bars() as report:
        count = replaying.record(
            settings,
            topic,
            file,
            _microseconds(since),
            _microseconds(until),
            lambda done, of: report("record", done, of),
            since_offset=since_offset,
            until_offset=until_offset,
            follow=follow,
            timeout_s=ANSWER_WITHIN_S,
        )
    click.echo(f"recorded {count} records of {topic} to {file}", err=True)


@click.command("replay")
@file_options
@topic_option
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), help="1: as recorded, 10: ten times as fast.")
@click.option("--restamp", type=OneOf(Restamp), help="Shift all times so that the first, or the last, reading is now.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted replay of the same files; nothing is doubled.")
@click.option("--partitions", type=click.IntRange(min=1), help="Create the topic with so many, if it does not exist.")
@click.option("--by-key", is_flag=True, help="Partition by key, not as recorded.")
@kafka_option
@click.pass_context
def replay(
    ctx: click.Context,
    files: tuple[Path, ...],
    file_options: FileOptions,
    topic: str,
    speed: float | None,
    restamp: Restamp | None,
    resume: bool,
    partitions: int | None,
    by_key: bool,
    kafka: str | None,
) -> None:
    """Publish FILE... to a topic: recorded topics, lines of JSON messages, or columns (CSV), plain or packed.

    As fast as it goes, unless --speed is given. Several files are merged by time.
    """
    if not files:
        raise click.UsageError("name at least one FILE")
    settings = settings_of(ctx, {"kafka.bootstrap_servers": kafka}).kafka
    options = ReplayOptions(speed, restamp, resume, partitions, by_key, file_options, ANSWER_WITHIN_S)
    with progress_bars() as report:
        done = replaying.replay(settings, topic, files, options, lambda sent, of: report("replay", sent, of))
    already = f", {done.skipped} were there already" if resume else ""
    click.echo(f"replayed {done.published} messages to {topic}{already}", err=True)


def _microseconds(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * MICROSECONDS)
