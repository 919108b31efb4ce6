"""`sensord windows`: times of maintenance and the like, of which nobody is told and nothing is learned."""

from datetime import datetime

import click

from sensord.cli.context import engine_of, settings_of
from sensord.cli.options import OneOf, Time, by_option
from sensord.cli.output import Column, Format, format_option, limit_option, write
from sensord.clock import SystemClock
from sensord.store.suppression import add_window, remove_window
from sensord.store.windows import Window, WindowKind, list_windows
from sensord.texts import time_text

COLUMNS = (
    Column[Window]("id", lambda row: str(row.id), right=True),
    Column[Window]("fleet", lambda row: row.fleet),
    Column[Window]("device", lambda row: row.device or "all"),
    Column[Window]("from (UTC)", lambda row: time_text(row.from_at)),
    Column[Window]("to (UTC)", lambda row: time_text(row.to_at)),
    Column[Window]("kind", lambda row: row.kind.value),
    Column[Window]("by", lambda row: row.created_by),
    Column[Window]("comment", lambda row: row.comment or ""),
)


@click.group("windows")
def windows() -> None:
    """Times of maintenance and the like: their alerts are suppressed, and training leaves their readings out."""


@windows.command("add")
@click.option("--fleet", required=True, help="Of this fleet.")
@click.option("--device", help="Of this device alone; * and ? stand for others.")
@click.option("--from", "from_at", type=Time(), required=True, help="From 2026-11-23T12:00:00Z, or an age such as 3h.")
@click.option("--to", "to_at", type=Time(), required=True, help="To before this time.")
@click.option("--kind", type=OneOf(tuple(WindowKind)), required=True, help="Both do the same; people see which.")
@click.option("--comment", help="What is done.")
@by_option
@click.pass_context
def add(
    ctx: click.Context,
    fleet: str,
    device: str | None,
    from_at: datetime,
    to_at: datetime,
    kind: WindowKind,
    comment: str | None,
    by: str,
) -> None:
    """Add a window, of the past or of what is to come. Times are the readings' own.

    It suppresses alerts that open in it and are over by its end. One that goes on is told then.
    """
    if from_at >= to_at:
        raise click.UsageError("--from must be before --to")
    settings = settings_of(ctx)
    if settings.fleets and fleet not in settings.fleets:
        click.echo(f"note: the settings name no fleet {fleet}, only {', '.join(settings.fleets)}", err=True)
    with engine_of(settings.store) as engine:
        window, hidden = add_window(engine, fleet, device, from_at, to_at, kind, comment, by, SystemClock().now())
    click.echo(f"window {window.id} added; it suppresses {hidden} alerts that are there already")


@windows.command("list")
@click.option("--fleet", help="Of this fleet alone.")
@limit_option()
@format_option()
@click.pass_context
def list_(ctx: click.Context, fleet: str | None, limit: int, form: Format) -> None:
    """List windows, the latest first."""
    with engine_of(settings_of(ctx).store) as engine:
        rows = list_windows(engine, fleet, limit + 1)
    write(rows, Window, form, COLUMNS, limit=limit)


@windows.command("remove")
@click.argument("id_", metavar="ID", type=click.IntRange(min=1))
@click.pass_context
def remove(ctx: click.Context, id_: int) -> None:
    """Remove a window; its alerts are shown as if it had never been."""
    with engine_of(settings_of(ctx).store) as engine:
        shown = remove_window(engine, id_, SystemClock().now())
    click.echo(f"window {id_} removed; {shown} alerts are shown again")
