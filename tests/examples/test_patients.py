"""Not only pumps: patients of a ward, whose monitors have messages of their own."""

from pathlib import Path

import pytest
from kafka import KafkaProducer

from tests.conftest import MakeTopic
from tests.end_to_end.plant import Plant, wait_for
from tests.examples.patients import (
    BETTER_AT,
    HISTORY,
    ILL,
    PERIOD,
    START,
    UNITS,
    WORSE_AT,
    messages,
    vitals,
    write_history,
)

pytestmark = [pytest.mark.slow, pytest.mark.kafka]
SETTINGS = """\
decoder = "mapped"
alarm_budget = 0.2
max_gap_s = 60
[fleets.ward.mapping]
device = "bed"
time = "observed_at"
values = "vitals"
"""


@pytest.mark.timeout(300)
def test_the_patient_who_gets_worse_is_told_and_no_other(kafka: str, topic: MakeTopic, tmp_path: Path) -> None:
    signs, name = vitals(), topic(2)
    plant = Plant(tmp_path, kafka, f"sqlite:///{tmp_path / 'ward.db'}", name, fleet="ward", extra=SETTINGS)
    write_history(tmp_path / "history.csv", signs)
    plant.sensord("db", "upgrade")
    plant.sensord("train", tmp_path / "history.csv", "--fleet", "ward", "--promote")
    producer = KafkaProducer(bootstrap_servers=kafka)
    for bed, value in messages(signs):
        producer.send(name, key=bed.encode(), value=value)
    producer.flush()
    producer.close()
    with plant.daemon() as daemon:
        wait_for(lambda: plant.committed() == plant.ends(), [daemon], "all of it")
        assert daemon.stop() == 0
    found = [row for row in plant.alerts() if row["run"] == "live"]
    plant.close()
    assert plant.dead_letters() == []
    assert {row["device_id"] for row in found} == {ILL}
    first = min(found, key=lambda row: str(row["opened_at"]))
    opened = first["opened_at"]
    assert START + (HISTORY + WORSE_AT) * PERIOD <= opened <= START + (HISTORY + BETTER_AT) * PERIOD  # type: ignore[operator]
    because = {share["channel"] for share in first["top_channels"][:3]}  # type: ignore[index]
    assert because & {"spo2", "resp_rate", "heart_rate"}
    assert because <= UNITS.keys()
