"""Every metric, one catalogue. Built by `cli`, fed by `daemon`, served at /metrics.

Base units, no label whose values devices can multiply. A restart sets counters to zero; what a replay repeats is
counted as replayed alone, and alerts and dead letters when they are committed, so that nothing counts twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from sensord import __version__

CONTENT_TYPE = CONTENT_TYPE_LATEST
OUTCOMES = ("scored", "warm_up", "late", "reset")  # by the number that detection gives each
REPLAYED = "replayed"
LIVE = "live"  # the run that counts

SIZES = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class _Observation(Protocol):
    @property
    def outcome(self) -> NDArray[np.uint8]: ...


class _Progressed(Protocol):
    @property
    def observation(self) -> _Observation: ...
    @property
    def replayed(self) -> int: ...


class _Alert(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def run(self) -> str: ...


class _Change(Protocol):
    @property
    def alert(self) -> _Alert: ...
    @property
    def events(self) -> Sequence[str]: ...


class _DeadLetter(Protocol):
    @property
    def reason(self) -> str: ...


class _Checkpoint(Protocol):
    @property
    def fleet(self) -> str: ...
    @property
    def alerts(self) -> Sequence[_Change]: ...
    @property
    def dead_letters(self) -> Sequence[_DeadLetter]: ...


class Metrics:
    """The catalogue, in a registry of its own; what the loop says becomes figures here."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter, which nobody asks for
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        # --- readings
        self.readings = Counter(
            "sensord_readings_total", "Readings by what became of them.", ["fleet", "outcome"], registry=registry
        )
        self.dead_letters = Counter(
            "sensord_dead_letters_total", "Dead letters committed.", ["fleet", "reason"], registry=registry
        )
        self.batch_readings = Histogram(
            "sensord_batch_readings",
            "Readings of one partition in one poll.",
            ["fleet"],
            buckets=SIZES,
            registry=registry,
        )
        self.score_seconds = Histogram(
            "sensord_score_seconds", "Scoring one batch of a partition.", ["fleet"], buckets=SECONDS, registry=registry
        )
        # --- alerts
        self.alerts = Counter(
            "sensord_alerts_total",
            "What happened to alerts, as committed.",
            ["fleet", "kind", "event"],
            registry=registry,
        )
        # --- the log
        self.partitions = Gauge("sensord_partitions", "Partitions adopted.", ["fleet"], registry=registry)
        self.rebalances = Counter("sensord_rebalances_total", "Changes of the assignment.", registry=registry)
        # --- the database
        self.commit_seconds = Histogram(
            "sensord_commit_seconds", "Committing all partitions.", buckets=SECONDS, registry=registry
        )
        self.snapshot_seconds = Histogram(
            "sensord_snapshot_seconds",
            "Writing the state of a partition, beside the stream.",
            buckets=SECONDS,
            registry=registry,
        )
        self.fenced_partitions = Counter(
            "sensord_fenced_partitions_total", "Partitions that another process had claimed.", registry=registry
        )
        self.store_errors = Counter(
            "sensord_store_errors_total", "Times the database failed in mid-work.", registry=registry
        )
        self.conflicts = Counter(
            "sensord_alert_conflicts_total", "New alerts that were there already: a bug.", registry=registry
        )
        # --- fleets
        self.devices = Gauge("sensord_devices", "Devices with state in this process.", ["fleet"], registry=registry)
        self.evicted_devices = Counter(
            "sensord_evicted_devices_total", "Devices forgotten to make room.", ["fleet"], registry=registry
        )
        self.bundle = Gauge("sensord_bundle_info", "The bundle that scores.", ["fleet", "bundle_id"], registry=registry)
        self.refused_bundles = Counter(
            "sensord_refused_bundles_total", "Bundles that did not load or fit.", ["fleet"], registry=registry
        )
        self.rolled_back_bundles = Counter(
            "sensord_rolled_back_bundles_total",
            "Bundles that did harm after their promotion, and were rolled back.",
            ["fleet"],
            registry=registry,
        )
        Gauge("sensord_build_info", "This version.", ["version"], registry=registry).labels(__version__).set(1)
        self._fleets: dict[str, _FleetMetrics] = {}
        self._bundles: dict[str, str] = {}

    # --- what the loop says ------------------------------------------------------------------------------------------

    def progressed(self, fleet: str, progressed: _Progressed) -> None:
        """A batch of one partition was observed."""
        mine = self._fleet(fleet)
        counts = np.bincount(progressed.observation.outcome, minlength=len(OUTCOMES)).tolist()
        for outcome, count in zip(mine.outcomes, counts, strict=True):
            outcome.inc(count)
        mine.replayed.inc(progressed.replayed)
        mine.batch_readings.observe(sum(counts) + progressed.replayed)

    def committed(self, checkpoints: Sequence[_Checkpoint], conflicts: int) -> None:
        """Checkpoints are in the database; conflicts counts new alerts that were there already."""
        self.conflicts.inc(conflicts)
        for checkpoint in checkpoints:
            for change in checkpoint.alerts:
                for event in change.events if change.alert.run == LIVE else ():
                    self.alerts.labels(checkpoint.fleet, str(change.alert.kind), event).inc()
            for letter in checkpoint.dead_letters:
                self.dead_letters.labels(checkpoint.fleet, letter.reason).inc()

    def rebalanced(self) -> None:
        """The assignment has changed."""
        self.rebalances.inc()

    def fenced(self, partitions: int) -> None:
        """Partitions were lost to another process."""
        self.fenced_partitions.inc(partitions)

    def store_failed(self) -> None:
        """The database failed in mid-work."""
        self.store_errors.inc()

    def evicted(self, fleet: str, devices: int) -> None:
        """Devices were forgotten to make room for others."""
        self.evicted_devices.labels(fleet).inc(devices)

    def refused(self, fleet: str) -> None:
        """A bundle did not load or did not fit; the old one stays."""
        self.refused_bundles.labels(fleet).inc()

    def rolled_back(self, fleet: str) -> None:
        """A bundle did harm, and the one before it is current again."""
        self.rolled_back_bundles.labels(fleet).inc()

    def holds(self, partitions: Mapping[str, int], devices: Mapping[str, int]) -> None:
        """What this process holds now, by fleet; a fleet that is named no more holds nothing."""
        for fleet in {*self._fleets, *partitions}:
            mine = self._fleet(fleet)
            mine.partitions.set(partitions.get(fleet, 0))
            mine.devices.set(devices.get(fleet, 0))

    def scores_with(self, fleet: str, bundle_id: str) -> None:
        """A fleet is scored with this bundle from now on."""
        before = self._bundles.get(fleet)
        if before is not None and before != bundle_id:
            self.bundle.remove(fleet, before)
        self._bundles[fleet] = bundle_id
        self.bundle.labels(fleet, bundle_id).set(1)

    def exposition(self) -> bytes:
        """All figures, in CONTENT_TYPE. May be called from any thread."""
        return generate_latest(self.registry)

    def _fleet(self, fleet: str) -> "_FleetMetrics":
        if fleet not in self._fleets:
            self._fleets[fleet] = _FleetMetrics(
                tuple(self.readings.labels(fleet, outcome) for outcome in OUTCOMES),
                self.readings.labels(fleet, REPLAYED),
                self.batch_readings.labels(fleet),
                self.partitions.labels(fleet),
                self.devices.labels(fleet),
            )
        return self._fleets[fleet]


@dataclass(frozen=True, slots=True)
class _FleetMetrics:
    """One fleet's children, kept: looking one up costs three times what counting does."""

    outcomes: tuple[Counter, ...]
    replayed: Counter
    batch_readings: Histogram
    partitions: Gauge
    devices: Gauge
