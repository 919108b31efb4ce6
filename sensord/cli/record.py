"""`sensord record`: a topic into a file."""

import signal
from datetime import datetime
from pathlib import Path

import click

from sensord.cli.context import settings_of
from sensord.cli.options import Time
from sensord.cli.recordings import ANSWER_WITHIN_S, kafka_option, microseconds, offset_options, progress_bars
from sensord.stream import replaying


@click.command("record")
@click.option("--topic", required=True, help="Topic.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--since", type=Time(), help="Begin with records of this time stamp.")
@click.option("--until", type=Time(), help="End before records of this time stamp.")
@offset_options
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
            microseconds(since),
            microseconds(until),
            lambda done, of: report("record", done, of),
            since_offset=since_offset,
            until_offset=until_offset,
            follow=follow,
            timeout_s=ANSWER_WITHIN_S,
        )
    click.echo(f"recorded {count} records of {topic} to {file}", err=True)
