"""How often an alert names the faulty channel first, or among its first three.

Twenty channels hang together through six hidden causes, each with a memory of its own, and each sensor adds noise.
After a healthy stretch one channel of every device goes wrong: an offset, a drift, more noise, or a sensor that sticks;
from barely visible to plain. What is judged is the first alert that opens while the fault lasts.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import click
import numpy as np
from numpy.typing import NDArray

from scripts.bench.quality.fleets import alerts_of
from sensord.clock import MICROSECONDS
from sensord.detection.alerts import Alert
from sensord.trainer.fit import FitOptions
from sensord.trainer.history import History
from sensord.trainer.job import TrainOptions, fit_network
from sensord.trainer.offline import Recorded

CHANNELS, CAUSES = 20, 6
DEVICES, HISTORY, HEALTHY, FAULTY = 80, 2_000, 300, 200
PERIOD_S = 300.0
BUDGET = 0.01  # so that hardly an alert in a fault is a false one
SIZES = (1.0, 2.0, 4.0, 8.0)  # in standard deviations of the channel's own noise
KINDS = ("offset", "drift", "noise", "stuck")
START = 1_800_000_000 * MICROSECONDS
NAMES = tuple(f"channel-{number:02d}" for number in range(1, CHANNELS + 1))


@dataclass(frozen=True, slots=True)
class Planted:
    """One device's fault: the channel, what is wrong with it, and by how many sigmas."""

    device_id: str
    channel: str
    kind: str
    size: float
    start_at: int


@dataclass(frozen=True, slots=True)
class Named:
    """Faults of one sort that raised an alert, of how many planted; the share of alerts with the channel in front."""

    sort: str
    planted: int
    found: int
    first: float
    first_three: float


def explanation(seeds: Sequence[int], steps: int = 600) -> list[Named]:
    """All faults, then by kind, then by size."""
    ranks: list[tuple[Planted, int | None]] = []
    for seed in seeds:
        histories, live, planted = plant(seed)
        history = History(NAMES, histories)
        options = TrainOptions("rigs", BUDGET, 4 * PERIOD_S, fit=FitOptions(seed=seed, steps=steps))
        network = fit_network(history, options.fit, lambda done, of: None)
        alerts = alerts_of(network, history, options, live)
        ranks += [(fault, rank(fault, alerts)) for fault in planted]
    sorts = [("all", ranks)]
    sorts += [(kind, [each for each in ranks if each[0].kind == kind]) for kind in KINDS]
    sorts += [(f"{size:g} sigma", [each for each in ranks if each[0].size == size]) for size in SIZES]
    return [_named(sort, [rank for _, rank in some]) for sort, some in sorts]


def _named(sort: str, ranks: Sequence[int | None]) -> Named:
    found = np.array([each for each in ranks if each is not None])
    first, three = (float((found < places).mean()) if len(found) else float("nan") for places in (1, 3))
    return Named(sort, len(ranks), len(found), first, three)


def rank(fault: Planted, alerts: Sequence[Alert]) -> int | None:
    """The faulty channel's place, from 0, in the first alert that opens in the fault; None where none does."""
    mine = [each for each in alerts if each.device_id == fault.device_id and each.opened_at >= fault.start_at]
    if not mine or mine[0].top_channels is None:
        return None
    return [each.channel for each in mine[0].top_channels].index(fault.channel)


def plant(seed: int) -> tuple[tuple[Recorded, ...], tuple[Recorded, ...], list[Planted]]:
    """Histories, live readings, and one fault a device: every kind in every size, equally often."""
    random = np.random.default_rng(seed)
    mixing = random.normal(0, 1, (CAUSES, CHANNELS))
    memory = random.uniform(0.5, 0.97, CAUSES)
    noise = random.uniform(0.3, 0.8, CHANNELS)
    histories, live, planted = [], [], []
    for number in range(DEVICES):
        kind, size = KINDS[number % len(KINDS)], SIZES[number // len(KINDS) % len(SIZES)]
        channel = int(random.integers(CHANNELS))
        values = _healthy(random, mixing, memory, noise) + random.normal(0, 2, CHANNELS)
        begin = HISTORY + HEALTHY
        _break(random, values[begin:, channel], kind, size * noise[channel])
        at = START + np.arange(len(values)) * round(PERIOD_S * MICROSECONDS)
        name = f"rig-{number:02d}"
        wide = Recorded(name, at, values.astype(np.float32))
        histories.append(Recorded(name, wide.at[:HISTORY], wide.values[:HISTORY]))
        live.append(Recorded(name, wide.at[HISTORY:], wide.values[HISTORY:]))
        planted.append(Planted(name, NAMES[channel], kind, size, int(at[begin])))
    return tuple(histories), tuple(live), planted


def _healthy(
    random: np.random.Generator,
    mixing: NDArray[np.float64],
    memory: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(readings, channels): each cause is autoregressive with unit variance."""
    readings = HISTORY + HEALTHY + FAULTY
    driven = random.normal(0, 1, (readings, CAUSES)) * np.sqrt(1 - memory**2)
    causes = np.zeros_like(driven)
    for t in range(1, readings):
        causes[t] = memory * causes[t - 1] + driven[t]
    return causes @ mixing + noise * random.normal(0, 1, (readings, CHANNELS))


def _break(random: np.random.Generator, values: NDArray[np.float64], kind: str, sigma: float) -> None:
    """Change one channel from its first reading here on, in place. sigma: the fault's size in the channel's unit."""
    match kind:
        case "offset":
            values += sigma
        case "drift":
            values += 2 * sigma * np.linspace(0, 1, len(values))
        case "noise":
            values += sigma * random.normal(0, 1, len(values))
        case "stuck":
            values[:] = values[0]


@click.command(help=__doc__)
@click.option("--seeds", default=3, show_default=True, help="How many, from 1 on.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def main(seeds: int, as_json: bool) -> None:
    found = explanation(range(1, seeds + 1))
    if as_json:
        print(json.dumps([asdict(each) for each in found]))
        return
    for each in found:
        print(
            f"{each.sort:8}  {each.found:3} of {each.planted:3} found; "
            f"channel first {each.first:.1%}, in the first three {each.first_three:.1%}"
        )


if __name__ == "__main__":
    main()
