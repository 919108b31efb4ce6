"""How data sets become trials: what is history, what a fault, what is left out."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from sensord.clock import MICROSECONDS
from sensord.errors import HistoryUnusable, RecordingUnreadable
from sensord.stream.files import FileOptions
from sensord.trainer.evaluation.labels import Label
from sensord.trainer.evaluation.protocols import (
    SKAB_HISTORY,
    TURBOFAN_COLUMNS,
    Budget,
    Healthy,
    cmapss,
    recording,
    skab,
)
from sensord.trainer.threshold import AlarmBudget, RowShare
from tests.builders import START

NOON = datetime.fromtimestamp(START / MICROSECONDS, UTC)
BUDGET = Budget(per_device_day=0.05)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a CSV file with a row a second: `columns` by name, of equal length."""

    def written(name: str, **columns: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]]) -> Path:
        rows = zip(*columns.values(), strict=True)
        lines = [
            f"{NOON + timedelta(seconds=n):%Y-%m-%d %H:%M:%S};{';'.join(map(str, row))}" for n, row in enumerate(rows)
        ]
        file = tmp_path / name
        file.write_text("\n".join([f"datetime;{';'.join(columns)}", *lines]) + "\n")
        return file

    return written


def noise(rows: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(size=rows).round(3)


def test_skab_files_are_devices_with_their_first_rows_as_history(write: Write) -> None:
    anomaly = np.zeros(500)
    anomaly[450:460] = 1
    trial = skab([write("a.csv", heat=noise(500), anomaly=anomaly, changepoint=np.zeros(500))])
    (case,) = trial.cases
    assert trial.history.channels == ("heat",)
    assert (case.recorded.device_id, case.history, len(trial.history.devices[0].at)) == ("a", SKAB_HISTORY, 400)
    assert np.flatnonzero(case.faulty).tolist() == list(range(50, 60))


def test_skab_without_labels_is_refused(write: Write) -> None:
    with pytest.raises(RecordingUnreadable, match="no column 'anomaly'"):
        skab([write("a.csv", heat=noise(500))])


def test_skab_files_without_rows_to_judge_or_with_other_channels_are_refused(write: Write) -> None:
    short = write("a.csv", heat=noise(400), anomaly=np.zeros(400))
    with pytest.raises(RecordingUnreadable, match="history alone"):
        skab([short])
    first, other = (write(f"{c}.csv", **{c: noise(500)}, anomaly=np.zeros(500)) for c in "bc")
    with pytest.raises(RecordingUnreadable, match="differ"):
        skab([first, other])


def turbofans(tmp_path: Path, lives: Sequence[int]) -> Path:
    rng = np.random.default_rng(0)
    lines = []
    for unit, life in enumerate(lives, start=1):
        for cycle in range(1, life + 1):
            values = rng.normal(size=len(TURBOFAN_COLUMNS) - 2).round(3)
            values[[2, 5]] = 100.0, 518.67 if cycle <= 0.3 * life else 519.0  # constant; constant while healthy
            lines.append(f"{unit} {cycle} {' '.join(map(str, values))}  ")
    file = tmp_path / "train.txt"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_turbofans_are_healthy_in_the_first_30_percent_and_worn_in_the_second_half(tmp_path: Path) -> None:
    trial = cmapss(turbofans(tmp_path, [200, 700, 130]))
    assert [case.history for case in trial.cases] == [60, 210, 39]
    assert [int(np.argmax(case.faulty)) + case.history for case in trial.cases] == [100, 350, 65]
    assert trial.runs_to_failure


def test_turbofan_channels_that_are_constant_in_health_are_left_out_with_a_note(tmp_path: Path) -> None:
    trial = cmapss(turbofans(tmp_path, [600, 700]))
    assert "setting3" not in trial.history.channels
    assert "s3" not in trial.history.channels
    assert trial.notes == ("channels left out, constant in all history: setting3, s3",)
    assert trial.cases[0].recorded.values.shape[1] == len(trial.history.channels) == 22


@pytest.mark.parametrize(
    ("healthy", "rows"),
    [
        (Healthy(rows=350), 350),
        (Healthy(share=0.4), 400),
        (Healthy(until=START + 500 * MICROSECONDS), 500),
    ],
)
def test_history_is_so_many_rows_or_a_share_or_up_to_a_time(write: Write, healthy: Healthy, rows: int) -> None:
    label = Label("a", START + 800 * MICROSECONDS, START + 820 * MICROSECONDS, "leak")
    trial = recording([write("a.csv", heat=noise(1000))], FileOptions(), [label], healthy, BUDGET)
    assert trial.cases[0].history == rows
    assert trial.cases[0].faults[0].kind == "leak"
    assert int(trial.cases[0].faulty.sum()) == 21


def test_labels_may_be_a_column_which_is_no_channel(write: Write) -> None:
    label = np.zeros(1000)
    label[900:910] = 1
    file = write("a.csv", heat=noise(1000), noise=noise(1000, 1), label=label)
    for options in FileOptions(), FileOptions(channels=("heat", "noise")):
        trial = recording([file], options, "label", Healthy(share=0.5), BUDGET)
        assert trial.history.channels == ("heat", "noise")
        assert np.flatnonzero(trial.cases[0].faulty).tolist() == list(range(400, 410))
    with pytest.raises(RecordingUnreadable, match="no column 'truth'"):
        recording([file], FileOptions(), "truth", Healthy(share=0.5), BUDGET)


def test_devices_with_too_little_history_or_nothing_to_judge_are_left_out_with_notes(write: Write) -> None:
    files = [write(f"{n}.csv", heat=noise(rows)) for n, rows in (("a", 1000), ("b", 380), ("c", 420))]
    trial = recording(files, FileOptions(), [], Healthy(rows=400), BUDGET)
    assert [case.recorded.device_id for case in trial.cases] == ["a", "c"]
    assert trial.notes == ("devices left out, as nothing of them is history or nothing is left to judge: 1",)
    with pytest.raises(HistoryUnusable, match="no device has both"):
        recording(files, FileOptions(), [], Healthy(rows=1000), BUDGET)


def test_thresholds_keep_to_a_budget_or_a_share(write: Write) -> None:
    file = write("a.csv", heat=noise(1000))
    by_alarms = recording([file], FileOptions(), [], Healthy(share=0.5), BUDGET)
    assert by_alarms.rule == AlarmBudget(0.05, 1.0)
    assert (by_alarms.asked, by_alarms.asked_share) == (0.05, None)
    by_rows = recording([file], FileOptions(), [], Healthy(share=0.5), Budget(row_share=0.01))
    assert by_rows.rule == RowShare(0.01)
    assert (by_rows.asked, by_rows.asked_share) == (None, 0.01)
