"""`sensord notices`, `sensord incidents`: what was told to whom, and of what."""

import click

from sensord.cli.context import engine_of, settings_of
from sensord.cli.notify import wanted_of
from sensord.cli.output import Column, Format, format_option, limit_option, write
from sensord.detection.alerts import Status
from sensord.notify.message import story
from sensord.store.incidents import IncidentRow, incident, list_incidents
from sensord.store.notices import DeliveryRow, Outcome, list_deliveries
from sensord.texts import printable, time_text

STYLES = {Outcome.DELIVERED: "green", Outcome.WAITING: "yellow", Outcome.REFUSED: "bold red"}
DELIVERIES = (
    Column[DeliveryRow]("notice", lambda row: str(row.sequence), right=True),
    Column[DeliveryRow]("made (UTC)", lambda row: time_text(row.recorded_at)),
    Column[DeliveryRow]("what", lambda row: row.notice.value),
    Column[DeliveryRow]("severity", lambda row: row.severity.value),
    Column[DeliveryRow]("fleet", lambda row: row.fleet),
    Column[DeliveryRow]("incident", lambda row: str(row.incident_id), right=True),
    Column[DeliveryRow]("sink", lambda row: row.sink),
    Column[DeliveryRow]("outcome", lambda row: row.outcome.value, style=lambda row: STYLES[row.outcome]),
    Column[DeliveryRow]("at (UTC)", lambda row: time_text(row.delivered_at)),
    Column[DeliveryRow]("answer", lambda row: row.detail),
)
INCIDENTS = (
    Column[IncidentRow]("incident", lambda row: str(row.id), right=True),
    Column[IncidentRow]("opened (UTC)", lambda row: time_text(row.opened_at)),
    Column[IncidentRow]("closed (UTC)", lambda row: time_text(row.closed_at)),
    Column[IncidentRow](
        "severity", lambda row: row.severity.value, style=lambda row: "bold" if row.status is Status.OPEN else ""
    ),
    Column[IncidentRow]("fleet", lambda row: row.fleet),
    Column[IncidentRow]("devices", lambda row: str(row.devices), right=True),
    Column[IncidentRow]("alerts", lambda row: str(row.alerts), right=True),
)


@click.group("notices")
def notices() -> None:
    """What sinks were told, and what waits."""


@notices.command("list")
@limit_option()
@format_option()
@click.pass_context
def list_notices(ctx: click.Context, limit: int, form: Format) -> None:
    """List notices to the sinks of the settings, the latest first."""
    settings = settings_of(ctx)
    with engine_of(settings.store) as engine:
        rows = list_deliveries(engine, [wanted_of(name, sink) for name, sink in settings.sinks.items()], limit + 1)
    write(rows, DeliveryRow, form, DELIVERIES, limit=limit)


@click.group("incidents")
def incidents() -> None:
    """Alerts of a fleet with one cause, as `sensord notify` has put them together."""


@incidents.command("list")
@click.option("--fleet", help="Of this fleet alone.")
@click.option("--open", "open_only", is_flag=True, help="Only those that are still open.")
@limit_option()
@format_option()
@click.pass_context
def list_(ctx: click.Context, fleet: str | None, open_only: bool, limit: int, form: Format) -> None:
    """List incidents, the last opened first."""
    with engine_of(settings_of(ctx).store) as engine:
        rows = list_incidents(engine, fleet, open_only, limit + 1)
    write(rows, IncidentRow, form, INCIDENTS, limit=limit)


@incidents.command("show")
@click.argument("number", type=int)
@click.pass_context
def show(ctx: click.Context, number: int) -> None:
    """Show an incident's alerts, a line each."""
    with engine_of(settings_of(ctx).store) as engine:
        row, alerts = incident(engine, number)
    state = row.status.value if row.closed_at is None else f"closed {time_text(row.closed_at)}"
    click.echo(f"incident {row.id} of fleet {row.fleet}: {row.severity}, {state}")
    for alert in alerts:
        click.echo(f"{str(alert.id)[:8]}  {printable(story(alert))}")
