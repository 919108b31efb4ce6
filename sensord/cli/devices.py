"""`sensord devices`: what was seen."""

import click

from sensord.cli.context import engine_of, settings_of
from sensord.cli.output import Column, Format, format_option, limit_option, write
from sensord.store.devices import DeviceRow, list_devices
from sensord.texts import time_text

COLUMNS = (
    Column[DeviceRow]("device", lambda row: row.device_id),
    Column[DeviceRow]("fleet", lambda row: row.fleet),
    Column[DeviceRow]("partition", lambda row: f"{row.topic}[{row.partition}]"),
    Column[DeviceRow]("first seen (UTC)", lambda row: time_text(row.first_seen)),
    Column[DeviceRow]("last seen (UTC)", lambda row: time_text(row.last_seen)),
    Column[DeviceRow]("open alerts", lambda row: str(row.open_alerts), right=True),
)


@click.group("devices")
def devices() -> None:
    """The devices that were seen."""


@devices.command("list")
@click.option("--fleet", help="Of this fleet alone.")
@click.option("--device", help="Of this name; * and ? stand for others.")
@limit_option(1_000)
@format_option()
@click.pass_context
def list_(ctx: click.Context, fleet: str | None, device: str | None, limit: int, form: Format) -> None:
    """List devices with their topics, event times and open alerts."""
    with engine_of(settings_of(ctx).store) as engine:
        rows = list_devices(engine, fleet, device, limit + 1)
    write(rows, DeviceRow, form, COLUMNS, limit=limit)
