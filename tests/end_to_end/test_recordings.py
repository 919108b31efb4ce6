"""Real recordings through Apache Kafka into PostgreSQL, by the daemon as a process: the issue's main proof."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from sqlalchemy.engine import make_url

from sensord.stream.files import FileOptions, TimeUnit, read_tables
from sensord.stream.tables import Table
from tests.end_to_end.plant import Plant, wait_for

SKAB_COLUMNS = ("--ignore", "anomaly,changepoint")
LABEL = "anomaly"

MakePlant = Callable[..., Plant]


@pytest.fixture
def make_plant(tmp_path: Path, kafka: str, postgres_server: str) -> Iterator[MakePlant]:
    """Plants with a PostgreSQL database each; on the same topic where told so."""
    plants: list[Plant] = []
    server = make_url(postgres_server)
    admin = psycopg.connect(server.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True)

    def make(fleet: str, topic: str | None = None, extra: str = "") -> Plant:
        name = f"test_{uuid4().hex[:12]}"
        admin.execute(f"CREATE DATABASE {name}")
        url = server.set(drivername="postgresql+psycopg", database=name).render_as_string(hide_password=False)
        plant = Plant(tmp_path / name, kafka, url, topic or f"recorded.{uuid4().hex[:8]}", fleet, extra)
        plants.append(plant)
        plant.sensord("db", "upgrade")
        return plant

    yield make
    for plant in plants:
        plant.close()
        admin.execute(f"DROP DATABASE {make_url(plant.store_url).database} WITH (FORCE)")
    admin.close()


@pytest.fixture
def skab_files(shared_data: Path) -> list[Path]:
    return sorted(shared_data.glob("skab/valve*/*.csv"))


def published(plant: Plant, files: list[Path]) -> None:
    plant.sensord("replay", *files, *SKAB_COLUMNS, "--topic", plant.topic, "--partitions", "4", "--by-key")


def trained(plant: Plant, files: list[Path]) -> None:
    plant.sensord("train", *files, *SKAB_COLUMNS, "--history-rows", "400", "--fleet", plant.fleet, "--promote")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_skab_through_kafka_into_postgresql(make_plant: MakePlant, skab_files: list[Path]) -> None:
    """Alerts against labels; then two daemons, and one that is killed, leave the very same table."""
    plant = make_plant("skab")
    trained(plant, skab_files)
    published(plant, skab_files)
    with plant.daemon() as daemon:
        plant.wait_until_committed([daemon])
        assert daemon.stop() == 0
    found = compared(plant, list(read_tables(skab_files)))
    assert found["devices"] == 20
    assert found["faults_found"] >= 16
    assert found["false_alerts"] <= 4
    assert plant.dead_letters() == []

    shared = make_plant("skab", plant.topic)
    moved(plant, shared)
    with shared.daemon() as first, shared.daemon() as second:
        shared.wait_until_committed([first, second])
        assert {first.stop(), second.stop()} == {0}
        assert '"event": "adopted"' in first.log
        assert '"event": "adopted"' in second.log
    assert shared.alerts() == plant.alerts()

    killed = make_plant("skab", plant.topic)
    hurried = {"session_timeout_s = 6": "session_timeout_s = 6\nmax_poll_records = 20"}  # all would be read at once
    hurried |= {"start_timeout_s = 20": "start_timeout_s = 20\ncommit_interval_s = 0.05"}
    for plain, slow in hurried.items():
        killed.settings.write_text(killed.settings.read_text().replace(plain, slow))
    moved(plant, killed)
    total = sum(killed.ends().values())
    with killed.daemon() as daemon:
        wait_for(lambda: sum(killed.committed().values()) > 0, [daemon], "a first commit")
        daemon.kill()
    assert sum(killed.committed().values()) < total, "the daemon was faster than the kill"
    with killed.daemon() as heir:
        killed.wait_until_committed([heir])
        assert heir.stop() == 0
    assert killed.alerts() == plant.alerts()


def moved(source: Plant, target: Plant) -> None:
    """Take the current bundle from one database to another, as people do between sites."""
    folder = target.folder / "bundle"
    source.sensord("model", "export", "--fleet", source.fleet, source.fleet, folder)
    target.sensord("model", "import", folder, "--promote")


def compared(plant: Plant, tables: list[Table]) -> dict[str, int]:
    """Alerts beside the labelled faults: how many faults have an alert, and how many alerts no fault."""
    alerts = [
        alert for alert in plant.alerts() if alert["kind"] != "silent"
    ]  # recordings end, of one day after another
    with_fault = with_alert = false = 0
    for table in tables:
        faulty = table.at[table.values[:, table.channels.index(LABEL)] > 0]
        mine = [alert for alert in alerts if alert["device_id"] == table.device_id]
        spans = [(at(alert["opened_at"]), at(alert["closed_at"] or alert["last_seen_at"])) for alert in mine]
        hits = [bool(((faulty >= start) & (faulty <= end)).any()) for start, end in spans]
        with_fault += bool(len(faulty))
        with_alert += any(hits)
        false += hits.count(False)
    return {"devices": with_fault, "faults_found": with_alert, "false_alerts": false, "alerts": len(alerts)}


def at(value: object) -> int:
    assert isinstance(value, datetime)
    return round(value.astimezone(UTC).timestamp() * 1e6)


TURBOFAN_COLUMNS = ["unit", "cycle", *(f"setting{n}" for n in (1, 2, 3)), *(f"s{n}" for n in range(1, 22))]
MOVING = ",".join(f"s{n}" for n in (2, 3, 4, 7, 8, 9, 11, 12, 13, 14, 15, 17, 20, 21))  # the rest is constant
TURBOFANS = (
    *("--column-names", ",".join(TURBOFAN_COLUMNS), "--device-column", "unit"),
    *("--time-column", "cycle", "--time-unit", "cycles", "--channels", MOVING),
)


@pytest.mark.slow
def test_turbofans_run_to_failure_alert_before_they_fail(make_plant: MakePlant, shared_data: Path) -> None:
    file = shared_data / "cmapss" / "train_FD001.txt"
    plant = make_plant("engines", extra="alarm_budget = 20  # a cycle is taken for a second\nmax_future_s = 1e9")
    plant.sensord("train", file, *TURBOFANS, "--history-rows", "64", "--fleet", "engines", "--promote")
    plant.sensord("replay", file, *TURBOFANS, "--topic", plant.topic, "--partitions", "4", "--by-key")
    with plant.daemon() as daemon:
        plant.wait_until_committed([daemon])
        assert daemon.stop() == 0
    life = {table.device_id: table.at for table in read_tables([file], _turbofan_options())}
    opened = {device: [at(a["opened_at"]) for a in plant.alerts() if a["device_id"] == device] for device in life}
    lead = [int(life[d][-1] - min(o)) // 1_000_000 for d, o in opened.items() if o]
    early = sum(any(o < life[d][len(life[d]) // 2] for o in opens) for d, opens in opened.items())
    assert len(life) == 100
    assert len(lead) >= 80, f"only {len(lead)} of 100 engines alerted before they failed"
    assert np.median(lead) >= 20
    assert early <= 25


def _turbofan_options() -> FileOptions:
    return FileOptions(
        device_column="unit",
        time_column="cycle",
        time_unit=TimeUnit.CYCLES,
        channels=tuple(MOVING.split(",")),
        column_names=tuple(TURBOFAN_COLUMNS),
    )
