"""Promises of `sensord doctor` and `sensord status`: what is wrong is found, with the command that mends it."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from sensord.clock import SystemClock
from sensord.readings import Partition
from sensord.store import Engine
from sensord.store.database import open_engine, upgrade
from sensord.store.devices import DeviceSeen
from sensord.store.progress import Progress, Snapshot
from sensord.store.registry import Registry
from tests.builders import START, packed
from tests.cli.rows import Sensord
from tests.conftest import MakeTopic
from tests.store.rows import SECOND, alert, checkpoint, opened
from tests.test_readme import parse

DAY = 86_400 * SECOND
Row = dict[str, Any]


class Site:
    """A fleet whose Kafka and database are as they should be; and what doctor and status say of it."""

    def __init__(self, sensord: Sensord, engine: Engine, topic: str, kafka: str) -> None:
        self.sensord, self.engine, self.topic, self.kafka = sensord, engine, topic, kafka

    def doctor(self, code: int, environ: Mapping[str, str] | None = None) -> list[Row]:
        """What isn't well."""
        ended = self.sensord("doctor", "--format", "json", "--timeout-s", "2", environ=environ)
        assert ended.code == code, ended
        found: list[Row] = json.loads(ended.out)
        for row in found:
            for command in re.findall(r"sensord [a-z][^;,]*", row["remedy"]):
                parse(command, whole=False)
        return [row for row in found if row["verdict"] != "ok"]

    def one(self, code: int, verdict: str, environ: Mapping[str, str] | None = None) -> Row:
        [found] = self.doctor(code, environ)
        assert found["verdict"] == verdict
        return found

    def status(self) -> Row:
        ended = self.sensord("status", "--format", "json", "--timeout-s", "2")
        assert ended.code == 0
        told: Row = json.loads(ended.out)
        return told

    def claim(self, next_offset: int, topic_id: str = "", bundle_id: str = "pumps-1") -> None:
        """Somebody has read up to there."""
        progress, at = Progress(self.engine), SystemClock().now()
        claim = progress.claim("pumps", Partition(self.topic, 0), "host/7/", topic_id, at)
        mark = checkpoint(claim, next_offset, snapshot=Snapshot(bundle_id, {}))
        progress.commit([mark], at)

    def set_topic(self, **settings: str) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.kafka)
        named = {name.replace("_", "."): value for name, value in settings.items()}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, self.topic, named)])
        admin.close()

    def say(self, timestamp_ms: int | None = None) -> None:
        """One record in partition 0."""
        producer = KafkaProducer(bootstrap_servers=self.kafka)
        producer.send(self.topic, b"{}", partition=0, timestamp_ms=timestamp_ms).get(10)
        producer.close()


@pytest.fixture
def site(
    sensord: Sensord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kafka: str, topic: MakeTopic
) -> Iterator[Site]:
    name, url = topic(2), f"sqlite:///{tmp_path / 'sensord.db'}"
    (tmp_path / "sensord.toml").write_text(f"fleets.pumps.topics = ['{name}']\nstore.url = '{url}'\n")
    monkeypatch.setenv("SENSORD_KAFKA__BOOTSTRAP_SERVERS", kafka)
    monkeypatch.setenv("SENSORD_TRAINER__MAX_AGE_DAYS", "3650")  # the tests' bundles were learnt from old history
    engine = open_engine(url)
    upgrade(engine)
    bundle, registry = packed(), Registry(engine)
    registry.publish("pumps", bundle.bundle_id, bundle.manifest, bundle.weights, bundle.sha256, START, "ann")
    registry.promote("pumps", bundle.bundle_id, START, "ann")
    yield Site(sensord, engine, name, kafka)
    engine.dispose()


def test_nothing_is_wrong_where_all_is_well(site: Site) -> None:
    assert site.doctor(0) == []


def test_a_table_is_for_people(site: Site) -> None:
    said = site.sensord("doctor").out
    assert re.search(r"^ok +Kafka +topic test\.\w+ +partitions: 2, copies: 1", said, re.MULTILINE)


# --- what stops a daemon ---------------------------------------------------------------------------------------------


def test_settings_without_a_fleet(site: Site, tmp_path: Path) -> None:
    (tmp_path / "sensord.toml").write_text(f"store.url = 'sqlite:///{tmp_path / 'sensord.db'}'\n")
    lacking, unused = site.doctor(78)
    assert (lacking["verdict"], lacking["subject"]) == ("failure", "settings")
    assert "[fleets.NAME]" in lacking["remedy"]
    assert (unused["verdict"], unused["subject"]) == ("warning", "pumps")


def test_a_schema_that_is_behind(site: Site, tmp_path: Path) -> None:
    row = site.one(78, "failure", {"SENSORD_STORE__URL": f"sqlite:///{tmp_path / 'new.db'}"})
    assert "sensord db upgrade" in row["found"]


def test_a_fleet_without_a_bundle(site: Site, tmp_path: Path, topic: MakeTopic) -> None:
    with (tmp_path / "sensord.toml").open("a") as settings:
        settings.write(f"fleets.fans.topics = ['{topic()}']\n")
    row = site.one(78, "failure")
    assert (row["subject"], row["remedy"]) == ("fans", "sensord train --fleet fans --promote FILE...")


def test_a_bundle_that_does_not_fit(site: Site) -> None:
    row = site.one(78, "failure", {"SENSORD_FLEETS__PUMPS__CHANNELS": '["pressure"]'})
    assert "demand pressure" in row["found"]
    assert "sensord model rollback" in row["remedy"]


@pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning")
def test_a_broker_that_is_away(site: Site) -> None:
    row = site.one(69, "failure", {"SENSORD_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert "127.0.0.1:1" in row["found"]
    assert "kafka.bootstrap_servers" in row["remedy"]


def test_a_database_that_is_away_and_its_password_stays_secret(site: Site) -> None:
    row = site.one(69, "failure", {"SENSORD_STORE__URL": "postgresql://me:hunter2@127.0.0.1:1/sensord"})
    assert row["subject"] == "postgresql://me@127.0.0.1:1/sensord"
    assert "hunter2" not in str(row)


def test_a_topic_that_is_missing(site: Site, tmp_path: Path) -> None:
    settings = tmp_path / "sensord.toml"
    settings.write_text(settings.read_text().replace(site.topic, "not.there"))
    row = site.one(69, "failure")
    assert (row["subject"], row["remedy"]) == (
        "topic not.there",
        "kafka-topics.sh --create --topic not.there --partitions 4",
    )


def test_a_topic_that_is_compacted(site: Site) -> None:
    site.set_topic(cleanup_policy="compact")
    assert "cleanup.policy=delete" in site.one(78, "failure")["remedy"]


@pytest.mark.parametrize(
    ("next_offset", "topic_id", "found"),
    [(9, "", "9 is next, the log has 0 to 0"), (0, "another", "made anew")],
    ids=["offset", "topic"],
)
def test_readings_that_are_gone(site: Site, next_offset: int, topic_id: str, found: str) -> None:
    site.claim(next_offset, topic_id)
    row = site.one(78, "failure")
    assert found in row["found"]
    assert row["remedy"].endswith("sensord run --accept-gap")


# --- what will be regretted ------------------------------------------------------------------------------------------


def test_a_topic_that_forgets_soon(site: Site) -> None:
    site.set_topic(retention_ms="7200000")
    row = site.one(0, "warning")
    assert "2.0 hours" in row["found"]
    assert "retention.ms=604800000" in row["remedy"]


def test_a_bundle_that_is_old(site: Site) -> None:
    row = site.one(0, "warning", {"SENSORD_TRAINER__MAX_AGE_DAYS": "0.001"})
    assert row["remedy"] == "sensord train --fleet pumps --since 14d --if-needed --promote"


def test_records_from_the_future(site: Site) -> None:
    site.say(SystemClock().now() // 1_000 + 3_600_000)
    row = site.one(0, "warning")
    assert re.search(r"3[56]\d\d s ahead", row["found"])


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_tells_who_reads_what_and_how_far_behind_it_is(site: Site) -> None:
    site.say()
    site.say()
    site.claim(1)
    told = site.status()
    [fleet] = told["fleets"]
    assert (fleet["fleet"], fleet["bundle_id"], fleet["budget"]) == ("pumps", packed().bundle_id, 0.05)
    first, second = told["partitions"]
    assert (first["owner"], first["next_offset"], first["lag"], first["replay"]) == ("host/7", 1, 1, 0)
    assert (second["owner"], second["next_offset"], second["lag"]) == (None, None, 0)
    assert (told["group"]["members"], told["group"]["allowed"]) == (0, True)
    said = site.sensord("status").out
    assert re.search(rf"^{re.escape(site.topic)} +0  host/7 .* 1 +1 +0  pumps-1$", said, re.MULTILINE)
    assert re.search(rf"^{re.escape(site.topic)} +1  nobody yet", said, re.MULTILINE)
    assert said.endswith("group sensord: no member\n")


@pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning")
def test_status_without_kafka_leaves_the_lag_out(site: Site) -> None:
    site.claim(1)
    ended = site.sensord("status", "--timeout-s", ".5", environ={"SENSORD_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert ended.code == 0
    assert "127.0.0.1:1" in ended.err
    assert re.search(r" 1 +- +0  pumps-1$", ended.out, re.MULTILINE)


def test_alerts_are_counted_over_the_time_that_there_were_devices(site: Site) -> None:
    now = SystemClock().now()
    progress = Progress(site.engine)
    claim = progress.claim("pumps", Partition(site.topic, 0), "host/7/", "", now)
    recent, old = alert(opened_at=now - DAY), alert(opened_at=now - 9 * DAY)
    seen = [DeviceSeen(f"pump-{n}", now - 2 * DAY, now) for n in range(2)]
    mark = checkpoint(claim, 1, alerts=[opened(recent), opened(old)], snapshot=Snapshot("pumps-1", {}), devices=seen)
    progress.commit([mark], now)
    [fleet] = site.status()["fleets"]
    assert fleet["rate"] == pytest.approx(1 / (2 * 2), rel=0.01)
    assert (fleet["devices"], fleet["open_alerts"]) == (2, 2)
