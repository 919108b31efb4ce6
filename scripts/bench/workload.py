"""What is read: a topic of synthetic readings, and a bundle that knows their devices. Used by all benchmarks.

All devices report once a second, in the same order. One in a hundred fails in the second half of its time, so that
alerts are raised too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple, Self

import msgspec
import numpy as np
import torch
from kafka import KafkaProducer

from sensord.clock import MICROSECONDS
from sensord.detection.channels.contract import Past
from sensord.detection.channels.spike import BLOCK, BLOCKS, Spike
from sensord.model.bundle import Packed, Profiles, pack
from sensord.model.manifest import FORMAT_VERSION, Channel, HistoryRange, Manifest, Tuning
from sensord.model.network import Network, NetworkShape
from sensord.readings import Floats
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


class Message(NamedTuple):
    """A record to come. at_ms: event time. value: JSON."""

    partition: int
    at_ms: int
    device: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Workload:
    """How much there is to read.

    skew: share of all readings that the first device sends. per_record: readings of one device that share a record, as
    an array where they are several. healthy: no device fails. `whole` gives one whose figures are met exactly.
    """

    devices: int
    readings: int
    channels: int
    hidden: int
    partitions: int
    skew: float = 0.0
    per_record: int = 1
    healthy: bool = False

    @property
    def first_devices_rate(self) -> int:
        """Readings a second of the first device; the others send one."""
        return 1 + round(self.skew / (1 - self.skew) * self.devices)

    @property
    def seconds(self) -> int:
        return self.readings // (self.devices - 1 + self.first_devices_rate)

    @property
    def records(self) -> int:
        return self.readings // self.per_record

    def whole(self) -> Self:
        """As many readings, or a few less: whole seconds, whole records."""
        seconds = max(self.seconds // self.per_record, 1) * self.per_record
        return replace(self, readings=seconds * (self.devices - 1 + self.first_devices_rate))

    @property
    def device_ids(self) -> tuple[str, ...]:
        return tuple(f"device-{number:06}" for number in range(self.devices))

    @property
    def channel_names(self) -> tuple[str, ...]:
        return tuple(f"channel_{number}" for number in range(self.channels))

    def messages(self) -> Iterator[Message]:
        """Every record, by time."""
        rng = np.random.default_rng(0)
        for first in range(0, self.seconds, self.per_record):
            for number, device in enumerate(self.device_ids):
                rate = self.first_devices_rate if number == 0 else 1
                at_us = (
                    START_S * MICROSECONDS
                    + first * MICROSECONDS
                    + np.arange(self.per_record * rate) * (MICROSECONDS // rate)
                )
                values = rng.normal(0, 1, (len(at_us), self.channels))
                if number % FAILS_EVERY == 0 and not self.healthy:
                    values[at_us >= (START_S + self.seconds // 2) * MICROSECONDS, 0] += FAULT
                readings = [
                    {
                        "device_id": device,
                        "timestamp": instant(at / MICROSECONDS),
                        "values": dict(zip(self.channel_names, row, strict=True)),
                    }
                    for at, row in zip(at_us.tolist(), values.round(3).tolist(), strict=True)
                ]
                for begin in range(0, len(readings), self.per_record):
                    part = readings[begin : begin + self.per_record]
                    stamp_ms = int(at_us[begin + len(part) - 1]) // 1_000
                    value = part[0] if self.per_record == 1 else part
                    yield Message(number % self.partitions, stamp_ms, device, msgspec.json.encode(value))


def instant(at_s: float) -> str:
    """A time as readings carry it."""
    return datetime.fromtimestamp(at_s, UTC).isoformat()


def bundle(load: Workload, spikes: bool = False) -> Packed:
    """An untrained network of the workload's shape with a profile of every device: as dear as a trained one.

    spikes: with the event channel that opens an alert at a single reading.
    """
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
        {Spike.name: np.broadcast_to(_spike_constants(width), (rows, 1 + 2 * width))} if spikes else {},
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


def _spike_constants(channels: int) -> Floats:
    """The limit, then what the event channel learns from readings as healthy devices send them: (1 + 2 channels,)."""
    calm = np.random.default_rng(0).normal(0, 1, (BLOCK * BLOCKS, channels)).astype(np.float32)
    spike = Spike()  # nothing is expected by this network's head, so an error is the reading itself
    return np.append(np.float32(spike.least_limit), spike.learn([Past(np.arange(len(calm)), calm, calm)]))


def producer(settings: KafkaSettings, linger_ms: int = 20) -> KafkaProducer:
    """One that sends as a fleet's gateway would: acknowledged by all replicas, compressed."""
    own = {"acks": "all", "compression_type": "lz4", "batch_size": 128 << 10, "metrics_enabled": False}
    return KafkaProducer(**client_config(settings) | own | {"linger_ms": linger_ms})


def fill(settings: KafkaSettings, topic: str, load: Workload, report: Report, keyed: bool = False) -> int:
    """Publish the workload to an existing topic; returns the mean bytes of a message. keyed: by device."""
    sender = producer(settings)
    size = 0
    try:
        for number, (partition, at_ms, device, value) in enumerate(load.messages(), start=1):
            key = device.encode() if keyed else None
            sender.send(topic, value, key, partition=partition, timestamp_ms=at_ms)
            size += len(value)
            if number % PENDING == 0:
                sender.flush()
                report(number)
        sender.flush()
    finally:
        sender.close()
    report(load.records)
    return size // load.records
