"""How good detection is, on every kind of data, beside what was aimed at."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.table import Table

from scripts.bench.quality import labelled
from scripts.bench.quality.ageing import PLAIN_AND_SLOW, SEASON, a_month, ageing
from scripts.bench.quality.budget import budget
from scripts.bench.quality.explanation import explanation
from scripts.bench.quality.unseen import unseen
from sensord.trainer.compare.long_gap import long_gap

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure should reach, and has to. at_most: less is better."""

    figure: str
    reach: float
    needs: float
    at_most: bool = False

    def verdict(self, found: float) -> str:
        good, enough = (found <= aim if self.at_most else found >= aim for aim in (self.reach, self.needs))
        return "reached" if good else "enough" if enough else "MISSED"


def _long_gap(gap: int) -> Callable[[Path, Sequence[int]], Figures]:
    def measure(_: Path, seeds: Sequence[int]) -> Figures:
        runs = [long_gap(gap, ("lstm", "rnn"), seed) for seed in seeds]
        return {name: sum(run[name] for run in runs) / len(runs) for name in runs[0]}

    return measure


def _budget(_: Path, seeds: Sequence[int]) -> Figures:
    """ratio_B: kept / asked. off: the largest factor by which one is missed."""
    ratios = {f"ratio_{each.asked:g}": each.ratio for each in budget([seed + 1 for seed in seeds])}
    return ratios | {"off": max(max(ratio, 1 / max(ratio, 1e-9)) for ratio in ratios.values())}


def _explanation(_: Path, seeds: Sequence[int]) -> Figures:
    whole = explanation([seed + 1 for seed in seeds])[0]
    return {"found": whole.found / whole.planted, "first": whole.first, "first_three": whole.first_three}


def _unseen(_: Path, seeds: Sequence[int]) -> Figures:
    found = unseen([seed + 1 for seed in seeds])
    return {"scored_by": float(found.first_scored), "ratio": found.ratio}


def _ageing(_: Path, seeds: Sequence[int]) -> Figures:
    """Shares of ageings that a drift is there to tell; drifts a device and month of health, and as the season turns."""
    found = ageing([seed + 1 for seed in seeds])
    plain = next(each for each in found.told if each.sort == PLAIN_AND_SLOW)
    steady, season = ([each for each in found.calm if (each.regime == SEASON) is turns] for turns in (False, True))
    return {"told": plain.drift, "first": plain.first, "false": a_month(steady), "false_in_season": a_month(season)}


TURBOFANS = (Aim("alerted", 1.0, 0.95), Aim("lead", 60, 45), Aim("early", 0.05, 0.10, at_most=True))
BENCHES: dict[str, tuple[Callable[[Path, Sequence[int]], Figures], tuple[Aim, ...]]] = {
    "skab": (labelled.skab, (Aim("f1", 0.90, 0.85), Aim("far", 0.10, 0.15, at_most=True))),
    "long-gap-200": (
        _long_gap(200),
        (Aim("lstm", 0.98, 0.95), *(Aim(name, 0.65, 0.65, at_most=True) for name in ("rnn", "t2", "var1"))),
    ),
    "long-gap-400": (_long_gap(400), (Aim("lstm", 0.95, 0.95),)),
    "line-ups": (lambda _, seeds: labelled.line_ups(seeds), (Aim("margin", 0.2, 0.0), Aim("worst_margin", 0.2, 0.001))),
    "turbofans": (
        labelled.turbofans,
        (Aim("alerted", 1.0, 0.95), Aim("lead", 60, 45), Aim("early", 0.05, 0.10, at_most=True)),
    ),
    "budget": (_budget, (Aim("off", 1.25, 2.0, at_most=True),)),
    "explanation": (_explanation, (Aim("first", 0.90, 0.85), Aim("first_three", 0.98, 0.95))),
    "ageing": (
        _ageing,
        (
            Aim("told", 0.95, 0.80),
            Aim("first", 0.80, 0.60),
            Aim("false", 0.075, 0.15, at_most=True),  # an event channel's share of the default alarm budget
            Aim("false_in_season", 0.075, 0.15, at_most=True),
        ),
    ),
    "unseen": (_unseen, (Aim("scored_by", 32, 64, at_most=True), Aim("ratio", 2, 3, at_most=True))),
}


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(tuple(BENCHES)))
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="How many, from 0 on.")
@click.option(
    "--data",
    default="../shared/data",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where skab/ and cmapss/ are.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON, last.")
def main(names: tuple[str, ...], seeds: int, data: Path, as_json: bool) -> None:
    torch.set_num_threads(1)
    table = Table("benchmark", "figure", "found", "reach", "at least", "verdict", box=None)
    console, everything = Console(stderr=True), {}
    for name in names or BENCHES:
        measure, aims = BENCHES[name]
        began = time.monotonic()
        console.print(f"{name} ...")
        found = everything[name] = measure(data, range(seeds))
        console.print(f"{name}: {time.monotonic() - began:.0f} s")
        for aim in aims:
            value = found[aim.figure]
            table.add_row(name, aim.figure, f"{value:.3f}", f"{aim.reach:g}", f"{aim.needs:g}", aim.verdict(value))
    console.print(table)
    if as_json:
        print(json.dumps(everything))


if __name__ == "__main__":
    main()
