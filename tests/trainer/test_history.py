from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sensord.errors import HistoryUnusable
from sensord.readings import Partition, Record
from sensord.stream.decoders.json import JsonDecoder
from sensord.stream.files import FileOptions, Table, TimeUnit, read_tables
from sensord.trainer.history import History, Needs, Range, from_records, from_tables

START = 1_583_749_000_000_000
SECOND = 1_000_000
CHANNELS = ("flow", "heat")


def table(
    device_id: str = "a",
    rows: int = 400,
    start: int = 0,
    channels: tuple[str, ...] = CHANNELS,
    path: str = "a.csv",
    at: Sequence[int] | None = None,
    values: np.ndarray[tuple[int, int], np.dtype[np.float32]] | None = None,
) -> Table:
    stamps = START + (start + np.arange(rows)) * SECOND if at is None else START + np.array(at) * SECOND
    if values is None:
        values = np.random.default_rng(rows).standard_normal((len(stamps), len(channels))).astype(np.float32)
    return Table(device_id, channels, stamps, values, np.arange(len(stamps)) + 2, Path(path))


def refusal(*tables: Table, channels: Sequence[str] | None = None, wanted: Range | None = None) -> str:
    with pytest.raises(HistoryUnusable) as caught:
        from_tables(tables, channels, wanted or Range())
    return str(caught.value)


def test_several_files_of_a_device_are_put_in_order_of_time() -> None:
    history = from_tables([table(start=400, path="a10.csv"), table(start=0, path="a9.csv"), table("b")])
    assert {device.device_id: len(device.at) for device in history.devices} == {"a": 800, "b": 400}
    assert (np.diff(history.devices[0].at) > 0).all()
    assert (history.first_at, history.last_at) == (START, START + 799 * SECOND)
    assert history.readings == 1_200


def test_the_period_is_the_usual_step_whatever_the_gaps() -> None:
    steps = [10.0] * 300 + [90_000.0] + [10.0] * 99
    assert from_tables([table(at=np.cumsum(steps).astype(int).tolist())]).period_s == 10.0


def test_channels_come_in_the_order_asked_for_whatever_the_file_has() -> None:
    one, other = table(), table("b", channels=("heat", "spare", "flow"), path="b.csv")
    history = from_tables([one, other], channels=("heat", "flow"))
    assert history.channels == ("heat", "flow")
    np.testing.assert_array_equal(history.values["a"], one.values[:, [1, 0]])
    np.testing.assert_array_equal(history.values["b"], other.values[:, [0, 2]])


def test_a_range_takes_readings_from_since_to_before_until_and_the_first_rows_of_these() -> None:
    wanted = Range(since=START + 100 * SECOND, until=START + 200 * SECOND, rows=80)
    history = from_tables([table(), table("b")], wanted=wanted, needs=Needs(in_all=100))
    for device in history.devices:
        assert (device.at[0], device.at[-1]) == (START + 100 * SECOND, START + 179 * SECOND)


def test_a_split_cuts_every_device_in_time_and_loses_no_reading() -> None:
    history = from_tables([table(rows=400), table("b", rows=200)])
    earlier, later = history.split(0.75)
    assert [len(device.at) for device in earlier.devices] == [300, 150]
    for whole, first, rest in zip(history.devices, earlier.devices, later.devices, strict=True):
        np.testing.assert_array_equal(np.concatenate([first.at, rest.at]), whole.at)
        np.testing.assert_array_equal(np.concatenate([first.values, rest.values]), whole.values)


def test_a_device_with_too_little_is_left_out_and_named() -> None:
    history = from_tables([table(), table("newcomer", rows=12)])
    assert [device.device_id for device in history.devices] == ["a"]
    assert history.notes == ("devices left out with fewer than 64 readings: newcomer (12)",)


def test_too_little_history_says_how_much_is_needed() -> None:
    message = refusal(table(rows=250), table("b", rows=20))
    assert message.startswith(
        "too little history: 250 readings of 1 devices; at least 300 in all are needed, and 64 of"
    )
    assert "b (20)" in message
    assert "too little history: 0 readings" in refusal(table(), wanted=Range(until=START))
    assert "too little history: 0 readings" in refusal()


def test_a_channel_that_is_constant_everywhere_is_named_with_the_channels_to_keep() -> None:
    values = table(channels=("flow", "set point", "heat")).values.copy()
    values[:, 1] = 7
    message = refusal(table(channels=("flow", "set point", "heat"), values=values))
    assert message == "constant in every device: set point; leave it out: --channels flow,heat"


def test_a_channel_that_is_constant_in_one_device_only_is_fine() -> None:
    values = table().values.copy()
    values[:, 1] = 7
    assert from_tables([table(values=values), table("b")]).channels == CHANNELS


def test_a_channel_missing_in_a_file_is_named_with_the_file() -> None:
    message = refusal(table(), table("b", channels=("flow",), path="b.csv"))
    assert message.startswith("b.csv: channel 'heat' is missing; it has flow.")
    assert refusal(table(), channels=["speed"]).startswith("a.csv: channel 'speed' is missing")


def test_unordered_time_stamps_are_named_by_file_line_and_both_stamps() -> None:
    assert refusal(table(at=[*range(300), 298])).startswith(
        "a.csv, line 302: a at 2020-03-09T10:21:38Z is before 2020-03-09T10:21:39Z of line 301; put the file in order"
    )
    assert refusal(table(at=[*range(300), 299])).startswith("a.csv, line 302: a at 2020-03-09T10:21:39Z repeats")


def test_files_of_a_device_that_overlap_are_both_named() -> None:
    message = refusal(table(path="monday.csv"), table(start=399, path="tuesday.csv"))
    assert message.startswith("tuesday.csv, line 2: a at 2020-03-09T10:23:19Z, while monday.csv goes on to ")


def test_a_channel_without_any_value_is_named_with_its_device() -> None:
    values = table().values.copy()
    values[:, 1] = np.nan
    assert refusal(table(), table("b", values=values)).startswith("b: no finite value of 'heat' in 400 readings")


def record(offset: int, second: int, flow: float) -> Record:
    text = f'{{"device_id":"a","timestamp":{START // 1_000 + second * 1_000},"values":{{"flow":{flow}}}}}'
    return Record(offset, START // 1_000 + second * 1_000, None, text.encode())


def from_topic(records: list[Record]) -> History:
    batches = [(Partition("pumps", 0), records[:100]), (Partition("pumps", 0), records[100:])]
    return from_records(JsonDecoder(("flow",)), batches, ("flow",))


def test_a_topic_gives_the_readings_that_the_daemon_would_take() -> None:
    records = [record(offset, offset, float(offset)) for offset in range(400)]
    records += [record(400, 399, 0.0), record(401, 5, 0.0), Record(402, 0, None, b"noise"), record(403, 400, 400.0)]
    history = from_topic(records)
    np.testing.assert_array_equal(history.values["a"][:, 0], np.arange(401, dtype=np.float32))
    assert history.notes == (
        "1 readings or records refused as malformed",
        "2 late or repeated readings dropped, as the daemon drops them",
    )


def test_a_topic_of_noise_says_what_was_refused() -> None:
    with pytest.raises(HistoryUnusable, match=r"too little history: 0 readings.*3 readings or records refused as malf"):
        from_topic([Record(offset, 0, None, b"noise") for offset in range(3)])


def test_the_water_pump_recordings_make_a_history(shared_data: Path) -> None:
    paths = sorted((shared_data / "skab").glob("valve*/*.csv"))
    options = FileOptions(ignore=("anomaly", "changepoint"))
    history = from_tables(read_tables(paths, options), wanted=Range(rows=400))
    assert len(history.devices) == len(paths)
    assert history.readings == 400 * len(paths)
    assert history.period_s == 1.0


def test_the_turbofans_make_a_history_once_their_constant_channels_are_left_out(shared_data: Path) -> None:
    names = ("unit", "cycle", *(f"setting{n}" for n in range(1, 4)), *(f"sensor{n}" for n in range(1, 22)))
    options = FileOptions(column_names=names, device_column="unit", time_unit=TimeUnit.CYCLES)
    engines = list(read_tables([shared_data / "cmapss" / "train_FD001.txt"], options))
    with pytest.raises(
        HistoryUnusable, match=r"constant in every device: setting3, sensor1, .*leave it out: "
    ) as caught:
        from_tables(engines, wanted=Range(rows=100))
    moving = str(caught.value).rpartition("--channels ")[2].split(",")
    history = from_tables(engines, moving, Range(rows=100))
    assert (len(history.devices), history.readings) == (100, 10_000)
    assert set(history.channels) < set(names)
