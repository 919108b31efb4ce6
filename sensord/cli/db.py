"""`sensord db`: the database's schema."""

import click

from sensord.cli.context import connected, engine_of, settings_of
from sensord.store.database import upgrade as upgrade_schema


@click.group("db")
def db() -> None:
    """The database's schema."""


@db.command("upgrade")
@click.pass_context
def upgrade(ctx: click.Context) -> None:
    """Bring the schema to this version's revision; safe to run twice, and by several at once."""
    store = settings_of(ctx).store
    with connected(store, create=True) as engine:
        upgrade_schema(engine)
    click.echo(f"database {store.place}: the schema is up to date")


@db.command("check")
@click.pass_context
def check(ctx: click.Context) -> None:
    """Exit with 0 if the schema fits this version, with 78 if not."""
    store = settings_of(ctx).store
    with engine_of(store):
        click.echo(f"database {store.place}: the schema is up to date")
