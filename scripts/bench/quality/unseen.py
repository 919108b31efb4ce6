"""False alarms of devices that were never seen, in their first readings, against those of devices with a history.

Half of the pumps have history; the others start after it, known by nothing but the fleet's row. Counted are alerts that
open in a stranger's first 500 readings and later, and those of the known devices after as many readings.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import click
import numpy as np

from scripts.bench.quality.fleets import calibrated, healthy_pumps
from sensord.detection.alerts import Alert
from sensord.simulate import FleetPlan
from sensord.trainer.fit import FitOptions
from sensord.trainer.history import History
from sensord.trainer.job import TrainOptions, fit_network
from sensord.trainer.offline import Recorded, replay
from sensord.trainer.threshold import DAY_S

DEVICES, HISTORY, LIVE = 200, 3_000, 3_000
EARLY = 500  # readings
PERIOD_S = 300.0
BUDGET = 0.1
GAP_S = 4 * PERIOD_S


@dataclass(frozen=True, slots=True)
class Unseen:
    """first_scored: the reading, from 1, at which the last stranger had a score. early, later: alarms a device and day
    of strangers; steady: of known devices. ratio: early over steady, pooled over the seeds."""

    first_scored: int
    early: float
    later: float
    steady: float
    ratio: float


def unseen(seeds: Sequence[int], devices: int = DEVICES, live: int = LIVE, steps: int = 600) -> Unseen:
    """Pooled over the seeds."""
    runs = [_one(seed, devices, live, steps) for seed in seeds]
    early, later, steady = (statistics.mean(each) for each in zip(*(rates for _, rates in runs), strict=True))
    ratio = early / steady if steady else float("nan")
    return Unseen(max(first for first, _ in runs), early, later, steady, ratio)


def _one(seed: int, devices: int, live: int, steps: int) -> tuple[int, tuple[float, float, float]]:
    split = healthy_pumps(FleetPlan(devices, HISTORY + live, period_s=PERIOD_S, seed=seed), HISTORY)
    known = devices // 2
    history = History(split.history.channels, split.history.devices[:known])
    options = TrainOptions("pumps", BUDGET, GAP_S, fit=FitOptions(seed=seed, steps=steps))
    network = fit_network(history, options.fit, lambda done, of: None)
    found = replay(calibrated(network, history, options), split.live, GAP_S)
    scored = max(int(np.flatnonzero(np.isfinite(each.score))[0]) + 1 for each in found.observations[known:])
    old, new = split.live[:known], split.live[known:]
    early = _rate(found.alerts, new, 0, EARLY)
    return scored, (early, _rate(found.alerts, new, EARLY, live), _rate(found.alerts, old, EARLY, live))


def _rate(alerts: Sequence[Alert], devices: Sequence[Recorded], first: int, last: int) -> float:
    """Alerts a device and day of these devices that open between two of their readings."""
    spans = {each.device_id: (int(each.at[first]), int(each.at[last - 1])) for each in devices}
    count = sum(
        spans[each.device_id][0] <= each.opened_at <= spans[each.device_id][1]
        for each in alerts
        if each.device_id in spans
    )
    return count / (len(devices) * (last - first) * PERIOD_S / DAY_S)


@click.command(help=__doc__)
@click.option("--seeds", default=3, show_default=True, help="How many, from 1 on.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def main(seeds: int, as_json: bool) -> None:
    found = unseen(range(1, seeds + 1))
    if as_json:
        print(json.dumps(asdict(found)))
        return
    print(
        f"scored by reading {found.first_scored}; alarms a device-day: {found.early:.3f} in the first {EARLY}, "
        f"{found.later:.3f} later, {found.steady:.3f} of known devices: {found.ratio:.2f} times as many"
    )


if __name__ == "__main__":
    main()
