"""Training needs no more memory for a longer history: what it holds lies in files."""

from pathlib import Path

import pytest

from scripts.bench.train import Load, train, write

DEVICE = 3_000  # readings of each
GROWTH_MB = 48.0  # what a fleet of four times as many devices may add; the history alone in float64 is 14 MB more, and
# passes that copied all of it took some 5 KB a reading: 900 MB more


@pytest.mark.slow
def test_four_times_the_history_takes_hardly_more_anonymous_memory(tmp_path: Path) -> None:
    peaks = []
    for devices in (20, 80):
        file = tmp_path / f"{devices}.csv"
        write(file, Load(devices, devices * DEVICE, channels=8, steps=1))
        peaks.append(train(tmp_path, file, steps=1).anonymous_mb)
    assert peaks[1] - peaks[0] < GROWTH_MB, peaks
