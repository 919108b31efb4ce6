"""Recorded devices through the daemon's own scoring code. Used by `evaluate`, `job`, `backtest` and `sensord score`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sensord.detection.alerts import Alert
from sensord.detection.chronicle import Origin
from sensord.detection.fleet import Fleet, Limits, Observation
from sensord.model.bundle import Bundle
from sensord.readings import Floats, Integers, Partition, Readings

NOWHERE = Partition("recording", 0)
LEAD_IN = 1_000  # readings for a fresh state to settle in
ROWS_AT_ONCE = 256  # of each device
ROWS_IN_ALL = 1 << 16  # so many devices may there be that theirs are fewer


@dataclass(frozen=True, slots=True)
class Recorded:
    """One device's readings: at (n,) microseconds UTC; values (n, channels) in the bundle's order, NaN where absent."""

    device_id: str
    at: Integers
    values: Floats


@dataclass(frozen=True, slots=True)
class Replayed:
    """An observation for every device, and all alerts as they stood in the end, by opening."""

    observations: list[Observation]
    alerts: list[Alert]


def replay(
    bundle: Bundle,
    devices: Sequence[Recorded],
    max_gap_s: float,
    progress: Callable[[int, int], None] = lambda done, of: None,
    run: str = "replay",
) -> Replayed:
    """Score every reading of every device, all devices side by side. progress: (readings done, of)."""
    parts: list[list[Observation]] = [[] for _ in devices]
    alerts = watch(bundle, devices, max_gap_s, progress, run, lambda device, seen: parts[device].append(seen))
    channels = len(bundle.channels)
    joined = [Observation.join(part) if part else Observation.blank(0, channels) for part in parts]
    return Replayed(joined, alerts)


def watch(
    bundle: Bundle,
    devices: Sequence[Recorded],
    max_gap_s: float,
    progress: Callable[[int, int], None] = lambda done, of: None,
    run: str = "replay",
    keep: Callable[[int, Observation], None] = lambda device, seen: None,
) -> list[Alert]:
    """The alerts of `replay`, and nothing else held. keep: told what the next readings of a device gave, by its place.

    Recordings of different days go side by side, so that no device is silent here.
    """
    fleet = Fleet(bundle, Origin(bundle.manifest.fleet, NOWHERE, "", run), Limits(max_gap_s))
    longest = max((len(device.at) for device in devices), default=0)
    total, done = sum(len(device.at) for device in devices), 0
    alerts: dict[object, Alert] = {}
    step = max(1, min(ROWS_AT_ONCE, ROWS_IN_ALL // max(len(devices), 1)))
    for start in range(0, longest, step):
        block = [(i, device) for i, device in enumerate(devices) if len(device.at) > start]
        readings, bounds = _block([device for _, device in block], slice(start, start + step), done)
        observation = fleet.observe(readings)
        for (i, _), first, last in zip(block, bounds[:-1], bounds[1:], strict=True):
            keep(i, observation.rows(first, last))
        take_alerts(fleet, alerts)
        done += len(readings)
        progress(done, total)
    return sorted(alerts.values(), key=lambda alert: (alert.opened_at, alert.device_id))


def take_alerts(fleet: Fleet, alerts: dict[object, Alert]) -> None:
    """Add to alerts by id, as they stand now, what a commit would have to write."""
    for change in fleet.changes():
        earlier = alerts.get(change.alert.id, change.alert)
        alerts[change.alert.id] = change.alert.keeping(earlier)
    fleet.settle()


def _block(devices: Sequence[Recorded], rows: slice, offset: int) -> tuple[Readings, list[int]]:
    """The next rows of each device as one batch, and where each device's rows begin and end in it."""
    lengths = [len(device.at[rows]) for device in devices]
    names = [device.device_id for device, length in zip(devices, lengths, strict=True) for _ in range(length)]
    at = np.concatenate([device.at[rows] for device in devices])
    values = np.concatenate([device.values[rows] for device in devices]).astype(np.float32)
    offsets = offset + np.arange(len(at))
    return Readings(NOWHERE, names, at, values, offsets), [0, *np.cumsum(lengths).tolist()]
