"""What the daemons read: seeded readings with faults, and everything that a producer can do wrong. Used by `stage`."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from kafka import KafkaProducer

from tests.builders import START

START_S = START // 1_000_000
FAULT = 9.0  # standard deviations
FAULT_S = 12
ACKNOWLEDGED_S = 150  # a broker may be frozen meanwhile
POISON: tuple[tuple[bytes | None, str], ...] = (
    (b"poison", "malformed"),
    (b'{"device_id": "device-1", "values"', "malformed"),
    (b"\xff\xfe\x00\x80", "malformed"),
    (b'{"device_id": 7, "timestamp": 1700000000000, "values": {"heat": 1}}', "bad_device_id"),
    (b'{"device_id": "device-1", "timestamp": 1700000000000, "values": {"smell": 1}}', "unknown_channel"),
    (b'{"device_id": "device-1", "timestamp": 17, "values": {"heat": 1}}', "bad_time"),
    (b'{"device_id": "device-1", "timestamp": 1700000000000, "values": {}}', "no_values"),
    (None, "tombstone"),
)


@dataclass(frozen=True, slots=True)
class Message:
    """One record to write. reason: of the dead letter that it must become; None for a reading."""

    partition: int
    value: bytes | None
    reason: str | None = None

    @property
    def key(self) -> bytes | None:
        """A tombstone has to have one; what a key says besides is of no interest here."""
        return b"tombstone" if self.value is None else None


@dataclass(frozen=True, slots=True)
class Injected:
    """Where a message that must become a dead letter was written."""

    partition: int
    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class Workload:
    """How much is written; the same workload is the same messages, byte for byte."""

    seed: int = 0
    readings: int = 60_000
    devices: int = 200
    partitions: int = 4
    faults: int = 300
    poison: int = 40
    not_finite: int = 20
    late: int = 100
    duplicates: int = 100

    def scaled(self, readings: int, devices: int) -> "Workload":
        """Fewer readings and devices, and fewer faults in proportion; what is injected stays."""
        return Workload(self.seed, readings, devices, self.partitions, self.faults * readings // self.readings)

    def messages(self) -> list[Message]:
        """All messages in the order in which they are written."""
        rng = np.random.default_rng(self.seed)
        readings = list(self._readings(rng))
        extra: dict[int, list[Message]] = {}

        def inject(at: int, message: Message) -> None:
            extra.setdefault(at, []).append(message)

        places = rng.integers(self.devices, len(readings), self.poison + self.not_finite + self.late + self.duplicates)
        kinds = np.repeat(np.arange(4), [self.poison, self.not_finite, self.late, self.duplicates])
        for place, kind in zip(places.tolist(), kinds.tolist(), strict=True):
            partition, device, second = readings[place][0], int(readings[place][1]), int(readings[place][2])
            if kind == 0:
                value, reason = POISON[place % len(POISON)]
                inject(place, Message(partition, value, reason))
            elif kind == 1:
                inject(place, Message(partition, reading(device, second, float("nan"), 0.0), "not_finite"))
            elif kind == 2:  # says that it is older than the device's last, and what it says would alarm
                inject(place, Message(partition, reading(device, max(second - 3, 0), FAULT, FAULT)))
            else:
                inject(place, Message(partition, readings[place][3]))
        return [
            message
            for place, (partition, _, _, value) in enumerate(readings)
            for message in (Message(partition, value), *extra.get(place, ()))
        ]

    def _readings(self, rng: np.random.Generator) -> Iterator[tuple[int, int, int, bytes]]:
        """(partition, device, second, value) of every reading, by time."""
        seconds = self.readings // self.devices
        noise = rng.normal(0, 0.3, (seconds, self.devices, 2))
        starts = rng.integers(5, max(seconds - FAULT_S, 6), self.faults)
        for start, device in zip(starts.tolist(), rng.integers(0, self.devices, self.faults).tolist(), strict=True):
            noise[start : start + FAULT_S, device, 0] += FAULT
        for second in range(seconds):
            for device in range(self.devices):
                heat, sound = noise[second, device].tolist()
                yield device % self.partitions, device, second, reading(device, second, heat, sound)


def reading(device: int, second: int, heat: float, noise: float) -> bytes:
    """What a device says at a second after the beginning."""
    at = datetime.fromtimestamp(START_S + second, UTC).isoformat()
    values = {"heat": round(heat, 4), "noise": round(noise, 4)}
    return json.dumps({"device_id": f"device-{device}", "timestamp": at, "values": values}).encode()


def crowd(first: int, count: int, second: int) -> bytes:
    """One record in which as many devices speak, each once."""
    return b"[" + b",".join(reading(device, second, 0.1, -0.1) for device in range(first, first + count)) + b"]"


@dataclass(slots=True)
class Written:
    """What a topic holds. ends: by partition, the offset after its last record."""

    ends: dict[int, int] = field(default_factory=dict)
    injected: list[Injected] = field(default_factory=list)

    def note(self, message: Message, offset: int) -> None:
        """The broker has put a message at an offset."""
        self.ends[message.partition] = max(self.ends.get(message.partition, 0), offset + 1)
        if message.reason is not None:
            self.injected.append(Injected(message.partition, offset, message.reason))


def write(kafka: str, topic: str, messages: Iterable[Message], written: Written) -> None:
    """Write messages in order and note where they are."""
    with writer(kafka) as producer:
        write_with(producer, topic, messages, written)


@contextmanager
def writer(kafka: str) -> Iterator[KafkaProducer]:
    """A producer; one that is open already outlives a broker's absence, a new one doesn't."""
    producer = KafkaProducer(bootstrap_servers=kafka, enable_idempotence=True, linger_ms=20, batch_size=16 << 10)
    try:
        yield producer
    finally:
        producer.close()


def write_with(producer: KafkaProducer, topic: str, messages: Iterable[Message], written: Written) -> None:
    """As `write`."""
    sent = [(each, producer.send(topic, each.value, each.key, partition=each.partition)) for each in messages]
    producer.flush()
    for message, future in sent:
        written.note(message, future.get(timeout=ACKNOWLEDGED_S).offset)
