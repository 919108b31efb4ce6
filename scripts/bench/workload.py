"""What the contenders read: a topic of synthetic readings, and a bundle that knows their devices. Used by `throughput`.

All devices report once a second, in the same order. One in a hundred fails in the second half of its time, so that
alerts are raised too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import numpy as np
import torch
from kafka import KafkaProducer

from sensord.clock import MICROSECONDS
from sensord.model.bundle import FORMAT_VERSION, Channel, HistoryRange, Manifest, Packed, Profiles, Tuning, pack
from sensord.model.network import Network, NetworkShape
from sensord.settings import KafkaSettings
from sensord.stream.cluster import client_config

FLEET = "bench"
START_S = 1_700_000_000
FAILS_EVERY = 100
FAULT = 12.0  # standard deviations
TUNING = Tuning(warm_up=8)
THRESHOLD = 2.0  # healthy devices stay below it, failing ones pass it in a few readings
PENDING = 20_000  # records handed to the producer before its acknowledgements are awaited

Report = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Workload:
    """How much there is to read; readings is a multiple of devices."""

    devices: int
    readings: int
    channels: int
    hidden: int
    partitions: int

    @property
    def device_ids(self) -> tuple[str, ...]:
        return tuple(f"device-{number:06}" for number in range(self.devices))

    @property
    def channel_names(self) -> tuple[str, ...]:
        return tuple(f"channel_{number}" for number in range(self.channels))

    def messages(self) -> Iterator[tuple[int, int, bytes]]:
        """(partition, milliseconds, JSON) of every reading, by time."""
        rng = np.random.default_rng(0)
        seconds = self.readings // self.devices
        failing = np.arange(self.devices) % FAILS_EVERY == 0
        for second in range(seconds):
            at = START_S + second
            stamp = datetime.fromtimestamp(at, UTC).isoformat()
            values = rng.normal(0, 1, (self.devices, self.channels))
            values[failing, 0] += FAULT if second >= seconds // 2 else 0
            for number, (device, row) in enumerate(zip(self.device_ids, values.round(3).tolist(), strict=True)):
                reading = {
                    "device_id": device,
                    "timestamp": stamp,
                    "values": dict(zip(self.channel_names, row, strict=True)),
                }
                yield number % self.partitions, at * 1_000, msgspec.json.encode(reading)


def bundle(load: Workload) -> Packed:
    """An untrained network of the workload's shape with a profile of every device: as dear as a trained one."""
    torch.manual_seed(0)
    rows, width = load.devices + 1, load.channels
    profiles = Profiles(
        load.device_ids,
        np.zeros((rows, width), np.float32),
        np.ones((rows, width), np.float32),
        np.zeros((rows, width, load.hidden + width + 1), np.float32),
        np.broadcast_to(np.eye(width, dtype=np.float32), (rows, width, width)),
        np.full(rows, THRESHOLD, np.float32),
        np.full(rows, THRESHOLD / 4, np.float32),
    )
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        bundle_id="",
        fleet=FLEET,
        channels=tuple(Channel(name) for name in load.channel_names),
        hidden=load.hidden,
        cell="lstm",
        period_s=1.0,
        tuning=TUNING,
        history=HistoryRange(load.devices, load.readings, 0, START_S * MICROSECONDS),
        metrics={},
        weights_sha256="",
    )
    return pack(manifest, Network(NetworkShape(width, load.hidden)), profiles)


def fill(settings: KafkaSettings, topic: str, load: Workload, report: Report) -> int:
    """Publish the workload to an existing topic; returns the mean bytes of a message."""
    own = {"acks": "all", "compression_type": "lz4", "linger_ms": 20, "batch_size": 128 << 10, "metrics_enabled": False}
    producer = KafkaProducer(**client_config(settings) | own)
    size = 0
    try:
        for number, (partition, stamp, value) in enumerate(load.messages(), start=1):
            producer.send(topic, value, partition=partition, timestamp_ms=stamp)
            size += len(value)
            if number % PENDING == 0:
                producer.flush()
                report(number)
        producer.flush()
    finally:
        producer.close()
    report(load.readings)
    return size // load.readings
