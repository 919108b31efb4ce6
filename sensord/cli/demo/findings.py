"""What came of a run: the alerts in the table held against the truth, and every reading's score once more.

Scores and expectations aren't stored, so the live readings go through the daemon's own scoring code again; that the
alerts which come of it are those in the table is checked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
import torch

from sensord.cli.context import engine_of
from sensord.cli.demo.processes import StepFailed
from sensord.cli.demo.stage import FLEET, Stage
from sensord.cli.demo.truth import PlantedFault, Truth
from sensord.clock import MICROSECONDS
from sensord.detection.alerts import Alert
from sensord.detection.fleet import Observation
from sensord.errors import ModelMissing
from sensord.model.bundle import Bundle, Packed, unpack
from sensord.settings import FleetSettings
from sensord.store.alerts import AlertFilter, AlertRow, list_alerts
from sensord.store.registry import Registry
from sensord.store.schema import microseconds
from sensord.stream.files import read_tables
from sensord.trainer.events import GRACE_READINGS, Matching, Span, match
from sensord.trainer.offline import Recorded, Replayed, replay


@dataclass(frozen=True, slots=True)
class Track:
    """One device's live readings and what the daemon's code made of them."""

    recorded: Recorded
    seen: Observation


@dataclass(frozen=True)
class Findings:
    """Alerts, by opening, beside the truth. readings: how many live ones the daemon processed."""

    truth: Truth
    alerts: tuple[AlertRow, ...]
    bundle: Bundle
    tracks: dict[str, Track]
    readings: int

    @cached_property
    def matching(self) -> Matching:
        spans = [_span(alert) for alert in self.alerts]
        return match([fault.span for fault in self.truth.faults], spans, round(GRACE_READINGS * self.period_us))

    @property
    def period_us(self) -> float:
        """Between a device's readings."""
        return self.bundle.manifest.period_s * MICROSECONDS

    def alerts_of(self, fault: PlantedFault) -> list[AlertRow]:
        """The alerts that go with a fault, by opening; none where it was missed."""
        return [self.alerts[number] for number in self.matching.alerts_of[self.truth.faults.index(fault)]]

    def of(self, device_id: str) -> tuple[list[PlantedFault], list[AlertRow]]:
        """A device's faults and its alerts, right or false."""
        faults = [fault for fault in self.truth.faults if fault.device_id == device_id]
        return faults, [alert for alert in self.alerts if alert.device_id == device_id]

    @property
    def devices_concerned(self) -> list[str]:
        """The devices with a fault or an alert, by the first of these."""
        events = [(fault.start_at, fault.device_id) for fault in self.truth.faults]
        events += [(alert.opened_at, alert.device_id) for alert in self.alerts]
        return list(dict.fromkeys(device_id for _, device_id in sorted(events)))

    @property
    def false(self) -> list[AlertRow]:
        """The alerts that go with no fault, by opening."""
        return [self.alerts[number] for number in self.matching.false]

    def delay(self, fault: PlantedFault) -> timedelta | None:
        """From a fault's beginning to its first alert's, negative where that was earlier; None where it was missed."""
        alerts = self.alerts_of(fault)
        return alerts[0].opened_at - fault.start_at if alerts else None

    @property
    def line(self) -> str:
        """The demo's last line."""
        return (
            f"demo: found {self.matching.found} of {len(self.truth.faults)} faults, "
            f"{len(self.false)} false alerts, {self.readings} readings"
        )


def gather(stage: Stage, truth: Truth, readings: int, progress: Callable[[int, int], None]) -> Findings:
    """Read the alerts, score the live readings again and check that both agree. Raises StepFailed, SensordError."""
    with engine_of(stage.store()) as engine:
        alerts = sorted(list_alerts(engine, AlertFilter(fleet=FLEET)), key=lambda row: (row.opened_at, row.device_id))
        stored = Registry(engine).current(FLEET)
    if stored is None:
        raise ModelMissing(f"fleet {FLEET} has no current bundle")
    bundle = unpack(Packed(stored.bundle_id, stored.manifest, stored.weights, stored.sha256))
    devices = [
        Recorded(table.device_id, table.at, table.values[:, [table.channels.index(name) for name in bundle.channels]])
        for table in read_tables([stage.path(stage.live)])
    ]
    max_gap_s = FleetSettings(topics=("any",)).max_gap_s  # the default, as in the demo's settings
    torch.set_num_threads(1)  # as the daemon does
    replayed = replay(bundle, devices, max_gap_s, progress)
    _must_agree(alerts, replayed)
    tracks = {
        device.device_id: Track(device, seen) for device, seen in zip(devices, replayed.observations, strict=True)
    }
    return Findings(truth, tuple(alerts), bundle, dict(sorted(tracks.items())), readings)


def _must_agree(alerts: list[AlertRow], replayed: Replayed) -> None:
    """What the daemon stored is what its code says about the same readings, to the last digit."""
    stored = {
        (row.device_id, microseconds(row.opened_at), microseconds(row.last_seen_at), row.readings, row.score_peak)
        for row in alerts
    }
    again = {_figures(alert) for alert in replayed.alerts}
    if stored != again:
        raise StepFailed(f"scored again, the live readings give other alerts: {sorted(stored ^ again)}")


def _figures(alert: Alert) -> tuple[str, int, int, int, float]:
    return alert.device_id, alert.opened_at, alert.last_seen_at, alert.readings, alert.score_peak


def _span(alert: AlertRow) -> Span:
    """From the first anomalous reading to the last: the calm ones that closed the alert say nothing is wrong."""
    return Span(alert.device_id, microseconds(alert.opened_at), microseconds(alert.last_seen_at))


def rows_between(track: Track, start_us: int, end_us: int) -> slice:
    """The rows of a track within a time, both ends included."""
    at = track.recorded.at
    return slice(int(np.searchsorted(at, start_us)), int(np.searchsorted(at, end_us, side="right")))
