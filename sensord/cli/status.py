"""`sensord status`: who reads what, how far behind, with which bundle, and whether alerts keep to the budget."""

import click

from sensord.cli.context import CONNECT_TIMEOUT_S, engine_of, settings_of
from sensord.cli.output import Column, Format, format_option, write_object, write_table
from sensord.texts import figure, time_text
from sensord.web.standing import FleetStatus, PartitionStatus, standing

FLEETS = (
    Column[FleetStatus]("fleet", lambda row: row.fleet),
    Column[FleetStatus](
        "bundle", lambda row: row.bundle_id or "none", style=lambda row: "" if row.bundle_id else "red"
    ),
    Column[FleetStatus]("promoted (UTC)", lambda row: time_text(row.promoted_at)),
    Column[FleetStatus]("shadow", lambda row: row.shadow_id or ""),
    Column[FleetStatus]("devices", lambda row: str(row.devices), right=True),
    Column[FleetStatus]("last seen (UTC)", lambda row: time_text(row.last_seen)),
    Column[FleetStatus]("open alerts", lambda row: str(row.open_alerts), right=True),
    Column[FleetStatus](
        "a device and day",
        lambda row: figure(row.rate),
        right=True,
        style=lambda row: "yellow" if (row.rate or 0) > row.budget else "",
    ),
    Column[FleetStatus]("budget", lambda row: figure(row.budget), right=True),
)
PARTITIONS = (
    Column[PartitionStatus]("topic", lambda row: row.topic),
    Column[PartitionStatus]("partition", lambda row: str(row.partition), right=True),
    Column[PartitionStatus]("read by", lambda row: row.owner or "nobody yet"),
    Column[PartitionStatus]("committed (UTC)", lambda row: time_text(row.committed_at)),
    Column[PartitionStatus]("next offset", lambda row: _number(row.next_offset), right=True),
    Column[PartitionStatus]("waiting", lambda row: _number(row.lag), right=True),
    Column[PartitionStatus]("to replay", lambda row: _number(row.replay), right=True),
    Column[PartitionStatus]("bundle", lambda row: row.bundle_id or ""),
)


@click.command("status")
@click.option(
    "--timeout-s", type=click.FloatRange(min=0.1), default=CONNECT_TIMEOUT_S, show_default=True, help="Of each try."
)
@format_option(Format.TABLE, Format.JSON)
@click.pass_context
def status(ctx: click.Context, timeout_s: float, form: Format) -> None:
    """Show each fleet's bundle, devices and alerts, and each partition's reader and lag.

    It asks the database and Kafka, not the daemons, and may run anywhere. Where Kafka doesn't answer, the lag is left
    out, and the exit code is still 0.
    """
    settings = settings_of(ctx)
    with engine_of(settings.store, timeout_s) as engine:
        found = standing(settings, engine, timeout_s)
    if found.kafka:
        click.echo(f"sensord: {found.kafka}", err=True)
    if form is Format.JSON:
        write_object(found)
        return
    write_table(found.fleets, FLEETS)
    click.echo()
    write_table(found.partitions, PARTITIONS)
    if found.group is not None:
        members = found.group.members
        told = f"{found.group.state.lower()}, members: {members}" if members else "no member"
        click.echo(f"\ngroup {settings.kafka.group_id}: {told}")


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
