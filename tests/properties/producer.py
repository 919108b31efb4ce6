"""Devices that write to the log: healthy, failing, late, doubled, silent for a while, and unreadable."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from sensord.readings import Partition
from sensord.stream.memory import MemoryLog
from tests.builders import START
from tests.properties.process import TOPIC

DEVICES = 6
FAULT = 9.0
ODDLY = ("late", "too late", "again", "together", "gap", "silence", "null", "absent")
POISON = (
    b"poison",
    b'{"device_id": "pump-1", "timestamp": "2023-11-14T22:13:21Z", "values": {"heat": NaN, "noise": 1}}',
    b'{"device_id": "pump-1", "timestamp": "2023-11-14T22:13:21Z", "values": {"heat": 1e999}}',
    b'{"device_id": "pump-1", "timestamp": "2023-11-14T22:13:21Z", "values": {"flow": 1}}',
    b'{"device_id": "pump-1", "timestamp": "2033-11-14T22:13:21Z", "values": {"heat": 1}}',
    b'{"device_id": "pump-1", "timestamp": "2023-11-14T22:13:21Z", "values": {"heat": null}}',
    b'[{"device_id": "pump-1"}, {"timestamp": 3}, "\\u0000"]',
    b"[]",
    b"\xff\xfe",
    b"[" * 5_000,
    b" " * 70_000,
    None,
)


@dataclass
class Producer:
    """Everything that is written follows from the calls alone.

    may_write: whether a partition takes records now. second: event time since the start of the world.
    """

    log: MemoryLog
    may_write: Callable[[Partition], bool]
    second: int = 0
    _last: dict[int, bytes] = field(default_factory=dict)
    _noise: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def write(self, devices: Iterable[int], seconds: int, failing: Iterable[int]) -> None:
        """A reading a second of each of these devices; those that fail are far off."""
        chosen, off = sorted(devices), set(failing)
        for _ in range(seconds):
            self.second += 1
            for device in chosen:
                self._send(device, _message(device, self.second, *self._values(FAULT if device in off else 0.0)))

    def write_oddly(self, device: int, how: str) -> None:
        """In a way that isn't wrong, or before which the device was silent for a while."""
        match how:
            case "late" | "too late":
                self._append(device, _message(device, self.second - (1 if how == "late" else 30), FAULT, 0.0))
            case "again":
                self._append(device, self._last.get(device, b"again"))
            case "together":
                self._append(device, self._together(device))
            case "null" | "absent":
                self.second += 1
                self._send(device, _partial(device, self.second, self._values(0.0)[0], told=how == "null"))
            case _:
                self.second += 20 if how == "gap" else 70
                self.write([device], 1, [])

    def _together(self, device: int) -> bytes:
        """Three readings in one record, one of them unreadable."""
        self.second += 2
        good = [_message(device, self.second + back, *self._values(0.0)).decode() for back in (-1, 0)]
        return f'[{good[0]}, {{"values": 1}}, {good[1]}]'.encode()

    def write_poison(self, device: int, kind: int) -> None:
        self._append(device, POISON[kind])

    def partition(self, device: int) -> Partition:
        return Partition(TOPIC, device % len(self.log.partitions(TOPIC)))

    def _values(self, level: float) -> tuple[float, float]:
        return float(self._noise.normal(level, 0.3)), float(self._noise.normal(0, 0.3))

    def _send(self, device: int, value: bytes) -> None:
        self._last[device] = value
        self._append(device, value)

    def _append(self, device: int, value: bytes | None) -> None:
        timestamp_ms = START // 1_000 + self.second * 1_000
        if self.may_write(self.partition(device)):
            self.log.append(self.partition(device), value, timestamp_ms=timestamp_ms)


def _message(device: int, second: int, heat: float, noise: float) -> bytes:
    return _written(device, second, {"heat": heat, "noise": noise})


def _partial(device: int, second: int, heat: float, told: bool) -> bytes:
    """One channel has no value. told: it is null, not left out."""
    return _written(device, second, {"heat": heat, "noise": None} if told else {"heat": heat})


def _written(device: int, second: int, values: Mapping[str, float | None]) -> bytes:
    at = datetime.fromtimestamp(START / 1e6 + second, UTC).isoformat()
    return json.dumps({"device_id": f"pump-{device}", "timestamp": at, "values": values}).encode()
