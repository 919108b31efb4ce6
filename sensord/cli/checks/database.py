"""The database: does it answer, is its schema ours, may we write, is its clock ours."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sensord.cli.checks.findings import Finding, failure, unreachable, warning, well
from sensord.cli.checks.machine import room
from sensord.cli.context import connected
from sensord.errors import SensordError
from sensord.settings import StoreSettings
from sensord.store import Engine
from sensord.store.database import check, expected_revision
from sensord.store.server import Server, missing_rights, server

AREA = "database"
SKEW_S = 2.0


def look(store: StoreSettings, timeout_s: float) -> Iterator[Finding]:
    """From the first to the last thing that a daemon needs of it; what comes after a failure isn't looked at."""
    try:
        with connected(store, timeout_s) as engine:
            yield from _reached(engine, store)
    except SensordError as error:
        yield unreachable(AREA, store.place, error, "start it, or mend store.url")


def _reached(engine: Engine, store: StoreSettings) -> Iterator[Finding]:
    began = time.perf_counter()
    found = server(engine)
    took_ms = 1_000 * (time.perf_counter() - began)
    yield well(AREA, store.place, f"{found.version}, answers in {took_ms:.0f} ms")
    check(engine)
    yield well(AREA, "schema", expected_revision())
    if found.read_only:
        yield failure(AREA, "writing", "it takes no writes, as a standby does", "name the primary in store.url")
    yield from _rights(engine, found)
    yield from _clock(found)
    if store.is_file:
        file = Path(engine.url.database or "").resolve()
        yield room(AREA, "disk", file.parent, "make room, or move the file")


def _rights(engine: Engine, found: Server) -> Iterator[Finding]:
    if missing := missing_rights(engine):
        yield failure(
            AREA,
            "rights",
            f"user {found.user} lacks {', '.join(missing)}",
            f"GRANT sensord_daemon TO {found.user}; then, as the owner: psql -f deploy/postgres/grants.sql",
        )
    elif found.user:
        yield well(AREA, "rights", f"user {found.user} may do what the daemon does")


def _clock(found: Server) -> Iterator[Finding]:
    if found.now is None:
        return
    ahead_s = (found.now - datetime.now(UTC)).total_seconds()
    if abs(ahead_s) > SKEW_S:
        said = f"the server's clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
        yield warning(AREA, "clock", said, "have both keep time by NTP")
    else:
        yield well(AREA, "clock", "agrees with this machine's")
