"""Promises of a backtest: what the daemon would have raised, whoever else was recorded and however many cores score."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sensord.detection.alerts import Alert, Kind, Reason, Status
from sensord.errors import RecordingUnreadable
from sensord.readings import Floats, Integers, Readings, Record
from sensord.stream.decoders.json import JsonDecoder
from sensord.stream.tables import Table
from sensord.trainer.backtest import Terms, score
from sensord.trainer.tapes import Span, Tape, from_records, from_tables
from tests.builders import PUMPS, START, bundle, fleet

SECOND = 1_000_000
ROWS, BUMP = 400, slice(200, 230)
CHANNELS = ("heat", "noise")
MODEL, OTHER = bundle(seed=1), bundle(seed=2, threshold=6.0)


def table(name: str, seed: int, bump: slice = BUMP, rows: int = ROWS, channels: tuple[str, ...] = CHANNELS) -> Table:
    """Noise with a bump in it, a reading a second."""
    values = np.random.default_rng(seed).normal(0, 0.3, (rows, len(channels))).astype(np.float32)
    values[bump] += 9
    at = START + seed * 7 + np.arange(rows) * SECOND
    return Table(name, channels, at, values, np.arange(rows), Path(f"{name}.csv"))


TABLES = [table(f"pump-{number:02}", number) for number in range(12)]


def rows(alerts: Sequence[Alert]) -> list[tuple[object, ...]]:
    return [(alert.id, alert.device_id, alert.opened_at, alert.closed_at, alert.first_offset) for alert in alerts]


@pytest.fixture(scope="module")
def alerts() -> list[Alert]:
    found = score(MODEL, from_tables(TABLES), workers=1).alerts
    assert len(found) >= 12
    return found


@pytest.mark.parametrize("workers", [2, 4])
def test_the_number_of_workers_makes_no_difference(alerts: list[Alert], workers: int) -> None:
    assert score(MODEL, from_tables(TABLES), workers=workers).alerts == alerts


def test_neither_other_devices_nor_their_order_make_a_difference(alerts: list[Alert]) -> None:
    assert score(MODEL, from_tables(TABLES[::-1])).alerts == alerts
    alone = [alert for one in TABLES for alert in score(MODEL, from_tables([one])).alerts]
    assert sorted(map(repr, alone)) == sorted(map(repr, alerts))


def test_two_bundles_give_their_alerts_different_ids_in_one_run(alerts: list[Alert]) -> None:
    others = score(OTHER, from_tables(TABLES)).alerts
    assert {alert.run for alert in [*alerts, *others]} == {"replay"}
    assert {alert.model_id for alert in others} == {OTHER.id}
    assert not {alert.id for alert in alerts} & {alert.id for alert in others}


def test_it_raises_what_the_daemon_raises(alerts: list[Alert]) -> None:
    """One partition with all devices, reading by reading in the order of time, as a daemon would have had it."""
    at = np.concatenate([one.at for one in TABLES])
    order = np.argsort(at, kind="stable")
    names = np.repeat([one.device_id for one in TABLES], ROWS)[order].tolist()
    values = np.concatenate([one.values for one in TABLES])[order]
    live = fleet(MODEL)
    live.observe(Readings(PUMPS, names, at[order], values, np.arange(len(at))))
    changes = [change.alert for change in live.changes()]

    def told(some: Sequence[Alert]) -> list[tuple[object, ...]]:
        return sorted(
            (a.device_id, a.opened_at, a.kind, a.severity, a.score_peak, a.readings, a.evidence) for a in some
        )

    assert told(changes) == told(alerts)


def test_an_alert_names_its_readings_by_their_place_among_its_device_s(alerts: list[Alert]) -> None:
    first = next(alert for alert in alerts if alert.device_id == "pump-03")
    assert (first.topic, first.partition) == ("recording", 0)
    assert (first.opened_at - int(TABLES[3].at[0])) // SECOND == first.first_offset


def test_several_files_of_a_device_are_one_recording(alerts: list[Alert]) -> None:
    def part(one: Table, cut: slice, name: str) -> Table:
        return replace(one, at=one.at[cut], values=one.values[cut], lines=one.lines[cut], path=Path(name))

    halves = [part(TABLES[0], slice(210, None), "b.csv"), part(TABLES[0], slice(None, 210), "a.csv")]
    whole = [alert for alert in alerts if alert.device_id == "pump-00"]
    assert score(MODEL, from_tables(halves)).alerts == whole


def test_what_is_open_in_the_end_is_closed_with_its_recording() -> None:
    [alert] = score(MODEL, from_tables([table("pump-1", 1, slice(380, None))])).alerts
    assert (alert.status, alert.close_reason) == (Status.CLOSED, Reason.ENDED)
    assert alert.closed_at == alert.last_seen_at


def test_nobody_is_silent_in_a_recording_that_ends_before_another_one() -> None:
    found = score(MODEL, from_tables([table("pump-1", 1, rows=260), table("pump-2", 2, rows=6_000)]))
    assert Kind.SILENT not in {alert.kind for alert in found.alerts}


def test_only_the_readings_of_the_span_are_scored() -> None:
    one = TABLES[0]
    span = Span(int(one.at[250]), int(one.at[300]))
    found = score(MODEL, from_tables([one]), span)
    assert (found.readings, found.alerts) == (50, [])
    assert found.device_days == pytest.approx(50 / 86_400)


def test_late_and_repeated_readings_are_dropped_and_counted(alerts: list[Alert]) -> None:
    one = TABLES[0]
    doubled = np.sort(np.r_[np.arange(ROWS), np.arange(50)])
    shuffled = np.r_[0, 2, 1, np.arange(3, ROWS)]
    for order, late in ((doubled, 50), (shuffled, 1)):
        again = replace(one, at=one.at[order], values=one.values[order])
        found = score(MODEL, from_tables([again]))
        assert (found.readings, found.late) == (ROWS + 50 * (order is doubled) - late, late)


def test_lateness_that_the_fleet_allows_is_put_in_order(alerts: list[Alert]) -> None:
    one = TABLES[0]
    order = np.r_[0, 2, 1, np.arange(3, 209), 210, 209, np.arange(211, ROWS - 2), ROWS - 1, ROWS - 2]
    late = replace(one, at=one.at[order], values=one.values[order])
    found = score(MODEL, from_tables([late]), terms=Terms(allowed_lateness_s=5.0))
    assert (found.readings, found.late) == (ROWS, 0)
    [mine] = [alert for alert in alerts if alert.device_id == "pump-00"]
    [alert] = found.alerts
    assert replace(alert, id=mine.id, first_offset=0, last_offset=0) == replace(mine, first_offset=0, last_offset=0)


def test_a_gap_lasts_as_long_as_the_fleet_says() -> None:
    one = TABLES[0]
    at = one.at.copy()
    at[210:] += 100 * SECOND
    [gap, *_] = score(MODEL, from_tables([replace(one, at=at)]), terms=Terms(max_gap_s=50)).alerts
    assert gap.close_reason is Reason.GAP
    assert Reason.GAP not in {a.close_reason for a in score(MODEL, from_tables([replace(one, at=at)])).alerts}


def test_a_channel_that_a_file_lacks_is_named() -> None:
    lacking = table("pump-1", 1, channels=("heat", "speed"))
    with pytest.raises(RecordingUnreadable, match=r"pump-1\.csv: channel 'noise' is missing"):
        score(MODEL, from_tables([lacking]))


def test_channels_may_stand_in_any_order(alerts: list[Alert]) -> None:
    one = TABLES[0]
    turned = replace(one, channels=CHANNELS[::-1], values=one.values[:, ::-1])
    assert score(MODEL, from_tables([turned])).alerts == [a for a in alerts if a.device_id == "pump-00"]


# --- topics ----------------------------------------------------------------------------------------------------------


def records(one: Table, offsets: Integers, values: Floats) -> list[Record]:
    return [
        Record(
            int(offset),
            int(at) // 1000,
            one.device_id.encode(),
            b'{"timestamp": %d, "values": {"heat": %r, "noise": %r}}' % (int(at) // 1000, *map(float, row)),
        )
        for offset, at, row in zip(offsets, one.at, values, strict=True)
    ]


def tapes_of(several: Sequence[Table], bad: int = 0) -> tuple[list[Tape], list[str]]:
    """One partition, each device's readings at every so many offsets."""
    found = [
        one for n, each in enumerate(several) for one in records(each, np.arange(ROWS) * len(several) + n, each.values)
    ]
    found.sort(key=lambda record: record.offset)
    broken = [replace(record, value=b"{") if record.offset < bad else record for record in found]
    batches = [(PUMPS, broken[first : first + 100]) for first in range(0, len(broken), 100)]
    return from_records(JsonDecoder(CHANNELS), batches, CHANNELS)


def test_a_topic_s_alerts_have_its_partition_and_its_offsets() -> None:
    tapes, notes = tapes_of(TABLES[:4])
    found = {workers: score(MODEL, tapes, workers=workers).alerts for workers in (1, 2, 4)}
    assert notes == []
    assert found[1] == found[2] == found[4] != []
    assert {(alert.topic, alert.partition) for alert in found[1]} == {(PUMPS.topic, PUMPS.number)}
    assert {alert.first_offset % 4 for alert in found[1] if alert.device_id == "pump-02"} == {2}


def test_what_the_daemon_would_refuse_is_counted() -> None:
    tapes, notes = tapes_of(TABLES[:1], bad=3)
    assert sum(map(len, tapes)) == ROWS - 3
    assert notes == ["3 readings or records refused as malformed"]
