"""Every metric, one catalogue a process. Built by `cli`, fed by `daemon` and `notify`, served at /metrics.

Base units, no label whose values devices can multiply. A restart sets counters to zero; what a replay repeats is
counted as replayed alone, and alerts and dead letters when they are committed, so that nothing counts twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
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
from prometheus_client.metrics import MetricWrapperBase

from sensord import __version__
from sensord.clock import MICROSECONDS
from sensord.readings import Partition

CONTENT_TYPE = CONTENT_TYPE_LATEST
OUTCOMES = ("scored", "warm_up", "late", "reset")  # by the number that detection gives each
REPLAYED = "replayed"
LIVE = "live"  # the run that counts

SIZES = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384)
PARTITIONS = (1, 2, 4, 8, 16, 32, 64, 128)
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


class Catalogue:
    """What every process of ours tells of itself, in a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter, which nobody asks for
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.ready = Gauge("sensord_ready", "1 where /readyz says ready, else 0.", registry=self.registry)
        build = Gauge("sensord_build_info", "This version.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)

    def catalogue(self) -> Mapping[str, tuple[str, ...]]:
        """Every metric of our own by its full name, with its labels."""
        return {
            metric._name + ("_total" if metric._type == "counter" else ""): tuple(metric._labelnames)
            for metric in self.registry._collector_to_names
            if isinstance(metric, MetricWrapperBase)
        }

    def exposition(self) -> bytes:
        """All figures, in CONTENT_TYPE. May be called from any thread."""
        return generate_latest(self.registry)


class NotifierMetrics(Catalogue):
    """What `sensord notify` counts; said by its dispatchers."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry
        self.notices = Counter(
            "sensord_notices_total", "Tries to tell a sink, by what became of them.", ["sink", "outcome"],
            registry=registry,
        )  # fmt: skip
        self.waiting = Gauge(
            "sensord_notices_waiting", "Notices that are due and not delivered yet.", ["sink"], registry=registry
        )
        self.wait_seconds = Gauge(
            "sensord_notice_wait_seconds", "How long the oldest of them has waited.", ["sink"], registry=registry
        )
        self.leads = Gauge(
            "sensord_notifier_leads", "1 where this process tells, 0 where it stands by.", registry=registry
        )

    def expects(self, sinks: Iterable[str], outcomes: Sequence[str]) -> None:
        """Show what may happen as 0, so that whoever watches for an increase sees the first one."""
        for sink, outcome in product(sinks, outcomes):
            self.notices.labels(sink, outcome)

    def tried(self, sink: str, outcome: str) -> None:
        """A sink was told, or not."""
        self.notices.labels(sink, outcome).inc()

    def waits(self, sink: str, notices: int, longest_s: float) -> None:
        """What is due and not delivered."""
        self.waiting.labels(sink).set(notices)
        self.wait_seconds.labels(sink).set(longest_s)


class Metrics(Catalogue):
    """What the daemon counts; what the loop says becomes figures here."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry
        # --- readings
        self.readings = Counter(
            "sensord_readings_total", "Readings by what became of them.", ["fleet", "outcome"], registry=registry
        )
        self.dead_letters = Counter(
            "sensord_dead_letters_total", "Dead letters committed.", ["fleet", "reason"], registry=registry
        )
        self.skipped = Counter(
            "sensord_skipped_total", "Messages that held nothing of the fleet's channels.", ["fleet"], registry=registry
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
        self.polls = Counter("sensord_polls_total", "Times that Kafka was asked for records.", registry=registry)
        self.polled_records = Counter("sensord_polled_records_total", "Records that came.", registry=registry)
        self.last_poll = Gauge("sensord_last_poll_timestamp_seconds", "When Kafka was last asked.", registry=registry)
        self.lag_records = Gauge(
            "sensord_lag_records", "Records that wait in a partition.", ["topic", "partition"], registry=registry
        )
        self.lag_seconds = Gauge(
            "sensord_lag_seconds",
            "Age of the latest record that was taken in, by its time stamp; 0 where none waits.",
            ["topic", "partition"],
            registry=registry,
        )
        self.rebalances = Counter("sensord_rebalances_total", "Changes of the assignment.", registry=registry)
        # --- the database
        self.commit_seconds = Histogram(
            "sensord_commit_seconds", "Committing all partitions.", buckets=SECONDS, registry=registry
        )
        self.commit_partitions = Histogram(
            "sensord_commit_partitions", "Partitions in one commit.", buckets=PARTITIONS, registry=registry
        )
        self.last_commit = Gauge(
            "sensord_last_commit_timestamp_seconds", "When something was last committed.", registry=registry
        )
        self.last_snapshot = Gauge(
            "sensord_last_snapshot_timestamp_seconds",
            "When the state of a partition was last written.",
            registry=registry,
        )
        self.snapshot_bytes = Counter(
            "sensord_snapshot_bytes_total", "State written beside the stream.", registry=registry
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
        self.claim_failures = Counter(
            "sensord_claim_failures_total", "Partitions that could not be adopted yet.", registry=registry
        )
        self.conflicts = Counter(
            "sensord_alert_conflicts_total", "New alerts that were there already: a bug.", registry=registry
        )
        # --- fleets
        self.held = {
            name: Gauge(f"sensord_{name}", told, ["fleet"], registry=registry)
            for name, told in (
                ("partitions", "Partitions adopted."),
                ("held_partitions", "Partitions of which nothing more is taken in, since most readings are bad."),
                ("devices", "Devices with state in this process."),
                ("open_alerts", "Devices with an open episode."),
                ("silent_devices", "Devices that are missed."),
                ("drifting_devices", "Devices with an open drift."),
            )
        }
        self.alarm_budget = Gauge(
            "sensord_alarm_budget",
            "False alarms per device and day that are allowed; sensord_alerts_total tells what came.",
            ["fleet"],
            registry=registry,
        )
        self.gaps = Counter("sensord_gaps_total", "Gaps in a log that were accepted.", ["fleet"], registry=registry)
        self.evicted_devices = Counter(
            "sensord_evicted_devices_total", "Devices forgotten to make room.", ["fleet"], registry=registry
        )
        self.bundle = Gauge("sensord_bundle_info", "The bundle that scores.", ["fleet", "bundle_id"], registry=registry)
        self.shadow = Gauge(
            "sensord_shadow_info", "The bundle that is scored beside.", ["fleet", "bundle_id"], registry=registry
        )
        self.history_end = Gauge(
            "sensord_bundle_history_end_timestamp_seconds",
            "The latest reading that the bundle was learnt from.",
            ["fleet"],
            registry=registry,
        )
        self.swaps = Counter(
            "sensord_swaps_total", "Partitions that moved to another bundle.", ["fleet"], registry=registry
        )
        self.refused_bundles = Counter(
            "sensord_refused_bundles_total", "Bundles that did not load or fit.", ["fleet"], registry=registry
        )
        self.rolled_back_bundles = Counter(
            "sensord_rolled_back_bundles_total",
            "Bundles that did harm after their promotion, and were rolled back.",
            ["fleet"],
            registry=registry,
        )
        self._fleets: dict[str, _FleetMetrics] = {}
        self._named: dict[tuple[Gauge, str], str] = {}  # the bundle that each of the info metrics shows, by fleet
        self._lagging = set[tuple[str, str]]()

    def expects(
        self, fleets: Iterable[str], kinds: Sequence[str], events: Sequence[str], reasons: Sequence[str]
    ) -> None:
        """Show what may happen to these fleets as 0, so that whoever watches for an increase sees the first one."""
        for fleet in fleets:
            self._fleet(fleet)
            for kind, event in product(kinds, events):
                self.alerts.labels(fleet, kind, event)
            self.score_seconds.labels(fleet)
            for reason in reasons:
                self.dead_letters.labels(fleet, reason)
            for counter in (
                self.skipped,
                self.gaps,
                self.evicted_devices,
                self.swaps,
                self.refused_bundles,
                self.rolled_back_bundles,
            ):
                counter.labels(fleet)

    # --- what the loop says ------------------------------------------------------------------------------------------

    def progressed(self, fleet: str, progressed: _Progressed) -> None:
        """A batch of one partition was observed."""
        mine = self._fleet(fleet)
        counts = np.bincount(progressed.observation.outcome, minlength=len(OUTCOMES)).tolist()
        for outcome, count in zip(mine.outcomes, counts, strict=True):
            outcome.inc(count)
        mine.replayed.inc(progressed.replayed)
        mine.batch_readings.observe(sum(counts) + progressed.replayed)

    def left_out(self, fleet: str, messages: int) -> None:
        """Messages were decoded that hold nothing of this fleet's channels."""
        if messages:
            self.skipped.labels(fleet).inc(messages)

    def committed(self, checkpoints: Sequence[_Checkpoint], conflicts: int) -> None:
        """Checkpoints are in the database; conflicts counts new alerts that were there already."""
        self.commit_partitions.observe(len(checkpoints))
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

    def claim_failed(self) -> None:
        """A partition could not be adopted yet."""
        self.claim_failures.inc()

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

    def swapped(self, fleet: str) -> None:
        """A partition moved to another bundle."""
        self.swaps.labels(fleet).inc()

    def bridged(self, fleet: str) -> None:
        """A gap in a log was accepted."""
        self.gaps.labels(fleet).inc()

    def polled(self, at: int, records: int) -> None:
        """Kafka was asked. at: wall time, microseconds."""
        self.polls.inc()
        self.polled_records.inc(records)
        self.last_poll.set(at / MICROSECONDS)

    def saved(self, at: int) -> None:
        """Something was committed. at: wall time, microseconds."""
        self.last_commit.set(at / MICROSECONDS)

    def stored(self, at: int, size: int) -> None:
        """A snapshot of so many bytes was written beside the stream. at: wall time, microseconds."""
        self.last_snapshot.set(at / MICROSECONDS)
        self.snapshot_bytes.inc(size)

    def allows(self, fleet: str, budget: float) -> None:
        """False alarms per device and day that a fleet's settings allow."""
        self.alarm_budget.labels(fleet).set(budget)

    def lags(self, found: Mapping[Partition, tuple[int, float]]) -> None:
        """How many records wait in each partition that this process reads, and the age of the latest one it took in,
        seconds; a partition that is named no more is shown no more."""
        shown = {(partition.topic, str(partition.number)): lag for partition, lag in found.items()}
        for gone in self._lagging - shown.keys():
            self.lag_records.remove(*gone)
            self.lag_seconds.remove(*gone)
        for labels, (records, seconds) in shown.items():
            self.lag_records.labels(*labels).set(records)
            self.lag_seconds.labels(*labels).set(seconds)
        self._lagging = set(shown)

    def holds(self, found: Mapping[str, Mapping[str, int]]) -> None:
        """What this process holds now, by fleet and by the names of `held`; a fleet that is named no more holds
        nothing."""
        for fleet in {*self._fleets, *found}:
            for name, gauge in self._fleet(fleet).held.items():
                gauge.set(found.get(fleet, {}).get(name, 0))

    def scores_with(self, fleet: str, bundle_id: str, history_end: int, shadow_id: str | None) -> None:
        """A fleet is scored with this bundle from now on, and beside it with that one. history_end: microseconds."""
        self._show(self.bundle, fleet, bundle_id)
        self._show(self.shadow, fleet, shadow_id)
        self.history_end.labels(fleet).set(history_end / MICROSECONDS)

    def _show(self, info: Gauge, fleet: str, bundle_id: str | None) -> None:
        """One bundle at a time."""
        before = self._named.pop((info, fleet), None)
        if before is not None and before != bundle_id:
            info.remove(fleet, before)
        if bundle_id is not None:
            self._named[info, fleet] = bundle_id
            info.labels(fleet, bundle_id).set(1)

    def _fleet(self, fleet: str) -> "_FleetMetrics":
        if fleet not in self._fleets:
            self._fleets[fleet] = _FleetMetrics(
                tuple(self.readings.labels(fleet, outcome) for outcome in OUTCOMES),
                self.readings.labels(fleet, REPLAYED),
                self.batch_readings.labels(fleet),
                {name: gauge.labels(fleet) for name, gauge in self.held.items()},
            )
        return self._fleets[fleet]


@dataclass(frozen=True, slots=True)
class _FleetMetrics:
    """One fleet's children, kept: looking one up costs three times what counting does."""

    outcomes: tuple[Counter, ...]
    replayed: Counter
    batch_readings: Histogram
    held: Mapping[str, Gauge]
