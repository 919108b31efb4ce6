"""False alarms asked for against those kept, on a million healthy readings while the season turns.

Pumps are read every five minutes, so that a million readings are 3,472 device-days and the smallest budget is worth 35
alerts. 100 pumps have 3,000 readings of history each and 10,000 live ones, over which it grows 7 °C warmer, on top of
each day's 8 °C and what the weather does. An alarm is an alert that opens.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import click

from scripts.bench.quality.fleets import Split, alerts_of, healthy_pumps
from sensord.simulate import FleetPlan
from sensord.trainer.fit import FitOptions
from sensord.trainer.job import TrainOptions, fit_network
from sensord.trainer.threshold import DAY_S

BUDGETS = (0.01, 0.1, 1.0)
DEVICES, HISTORY, LIVE = 100, 3_000, 10_000
PERIOD_S = 300.0
TREND_C_PER_DAY = 0.2
GAP_S = 4 * PERIOD_S


@dataclass(frozen=True, slots=True)
class Kept:
    """One budget: alarms a device and day as asked and as counted, one count a seed; ratio: mean kept / asked."""

    asked: float
    kept: tuple[float, ...]
    ratio: float
    device_days: float


def budget(seeds: Sequence[int], devices: int = DEVICES, live: int = LIVE, steps: int = 600) -> list[Kept]:
    """Each budget, kept over all seeds."""
    kept: dict[float, list[float]] = {asked: [] for asked in BUDGETS}
    device_days = devices * live * PERIOD_S / DAY_S
    for seed in seeds:
        plan = FleetPlan(devices, HISTORY + live, period_s=PERIOD_S, seed=seed, ambient_trend_c_per_day=TREND_C_PER_DAY)
        for asked, alarms in alarms_by_budget(healthy_pumps(plan, HISTORY), FitOptions(seed=seed, steps=steps)).items():
            kept[asked].append(alarms / device_days)
    return [Kept(asked, tuple(each), statistics.mean(each) / asked, device_days) for asked, each in kept.items()]


def alarms_by_budget(split: Split, fit: FitOptions) -> dict[float, int]:
    """How many alerts the live part raises under each budget."""
    network = fit_network(split.history, fit, lambda done, of: None)
    return {
        asked: len(alerts_of(network, split.history, TrainOptions("pumps", asked, GAP_S, fit=fit), split.live))
        for asked in BUDGETS
    }


@click.command(help=__doc__)
@click.option("--seeds", default=3, show_default=True, help="How many, from 1 on.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def main(seeds: int, as_json: bool) -> None:
    found = budget(range(1, seeds + 1))
    if as_json:
        print(json.dumps([asdict(each) for each in found]))
        return
    for each in found:
        kept = ", ".join(f"{one:.4f}" for one in each.kept)
        print(f"asked {each.asked:g} a device-day, kept {kept}: {each.ratio:.2f} of it")


if __name__ == "__main__":
    main()
