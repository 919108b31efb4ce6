"""A migrated database, SQLite and PostgreSQL in turn."""

from collections.abc import Iterator

import pytest

from sensord.store import Engine
from sensord.store.database import open_engine, upgrade


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    engine = open_engine(store_url)
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Engine]:
    """PostgreSQL alone: for what only a server with many clients can show."""
    engine = open_engine(postgres_url)
    upgrade(engine)
    yield engine
    engine.dispose()
