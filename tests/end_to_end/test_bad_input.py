"""One daemon among bad messages, several fleets, a second daemon and a new bundle: it says so, and goes on.

All tests look at what one run left behind; see `aftermath`.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from kafka import KafkaProducer
from sqlalchemy import select

from sensord.errors import EXIT_NEEDS_A_PERSON, EXIT_OK
from sensord.model.bundle import Packed
from sensord.settings import KafkaSettings
from sensord.store.registry import Registry
from sensord.store.schema import dead_letters, devices, partition_progress
from sensord.stream.cluster import Cluster
from sensord.stream.dead_letters import KEY_LIMIT, PAYLOAD_LIMIT, VALUE_LIMIT
from tests.builders import START, packed
from tests.end_to_end.plant import Plant, wait_for

DRAIN_S = 15.0
PUMPS, FANS = ("heat", "noise"), ("speed", "load", "tilt")
FAULT = range(20, 30)  # seconds in which a device that fails reads 9 in its first channel; else all read 0


def reading(device: str | None, second: int, channels: tuple[str, ...] = PUMPS, fails: bool = False) -> bytes:
    values = dict.fromkeys(channels, 0.0)
    values[channels[0]] = 9.0 if fails and second in FAULT else 0.0
    timestamp = datetime.fromtimestamp(START / 1e6 + second, UTC).isoformat()
    named = {} if device is None else {"device_id": device}
    return json.dumps(named | {"timestamp": timestamp, "values": values}).encode()


GOOD = reading("pump-1", 0)


def spoilt(old: str, new: str) -> bytes:
    value = GOOD.decode().replace(old, new, 1)
    assert value.encode() != GOOD
    return value.encode()


@dataclass(frozen=True)
class Bad:
    """A message, and the dead letter that it has to become; payload: where it isn't the whole message."""

    reason: str
    value: bytes | None
    key: bytes | None = None
    payload: bytes | None = None
    position: int = 0


BAD = [
    Bad("malformed", b"no JSON"),
    Bad("malformed", b"\x00\xff\x00 nor text"),
    Bad("malformed", GOOD[:-10]),
    Bad("malformed", b"[" * 10_000, payload=b"[" * PAYLOAD_LIMIT),
    Bad("malformed", spoilt('{"heat": 0.0, "noise": 0.0}', "[0, 0]")),
    Bad("oversized", b"x" * (VALUE_LIMIT + 1), payload=b"x" * PAYLOAD_LIMIT),
    Bad("not_finite", spoilt('"heat": 0.0', '"heat": NaN')),
    Bad("not_finite", spoilt('"heat": 0.0', '"heat": -Infinity')),
    Bad("not_finite", spoilt('"heat": 0.0', '"heat": 1e999')),
    Bad("unknown_channel", reading("pump-1", 0, FANS)),
    Bad("unknown_channel", b"[" + GOOD + b"," + reading("p", 0, FANS) + b"]", None, reading("p", 0, FANS), position=1),
    Bad("no_values", spoilt('{"heat": 0.0, "noise": 0.0}', "{}")),
    Bad("future", spoilt("2023-", "2024-")),
    Bad("bad_time", spoilt('"2023-11-14T22:13:20+00:00"', "1700000000")),
    Bad("tombstone", None, key=b"pump-1", payload=b""),
    Bad("key_too_long", GOOD, key=b"k" * (KEY_LIMIT + 1)),
    Bad("bad_device_id", reading(None, 0)),
    Bad("bad_device_id", spoilt("pump-1", "pump\\u0000")),
]


@dataclass(frozen=True)
class Aftermath:
    """What a run left. sent: bad messages by offset. models: ids. refused: what a second daemon said."""

    plant: Plant
    fans: Plant
    more_fans: Plant
    sent: dict[int, Bad]
    models: dict[str, str]
    refused: str
    drained_s: float
    exit_code: int
    log: str


@pytest.fixture(scope="module")
def aftermath(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    folder = tmp_path_factory.mktemp("bad-input")
    url = f"sqlite:///{folder / 'sensord.db'}"
    topics = [f"bad-input.{name}.{uuid4().hex[:8]}" for name in ("pumps", "fans", "more-fans")]
    fans_settings = f'[fleets.fans]\ntopics = ["{topics[1]}", "{topics[2]}"]\nchannels = {json.dumps(FANS)}'
    plant = Plant(folder / "plant", kafka, url, topics[0], "pumps", fans_settings)
    others = [Plant(folder / topic, kafka, url, topic) for topic in topics[1:]]  # for a look at their progress
    plant.sensord("db", "upgrade")
    models = {
        "old": publish(plant, packed(PUMPS, "pumps")),
        "fans": publish(plant, packed(FANS, "fans")),
    }
    with Cluster(KafkaSettings(bootstrap_servers=kafka), 10) as cluster:
        for topic in topics:
            cluster.create(topic, 1, retention_ms=-1)  # the readings' times lie in the past
        try:
            yield run(plant, others, models)
        finally:
            for topic in topics:
                cluster.delete(topic)
    for one in (plant, *others):
        one.close()


def publish(plant: Plant, model: Packed) -> str:
    registry, at = Registry(plant.engine), START
    fleet = json.loads(model.manifest)["fleet"]
    registry.publish(fleet, model.bundle_id, model.manifest, model.weights, model.sha256, at, "ann")
    return registry.promote(fleet, model.bundle_id, at, "ann")


def run(plant: Plant, others: list[Plant], models: dict[str, str]) -> Aftermath:
    fans, more_fans = others
    producer = KafkaProducer(bootstrap_servers=plant.kafka, acks="all")

    def send(topic: str, value: bytes | None, second: int = 0, key: bytes | None = None) -> int:
        stamp = START // 1_000 + second * 1_000
        return int(producer.send(topic, value, key, timestamp_ms=stamp).get(10).offset)

    sent = {}
    for second in range(40):
        send(plant.topic, reading("pump-1", second + 1), second + 1)
        send(plant.topic, reading("pump-2", second, fails=True), second)
        send(fans.topic, reading("fan-1", second, FANS, fails=True), second)
        send(more_fans.topic, reading(None, second, FANS, fails=True), second, key=b"fan-2")
        if second < len(BAD):
            bad = BAD[second]
            sent[send(plant.topic, bad.value, key=bad.key)] = bad

    with plant.daemon() as daemon:
        for one in (plant, fans, more_fans):
            one.wait_until_committed([daemon])
        refused = plant.sensord("run", code=EXIT_NEEDS_A_PERSON)
        models["new"] = publish(plant, packed(PUMPS, "pumps", seed=7))
        wait_for(lambda: '"event": "swapping"' in daemon.log, [daemon], "the swap")
        for second in range(40):
            send(plant.topic, reading("pump-3", second, fails=True), second)
        plant.wait_until_committed([daemon])
        begun = time.monotonic()
        code = daemon.stop()
        drained_s = time.monotonic() - begun
    producer.close()
    return Aftermath(plant, fans, more_fans, sent, models, refused, drained_s, code, daemon.log)


def test_every_bad_message_is_one_dead_letter_with_reason_and_payload(aftermath: Aftermath) -> None:
    d = dead_letters.c
    with aftermath.plant.engine.connect() as connection:
        rows = connection.execute(select(d.fleet, d.topic, d.record_offset, d.position, d.reason, d.payload, d.key))
        found = sorted(tuple(row) for row in rows)
    assert found == [
        (
            "pumps",
            aftermath.plant.topic,
            offset,
            bad.position,
            bad.reason,
            bad.payload if bad.payload is not None else bad.value,
            bad.key and bad.key[:KEY_LIMIT],
        )
        for offset, bad in sorted(aftermath.sent.items())
    ]


def test_the_daemon_goes_on_to_the_end_and_drains_in_time(aftermath: Aftermath) -> None:
    for plant in (aftermath.plant, aftermath.fans, aftermath.more_fans):
        assert plant.committed() == plant.ends()
    assert aftermath.exit_code == EXIT_OK
    assert aftermath.drained_s < DRAIN_S
    assert '"level": "error"' not in aftermath.log


def test_readings_beside_bad_ones_count(aftermath: Aftermath) -> None:
    d = devices.c
    with aftermath.plant.engine.connect() as connection:
        rows = connection.execute(select(d.device_id, d.first_seen, d.last_seen).where(d.fleet == "pumps"))
        seen = {device: (second_of(first), second_of(last)) for device, first, last in rows}
    assert seen == {"pump-1": (1, 40), "pump-2": (0, 39), "pump-3": (0, 39)}


def second_of(at: datetime) -> int:
    return round(at.timestamp() - START / 1e6)


def test_fleets_of_other_channels_live_in_one_process_and_alerts_say_whose_they_are(aftermath: Aftermath) -> None:
    keys = ("fleet", "device_id", "topic")
    found = {tuple(alert[key] for key in keys): alert for alert in aftermath.plant.alerts()}
    pumps, fans, more_fans = aftermath.plant.topic, aftermath.fans.topic, aftermath.more_fans.topic
    assert found.keys() == {
        ("pumps", "pump-2", pumps),
        ("pumps", "pump-3", pumps),
        ("fans", "fan-1", fans),
        ("fans", "fan-2", more_fans),  # whose id is the record's key
    }
    top = {key[1]: channels_of(alert)[0] for key, alert in found.items()}
    assert top == {"pump-2": "heat", "pump-3": "heat", "fan-1": "speed", "fan-2": "speed"}
    p = partition_progress.c
    with aftermath.plant.engine.connect() as connection:
        owners = connection.execute(select(p.topic, p.fleet)).all()
    assert {tuple(row) for row in owners} == {(pumps, "pumps"), (fans, "fans"), (more_fans, "fans")}


def channels_of(alert: dict[str, object]) -> list[str]:
    shares = alert["top_channels"]
    assert isinstance(shares, list)
    return [share["channel"] for share in shares]


def test_a_second_daemon_on_one_sqlite_file_is_refused_while_the_first_goes_on(aftermath: Aftermath) -> None:
    assert "another daemon" in aftermath.refused
    assert "PostgreSQL" in aftermath.refused
    assert aftermath.log.count('"event": "running"') == 1


def test_a_bundle_promoted_meanwhile_judges_what_comes_then(aftermath: Aftermath) -> None:
    judged = {alert["device_id"]: alert["model_id"] for alert in aftermath.plant.alerts()}
    models = aftermath.models
    assert judged == {
        "pump-2": models["old"],
        "pump-3": models["new"],
        "fan-1": models["fans"],
        "fan-2": models["fans"],
    }
    swaps = [json.loads(line) for line in aftermath.log.splitlines() if '"swapping"' in line]
    assert [(swap["old"], swap["new"]) for swap in swaps] == [(models["old"], models["new"])]
