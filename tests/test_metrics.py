"""Promises of the metrics: names by the book, figures as they were said, no label that devices can multiply."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from sensord.detection.fleet import Outcome
from sensord.metrics import OUTCOMES, Metrics
from sensord.readings import Partition


@dataclass(frozen=True)
class Observation:
    outcome: NDArray[np.uint8]


@dataclass(frozen=True)
class Progressed:
    observation: Observation
    replayed: int = 0


@dataclass(frozen=True)
class Alert:
    kind: str
    run: str = "live"


@dataclass(frozen=True)
class Change:
    alert: Alert
    events: tuple[str, ...]


@dataclass(frozen=True)
class Letter:
    reason: str


@dataclass(frozen=True)
class Checkpoint:
    fleet: str
    alerts: tuple[Change, ...] = ()
    dead_letters: tuple[Letter, ...] = field(default=())


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def busy() -> Metrics:
    """Everything happened once."""
    metrics = Metrics()
    metrics.progressed("pumps", Progressed(Observation(np.array([0, 0, 1, 2, 3], np.uint8)), replayed=4))
    change = Change(Alert("anomaly"), ("opened", "escalated"))
    metrics.committed([Checkpoint("pumps", (change,), (Letter("malformed"), Letter("malformed")))], conflicts=1)
    metrics.rebalanced()
    metrics.fenced(2)
    metrics.store_failed()
    metrics.refused("pumps")
    metrics.rolled_back("pumps")
    metrics.swapped("pumps")
    metrics.bridged("pumps")
    metrics.polled(7_000_000, records=5)
    metrics.saved(8_000_000)
    metrics.stored(9_000_000, size=10)
    metrics.allows("pumps", 0.05)
    metrics.lags({Partition("readings", 0): (3, 1.5), Partition("readings", 1): (0, 0.0)})
    metrics.holds({"pumps": {"partitions": 3, "devices": 20, "open_alerts": 2}})
    metrics.scores_with("pumps", "pumps-1", 6_000_000, "pumps-9")
    return metrics


def test_outcomes_are_named_in_the_order_detection_numbers_them() -> None:
    assert tuple(outcome.name.lower() for outcome in sorted(Outcome)) == OUTCOMES


def test_what_the_loop_says_is_what_is_counted() -> None:
    metrics = busy()
    readings = {name: value(metrics, "sensord_readings_total", fleet="pumps", outcome=name) for name in OUTCOMES}
    assert readings == {"scored": 2, "warm_up": 1, "late": 1, "reset": 1}
    assert value(metrics, "sensord_readings_total", fleet="pumps", outcome="replayed") == 4
    assert value(metrics, "sensord_batch_readings_sum", fleet="pumps") == 9
    assert value(metrics, "sensord_alerts_total", fleet="pumps", kind="anomaly", event="escalated") == 1
    assert value(metrics, "sensord_dead_letters_total", fleet="pumps", reason="malformed") == 2
    assert value(metrics, "sensord_alert_conflicts_total") == 1
    assert value(metrics, "sensord_fenced_partitions_total") == 2
    assert value(metrics, "sensord_polled_records_total") == 5
    assert value(metrics, "sensord_snapshot_bytes_total") == 10
    assert value(metrics, "sensord_alarm_budget", fleet="pumps") == 0.05
    times = {"poll": 7, "commit": 8, "snapshot": 9}
    assert {name: value(metrics, f"sensord_last_{name}_timestamp_seconds") for name in times} == times
    held = {"partitions": 3, "devices": 20, "open_alerts": 2, "silent_devices": 0}
    assert {name: value(metrics, f"sensord_{name}", fleet="pumps") for name in held} == held


def test_a_fleet_that_holds_nothing_any_more_shows_nothing() -> None:
    metrics = busy()
    metrics.holds({})
    for name in ("sensord_partitions", "sensord_devices"):
        assert value(metrics, name, fleet="pumps") == 0


def test_a_fleet_is_shown_with_one_bundle_at_a_time() -> None:
    metrics = busy()
    metrics.scores_with("pumps", "pumps-2", 6_000_000, None)
    assert value(metrics, "sensord_bundle_info", fleet="pumps", bundle_id="pumps-1") is None
    assert value(metrics, "sensord_bundle_info", fleet="pumps", bundle_id="pumps-2") == 1
    assert value(metrics, "sensord_shadow_info", fleet="pumps", bundle_id="pumps-9") is None


def test_a_partition_that_is_read_elsewhere_by_now_has_no_lag_here() -> None:
    metrics = busy()
    assert value(metrics, "sensord_lag_records", topic="readings", partition="0") == 3
    assert value(metrics, "sensord_lag_seconds", topic="readings", partition="0") == 1.5
    metrics.lags({Partition("readings", 1): (0, 0.0)})
    assert value(metrics, "sensord_lag_records", topic="readings", partition="0") is None
    assert value(metrics, "sensord_lag_seconds", topic="readings", partition="1") == 0


def test_two_catalogues_share_nothing() -> None:
    busy()
    assert value(Metrics(), "sensord_store_errors_total") == 0


def test_every_name_and_label_goes_by_the_book() -> None:
    families = list(text_string_to_metric_families(busy().exposition().decode()))
    ours = [family for family in families if not family.name.startswith(("process_", "python_"))]
    assert len(ours) >= 30
    for family in ours:
        assert family.name.startswith("sensord_")
        assert not family.name.endswith(("_ms", "_milliseconds", "_created"))
        assert family.documentation
        labels = {name for sample in family.samples for name in sample.labels}
        assert labels <= {
            "fleet",
            "outcome",
            "reason",
            "kind",
            "event",
            "bundle_id",
            "version",
            "le",
            "topic",
            "partition",
        }


def test_counters_end_in_total() -> None:
    samples = [
        sample.name
        for family in text_string_to_metric_families(busy().exposition().decode())
        if family.type == "counter" and family.name.startswith("sensord_")
        for sample in family.samples
    ]
    assert samples
    assert [name for name in samples if not name.endswith("_total")] == []
