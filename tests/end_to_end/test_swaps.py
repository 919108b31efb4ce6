"""Bundles are promoted, tried out and rolled back under load: the table is that of the same moves with nothing in the
way."""

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec
import numpy as np
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from sqlalchemy import select

from sensord.cli.watch import _fleet_rules
from sensord.detection.alerts import Run
from sensord.model.bundle import unpack
from sensord.readings import Partition, Record
from sensord.settings import FleetSettings, KafkaSettings
from sensord.store.registry import Registry
from sensord.store.schema import alert_events, partition_progress
from sensord.stream.cluster import Cluster
from tests.builders import START, packed
from tests.end_to_end.plant import DaemonProcess, Plant, wait_for
from tests.properties.journal import Amendment, Commit
from tests.properties.oracle import Expected, Terms, expect

PARTITIONS = 4
DEVICES = 400
FAULTY = 40  # the first ones, of which each fails now and then
SWAPS = 10
PAUSE_S = 0.1  # between the readings of all devices: an hour in six minutes
OLD, NEW, TRIED = packed(), packed(seed=7), packed(seed=11, threshold=2.9)

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture
def plant(tmp_path: Path, kafka: str, postgres_url: str) -> Iterator[Plant]:
    topic = f"readings-{uuid4().hex[:8]}"
    made = Plant(tmp_path, kafka, postgres_url, topic, extra="[model]\nprobation_s = 0")  # moves are the test's alone
    with Cluster(KafkaSettings(bootstrap_servers=kafka)) as cluster:
        cluster.create(made.topic, partitions=PARTITIONS)
    made.sensord("db", "upgrade")
    for model in (OLD, NEW, TRIED):
        Registry(made.engine).publish(
            "pumps", model.bundle_id, model.manifest, model.weights, model.sha256, START, "ann"
        )
    Registry(made.engine).promote("pumps", OLD.bundle_id, START, "ann")
    yield made
    made.close()


@contextmanager
def load(plant: Plant) -> Iterator[None]:
    """Thousands of readings a second, until it is left."""
    enough = threading.Event()

    def send() -> None:
        producer = KafkaProducer(bootstrap_servers=plant.kafka, linger_ms=20, batch_size=128 << 10)
        rng, second = np.random.default_rng(3), 0
        while not enough.wait(PAUSE_S):
            at = datetime.fromtimestamp(START / 1e6 + second, UTC).isoformat()
            values = rng.normal(0, 0.3, (DEVICES, 2))
            fails = np.array([device < FAULTY and (second + 7 * device) % 60 < 9 for device in range(DEVICES)])
            values[fails, 0] += 9.0
            for device in range(DEVICES):
                heat, noise = values[device].tolist()
                message = {"device_id": f"pump-{device}", "timestamp": at, "values": {"heat": heat, "noise": noise}}
                producer.send(plant.topic, msgspec.json.encode(message), partition=device % PARTITIONS)
            second += 1
        producer.close()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        enough.set()
        sender.join()


def moves(daemon: DaemonProcess) -> list[dict[str, object]]:
    """What the daemon says of swaps and shadows."""
    lines = [json.loads(line) for line in daemon.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] in ("swapping", "shadow")]


def move(plant: Plant, daemon: DaemonProcess, number: int) -> None:
    """The next move, until all partitions have made it."""
    registry, before = Registry(plant.engine), len(moves(daemon))
    if number % 2 == 0:
        registry.promote("pumps", NEW.bundle_id, START + number, "ann")
    else:
        registry.rollback("pumps", START + number, "ann")
    if number == 3:
        registry.shadow("pumps", TRIED.bundle_id, START, "ann")
    if number == 7:
        registry.retire("pumps", TRIED.bundle_id, START, "ann")
    expected = before + PARTITIONS * (2 if number in (3, 7) else 1)
    wait_for(lambda: len(moves(daemon)) >= expected, [daemon], f"move {number}")


def test_ten_swaps_under_load_write_what_they_would_write_on_an_idle_system(plant: Plant) -> None:
    with plant.daemon() as daemon:
        with load(plant):
            wait_for(lambda: len(plant.committed()) == PARTITIONS, [daemon], "the first commits")
            for number in range(SWAPS):
                move(plant, daemon, number)
        plant.wait_until_committed([daemon])
        assert daemon.stop() == 0
        made = moves(daemon)
    assert len([one for one in made if one["event"] == "swapping"]) == SWAPS * PARTITIONS
    expected = idle(plant, made)
    rows = plant.alerts()
    assert len(rows) > 100
    assert {row["run"] for row in rows} == {Run.LIVE.value, Run.SHADOW.value}
    assert told(rows) == told(expected.alerts.values())
    happened = [{"alert_id": each["alert_id"], "event": each["event"]} for each in expected.alert_events]
    assert events(plant) == told(happened)
    faulty = {f"pump-{device}" for device in range(FAULTY)}
    assert {row["device_id"] for row in rows if row["run"] == Run.LIVE.value} <= faulty, "no swap raises an alert"


def told(rows: Iterable[dict[str, object]]) -> list[str]:
    """Rows, whatever their order."""
    return sorted(repr(sorted((name, str(value)) for name, value in row.items())) for row in rows)


def events(plant: Plant) -> list[str]:
    """What happened to which alert; as what and when is told by its state at the commit that writes it."""
    columns = [alert_events.c.alert_id, alert_events.c.event]
    with plant.engine.connect() as connection:
        return told([dict(row._mapping) for row in connection.execute(select(*columns))])


# --- the idle system -------------------------------------------------------------------------------------------------


def idle(plant: Plant, made: Sequence[dict[str, object]]) -> Expected:
    """One plain loop over the topic that moves to other bundles where the daemon did."""
    p = partition_progress.c
    with plant.engine.connect() as connection:
        topic_ids = dict(connection.execute(select(p.partition, p.topic_id)).all())
    models = {model.bundle_id: unpack(model) for model in (OLD, NEW, TRIED)}
    commits = []
    for number in range(PARTITIONS):
        partition, records = Partition(plant.topic, number), read(plant, number)
        amendments = amended([one for one in made if one["partition"] == str(partition)])
        start = Commit(partition, 1, None, 0, topic_ids[number], [], [], OLD.bundle_id, None)
        rest = Commit(partition, 1, 0, records[-1].offset + 1, topic_ids[number], records, amendments, None, None)
        commits += [start, rest]
    limits = _fleet_rules("pumps", FleetSettings(topics=(plant.topic,))).limits
    return expect(commits, models.__getitem__, Terms(limits, most_devices=DEVICES, lateness=0))


def amended(made: Sequence[dict[str, object]]) -> list[Amendment]:
    """One partition's moves, each with what was scored with from then on."""
    found, current, shadow = list[Amendment](), OLD.bundle_id, None
    for one in made:
        if one["event"] == "swapping":
            current = str(one["new"])
        else:
            shadow = None if one["new"] is None else str(one["new"])
        found.append(Amendment(int(str(one["offset"])), frozenset(), frozenset(), current, shadow))
    return found


def read(plant: Plant, number: int) -> list[Record]:
    """All of a partition."""
    consumer = KafkaConsumer(bootstrap_servers=plant.kafka, enable_auto_commit=False)
    try:
        partition, end = TopicPartition(plant.topic, number), plant.ends()[number]
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        found = list[Record]()
        while not found or found[-1].offset < end - 1:
            for records in consumer.poll(1_000).values():
                found += [Record(one.offset, one.timestamp, one.key, one.value) for one in records]
        return found
    finally:
        consumer.close()
