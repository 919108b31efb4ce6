"""Sends a healthy fleet's readings at a steady rate, and now and then one that opens an alert. Run by `latency`.

A process of its own, so that whoever looks for the alerts isn't held up by it. Prints {"readings": N, "seconds": S,
"faults": [[partition, offset, sent, acknowledged], ...]} as JSON. sent: wall time just before the faulty reading went
to the client's buffer, seconds; acknowledged: when the broker had said that it has it. Faults come at random within
each of their intervals: in step with commits, all would be alike.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import click
import msgspec
import numpy as np
from kafka import KafkaProducer

from scripts.bench.workload import FAULT, START_S, Message, Workload, instant, producer
from sensord.settings import KafkaSettings

LINGER_MS = 5
TICK_S = 0.005  # readings go out in bursts of so much time's worth: no clock is finer on a busy machine
CATCH_UP_S = 1.0
VARIANTS = 8  # rounds of readings that are made before the clock starts, then sent over and over with new times
ACKNOWLEDGED_WITHIN_S = 30


@click.command(help=__doc__)
@click.option("--kafka", required=True)
@click.option("--topic", required=True)
@click.option("--load", required=True, help="A Workload, as JSON; its readings went before.")
@click.option("--rate", type=float, required=True, help="Readings a second.")
@click.option("--seconds", type=float, required=True)
@click.option("--faults-every", type=float, required=True, help="Seconds.")
def main(kafka: str, topic: str, load: str, rate: float, seconds: float, faults_every: float) -> None:
    before = Workload(**json.loads(load))
    stream = readings(before, prepared(before))
    client = producer(KafkaSettings(bootstrap_servers=kafka), LINGER_MS)
    paced = Paced(client, topic, stream, fault_times(seconds, faults_every))
    took = paced.run(rate, seconds)
    client.flush()
    found = [one.told() for one in paced.faults]
    client.close()
    click.echo(json.dumps({"readings": paced.sent, "seconds": took, "faults": found}))


Prepared = list[tuple[Message, bytes, bytes]]  # and what stands before and after the time in its JSON


def prepared(before: Workload) -> list[Prepared]:
    """Rounds of readings but for their times: to make each anew would take longer than to send it."""
    rounds: list[Prepared] = [[] for _ in range(VARIANTS)]
    for number, message in enumerate(replace(before, readings=before.devices * VARIANTS).messages()):
        second = number // before.devices
        head, tail = message.value.split(instant(START_S + second).encode())
        rounds[second].append((message, head, tail))
    return rounds


def readings(before: Workload, rounds: list[Prepared]) -> Iterator[Message]:
    """What the devices send after that, for ever."""
    for second in count(START_S + before.seconds):
        stamp = instant(second).encode()
        for message, head, tail in rounds[second % len(rounds)]:
            yield message._replace(at_ms=second * 1_000, value=head + stamp + tail)


def fault_times(seconds: float, every: float) -> Iterator[float]:
    """One in each whole interval, at random; seconds from the start."""
    rng = np.random.default_rng(0)
    for number in range(int(seconds / every)):
        yield every * (number + rng.uniform())


@dataclass(slots=True)
class Fault:
    """A faulty reading on its way. promise: the client's, of its place."""

    promise: Any
    sent: float
    acknowledged: float = float("nan")

    def note(self, _: object) -> None:
        """The broker has it; called on the client's thread."""
        self.acknowledged = time.time()

    def told(self) -> tuple[int, int, float, float]:
        """Partition and offset that the broker gave it, and the two times."""
        place = self.promise.get(timeout=ACKNOWLEDGED_WITHIN_S)
        return place.partition, place.offset, self.sent, self.acknowledged


@dataclass(slots=True)
class Paced:
    """Sends a stream in time."""

    client: KafkaProducer
    topic: str
    stream: Iterator[Message]
    due: Iterator[float]
    sent: int = 0
    faults: list[Fault] = field(default_factory=list)
    _faulty: set[str] = field(default_factory=set)

    def run(self, rate: float, seconds: float) -> float:
        """Seconds that it took. A delay of up to a second is caught up with; a client that is slower stays behind."""
        burst, next_fault = max(round(rate * TICK_S), 1), next(self.due, seconds)
        begun = time.perf_counter()
        turn = 0.0
        while (now := time.perf_counter() - begun) < seconds:
            if now < turn:
                time.sleep(turn - now)
                continue
            turn = max(turn, now - CATCH_UP_S) + burst / rate
            for _ in range(burst):
                message = next(self.stream)
                if now >= next_fault and message.device not in self._faulty:
                    self._send_faulty(message)
                    next_fault = next(self.due, seconds)
                else:
                    self._send(message)
        return time.perf_counter() - begun

    def _send(self, message: Message) -> Any:
        self.sent += 1
        return self.client.send(self.topic, message.value, partition=message.partition, timestamp_ms=message.at_ms)

    def _send_faulty(self, message: Message) -> None:
        """A device fails once only: its alert may still be open, or its dead time may not be over."""
        self._faulty.add(message.device)
        reading = msgspec.json.decode(message.value)
        first = next(iter(reading["values"]))
        reading["values"][first] = FAULT
        value = msgspec.json.encode(reading)
        at = time.time()
        fault = Fault(self._send(message._replace(value=value)), at)
        fault.promise.add_callback(fault.note)
        self.faults.append(fault)


if __name__ == "__main__":
    main()
