"""A ward: vital signs of a few patients, of whom one gets worse. Simulated; nobody's data, and no medical device."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

START = datetime(2026, 11, 23, tzinfo=UTC)
PERIOD = timedelta(seconds=5)
PATIENTS, HISTORY, LIVE = 6, 3_000, 600
UNITS = {"heart_rate": "1/min", "spo2": "%", "resp_rate": "1/min", "systolic": "mmHg", "temperature": "°C"}
ILL, WORSE_AT, BETTER_AT = "bed-3", 250, 420  # readings of the live part


def vitals(seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """By bed: (readings, signs). Each has levels of its own; heart and breath wander together."""
    rng, found, total = np.random.default_rng(seed), {}, HISTORY + LIVE
    for number in range(PATIENTS):
        level = np.array([72, 97, 15, 122, 36.9]) + rng.normal(0, [6, 0.6, 1.5, 8, 0.2])
        wander = _wander(rng, total)
        coupled = wander[:, :1] * [5.0, -0.2, 1.2, 2.0, 0.0] + wander[:, 1:] * [1.5, 0.3, 0.5, 3.0, 0.05]
        noise = rng.normal(0, [1.0, 0.25, 0.4, 1.5, 0.03], (total, len(UNITS)))
        found[f"bed-{number}"] = level + coupled + noise
    begin, end = HISTORY + WORSE_AT, HISTORY + BETTER_AT
    ramp = np.minimum(np.arange(end - begin) / 60, 1.0)[:, None]
    found[ILL][begin:end] += ramp * [22.0, -7.0, 9.0, -6.0, 0.1]  # breathing fails slowly
    return found


def _wander(rng: np.random.Generator, total: int) -> NDArray[np.float64]:
    """(total, 6) slow processes of variance one."""
    steps, kept = rng.normal(0, 1, (total, 6)), 0.9
    found = np.zeros((total, 6))
    for row in range(1, total):
        found[row] = kept * found[row - 1] + np.sqrt(1 - kept**2) * steps[row]
    return found


def write_history(path: Path, signs: dict[str, NDArray[np.float64]]) -> None:
    """As a CSV that `sensord train` reads."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["device_id", "timestamp", *UNITS])
        for bed, rows in signs.items():
            for number, row in enumerate(rows[:HISTORY]):
                table.writerow([bed, (START + number * PERIOD).isoformat(), *(f"{value:.2f}" for value in row)])


def messages(signs: dict[str, NDArray[np.float64]]) -> Iterator[tuple[str, bytes]]:
    """The live part as a monitor sends it: (key, value), in the order of time."""
    for number in range(HISTORY, HISTORY + LIVE):
        for bed, rows in signs.items():
            observed = {name: round(float(value), 2) for name, value in zip(UNITS, rows[number], strict=True)}
            at_ms = round((START + number * PERIOD).timestamp() * 1_000)
            yield bed, json.dumps({"bed": bed, "observed_at": at_ms, "vitals": observed}).encode()
