"""`sensord dead-letters`: what could not become a reading."""

import click

from sensord.cli.context import engine_of, settings_of
from sensord.cli.output import Column, Format, format_option, limit_option, write
from sensord.store.dead_letters import DeadLetterRow, list_dead_letters
from sensord.texts import time_text

PAYLOAD_SHOWN = 80  # bytes

COLUMNS = (
    Column[DeadLetterRow]("recorded (UTC)", lambda row: time_text(row.recorded_at)),
    Column[DeadLetterRow]("fleet", lambda row: row.fleet),
    Column[DeadLetterRow]("record", lambda row: f"{row.topic}[{row.partition}]@{row.record_offset}"),
    Column[DeadLetterRow]("reason", lambda row: row.reason),
    Column[DeadLetterRow]("detail", lambda row: row.detail),
    Column[DeadLetterRow]("payload", lambda row: row.payload[:PAYLOAD_SHOWN].decode(errors="replace")),
)


@click.group("dead-letters")
def dead_letters() -> None:
    """What came and could not become a reading."""


@dead_letters.command("list")
@click.option("--fleet", help="Of this fleet alone.")
@click.option("--reason", help="With this reason alone.")
@limit_option()
@format_option()
@click.pass_context
def list_(ctx: click.Context, fleet: str | None, reason: str | None, limit: int, form: Format) -> None:
    """List dead letters, the last recorded first."""
    with engine_of(settings_of(ctx).store) as engine:
        rows = list_dead_letters(engine, fleet, reason, limit + 1)
    write(rows, DeadLetterRow, form, COLUMNS, limit=limit)
