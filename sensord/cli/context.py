"""What most commands start with: the settings in force, and the database behind them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from sensord.errors import SchemaMismatch
from sensord.logs import configure
from sensord.settings import Loaded, Settings, StoreSettings, load_with_origins
from sensord.store import Engine
from sensord.store.database import check, connect_within, open_engine

CONNECT_TIMEOUT_S = 5.0


def loaded_of(ctx: click.Context, overrides: Mapping[str, object] | None = None) -> Loaded:
    """The settings in force with their origins; logs go their way from here on. Raises SettingsInvalid.

    overrides: dotted key -> value of a flag, None where the flag wasn't given.
    """
    root = ctx.find_root()
    loaded = load_with_origins(root.params.get("config"), overrides=overrides)
    root.obj = settings = loaded.settings
    configure(settings.log.level, settings.log.format, settings.secrets())
    return loaded


def settings_of(ctx: click.Context, overrides: Mapping[str, object] | None = None) -> Settings:
    """As `loaded_of`, the settings alone."""
    return loaded_of(ctx, overrides).settings


@contextmanager
def engine_of(store: StoreSettings, timeout_s: float = CONNECT_TIMEOUT_S) -> Iterator[Engine]:
    """The database, reachable and with this version's schema; let go of at the end.

    Raises Unreachable, SchemaMismatch, StoreUnavailable.
    """
    with connected(store, timeout_s) as engine:
        check(engine)
        yield engine


@contextmanager
def connected(store: StoreSettings, timeout_s: float = CONNECT_TIMEOUT_S, create: bool = False) -> Iterator[Engine]:
    """The database, reachable, whatever its schema. create: an SQLite file that isn't there may be made.

    Raises Unreachable, and SchemaMismatch for a file that isn't there.
    """
    engine = open_engine(store.full_url)
    try:
        file = engine.url.database
        if not create and engine.dialect.name == "sqlite" and file and not Path(file).exists():
            raise SchemaMismatch(f"database {store.place}: no such file: run `sensord db upgrade`")
        connect_within(engine, timeout_s)
        yield engine
    finally:
        engine.dispose()
