"""`sensord check-config`: the settings in force, where each came from, and whether what they name answers."""

from collections.abc import Callable
from dataclasses import dataclass

import click
import msgspec

from sensord.cli.context import CONNECT_TIMEOUT_S, engine_of, loaded_of
from sensord.cli.output import Column, Format, format_option, write
from sensord.errors import SensordError
from sensord.settings import DEFAULT, Settings
from sensord.stream.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting; origin is a file, a variable, "command line" or "default"."""

    key: str
    value: object
    origin: str


COLUMNS = (
    Column[Setting]("setting", lambda row: row.key, style=lambda row: "dim" if row.origin == DEFAULT else ""),
    Column[Setting]("value", lambda row: _text(row.value)),
    Column[Setting]("from", lambda row: row.origin, style=lambda row: "dim" if row.origin == DEFAULT else ""),
)


@click.command("check-config")
@click.option("--connect", is_flag=True, help="Also reach Kafka, its topics and the database.")
@click.option(
    "--timeout-s", type=click.FloatRange(min=0.1), default=CONNECT_TIMEOUT_S, show_default=True, help="Of each try."
)
@format_option()
@click.pass_context
def check_config(ctx: click.Context, connect: bool, timeout_s: float, form: Format) -> None:
    """Show the settings in force, secrets masked, and where each came from.

    Ends with 78 where a setting is unknown or senseless; with --connect also with 69 where Kafka, a topic or the
    database can't be reached, and with 78 where the schema doesn't fit.
    """
    loaded = loaded_of(ctx)
    _try_keys(loaded.settings)
    write([Setting(*entry) for entry in loaded.entries()], Setting, form, COLUMNS)
    if not loaded.settings.fleets:
        click.echo("no fleet is set: `sensord run` needs one, such as [fleets.pumps] with topics = [...]", err=True)
    if connect:
        _try_all(loaded.settings, timeout_s)


def _try_keys(settings: Settings) -> None:
    """Raises SettingsInvalid for a file that holds no key."""
    if settings.model.trusted_keys:
        from sensord.model.signature import TrustedKeys  # noqa: PLC0415  # cryptography, where it is asked for

        TrustedKeys.read(settings.model.trusted_keys)


def _try_all(settings: Settings, timeout_s: float) -> None:
    """Every try is made, then the first failure ends the command."""
    failures = [
        failure
        for attempt in (_try_database, _try_kafka)
        if (failure := _failure(attempt, settings, timeout_s)) is not None
    ]
    for failure in failures[1:]:
        click.echo(f"sensord: {failure}", err=True)
    if failures:
        raise failures[0]


def _failure(attempt: Callable[[Settings, float], None], settings: Settings, timeout_s: float) -> SensordError | None:
    try:
        attempt(settings, timeout_s)
    except SensordError as error:
        return error
    return None


def _try_database(settings: Settings, timeout_s: float) -> None:
    with engine_of(settings.store, timeout_s):
        click.echo(f"database {settings.store.place}: reachable, the schema is up to date", err=True)


def _try_kafka(settings: Settings, timeout_s: float) -> None:
    topics = [topic for fleet in settings.fleets.values() for topic in fleet.topics]
    with Cluster(settings.kafka, timeout_s) as cluster:
        found = cluster.wait_for(topics, 0)
    click.echo(f"Kafka at {settings.kafka.bootstrap_servers}: reachable", err=True)
    for topic in found.values():
        click.echo(f"topic {topic.name}: partitions {topic.partitions}", err=True)


def _text(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
