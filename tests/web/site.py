"""A site with a few devices and alerts, for whoever asks it for pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np
from sqlalchemy import Engine

from sensord.clock import MICROSECONDS, ManualClock
from sensord.detection.alerts import Evidence, Kind, Reason, Severity, Status
from sensord.detection.forecast import Forecast
from sensord.settings import FleetSettings, LimitSettings
from sensord.store.database import open_engine, upgrade
from sensord.store.devices import DeviceSeen
from sensord.store.progress import Progress, Snapshot
from sensord.store.registry import Registry
from sensord.web.access import Access
from sensord.web.site import Site
from sensord.web.standing import Standing
from tests.builders import fleet, packed, readings
from tests.cli.rows import HOSTILE
from tests.store.rows import NOW, P0, SECOND, alert, checkpoint, letter, moved, opened

TOKEN = "a-token-of-the-page-1"  # noqa: S105  # of tests
SCRIPT = "pump/<script>alert(1)</script>"
HOUR = 3_600 * MICROSECONDS


@dataclass
class Stage:
    """The site, and what is on it."""

    engine: Engine
    site: Site
    clock: ManualClock
    drift: UUID
    over: UUID
    hostile: UUID


def standing_of(engine: Engine) -> Standing:
    return Standing(datetime(2025, 11, 24, 16, tzinfo=UTC), None, "Kafka at nowhere: no answer", [], [])


@contextmanager
def staged(folder: Path, token: str | None = TOKEN, public: bool = False, loopback: bool = False) -> Iterator[Stage]:
    """A site on a file of its own."""
    engine = open_engine(f"sqlite:///{folder / 'sensord.db'}")
    upgrade(engine)
    try:
        yield filled(engine, token, public, loopback)
    finally:
        engine.dispose()


def filled(engine: Engine, token: str | None = TOKEN, public: bool = False, loopback: bool = False) -> Stage:
    """pump-1 drifts towards a limit, pump-2 had an anomaly, and one whose name is an attack has a critical one."""
    clock = ManualClock(NOW / SECOND)
    ahead = Forecast("heat", 95.0, NOW + HOUR, NOW + HOUR // 2, NOW + 3 * HOUR)
    at = tuple(NOW - (32 - number) * SECOND for number in range(32))
    rows = tuple((70.0 + number / 3, 5.0) for number in range(32))
    evidence = Evidence(("heat", "load"), at, rows, tuple((70.0, 5.0) for _ in at), tuple(n / 20 for n in range(32)))
    drift = alert(device_id="pump-1", kind=Kind.DRIFT, forecast=ahead, evidence=evidence, opened_at=NOW - 10 * SECOND)
    anomaly = alert(device_id="pump-2", opened_at=NOW - 26 * HOUR, evidence=evidence)
    over = replace(anomaly, status=Status.CLOSED, closed_at=NOW - 25 * HOUR, close_reason=Reason.CLEARED)
    hostile = alert(device_id=SCRIPT, severity=Severity.CRITICAL, opened_at=NOW - 5 * SECOND)
    other = alert(device_id=HOSTILE, opened_at=NOW - 7 * SECOND)
    watched = fleet()
    values = np.random.default_rng(0).normal(0, 0.3, (60, 2)).astype(np.float32)
    for device in ("pump-1", "pump-2", SCRIPT, HOSTILE):
        watched.observe(readings(values, device))
    registry, bundle = Registry(engine), packed()
    registry.publish("pumps", bundle.bundle_id, bundle.manifest, bundle.weights, bundle.sha256, NOW, "test")
    registry.promote("pumps", bundle.bundle_id, NOW, "test")
    progress = Progress(engine)
    claim = progress.claim("pumps", P0, "host/7/member", "", NOW)
    seen = [DeviceSeen(name, NOW - 26 * HOUR, NOW) for name in ("pump-1", "pump-2", "pump-3", SCRIPT, HOSTILE)]
    changes = [opened(each) for each in (drift, anomaly, hostile, other)]
    mark = checkpoint(claim, 41, alerts=changes, dead_letters=[letter()], devices=seen)
    progress.commit([replace(mark, snapshot=Snapshot(bundle.bundle_id, watched.pages()))], NOW)
    claim = progress.claim("pumps", P0, "host/7/member", "", NOW)
    progress.commit([checkpoint(claim, 42, alerts=[moved(over, "closed")])], NOW)
    fleets = {"pumps": FleetSettings(topics=("sensors.pumps",), limits={"heat": LimitSettings(high=95.0)})}
    access = Access(token, public, clock)
    site = Site(engine, fleets, access, clock, lambda: standing_of(engine), lambda path: None, loopback)
    return Stage(engine, site, clock, drift.id, over.id, hostile.id)
