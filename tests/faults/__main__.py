"""The fault suite: what is left of the daemon's promises when everything around it fails.

\b
A topic is written once and read by one uninterrupted daemon: the oracle. Then each fault is made while other daemons
read the same topic into a database of their own, and what they leave is held against it:
I1  alerts equal the oracle's, row for row      I5  nothing was written with a superseded epoch
I2  commits are one chain without gap           I6  recovery, memory and CPU within limits
I3  state equals the oracle's, byte for byte    I7  gaps are recorded exactly where readings were lost
I4  dead letters are exactly what was injected  I8  readiness and exit codes as promised
Recovery is the longest time from the end of a fault (the start of the next daemon, the server's return) to the first
commit; a killed member's session (6 s here) is part of it. Exit code 1 if an invariant is violated.
"""

import json
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack

import click
from rich.console import Console

from tests.faults.mutations import MUTATIONS
from tests.faults.scenarios import SCENARIOS
from tests.faults.soak import Soaked, soak
from tests.faults.stage import Stage
from tests.faults.suite import Outcome, own_stage, play
from tests.faults.table import as_json, mutation_table, problems, table
from tests.faults.workload import Workload
from tests.services import ServerUnavailable

RATE = 4_000.0  # readings a second of a daemon in the suite


@click.command(help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--only", multiple=True, help="Play this one; may be given several times, or name them as arguments.")
@click.option("--list", "listing", is_flag=True, help="List the faults and the mutations.")
@click.option("--mutate", is_flag=True, help="Take the product's guards out one by one; each must turn something red.")
@click.option("--soak", "soak_minutes", type=click.FloatRange(min=0.5), help="Mix faults at random for some minutes.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the workload and of everything random.")
@click.option("--readings", type=click.IntRange(min=3_000), default=20_000, show_default=True)
@click.option("--devices", type=click.IntRange(min=10), default=200, show_default=True)
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object on the last line.")
def main(
    names: tuple[str, ...],
    only: tuple[str, ...],
    listing: bool,
    mutate: bool,
    soak_minutes: float | None,
    seed: int,
    readings: int,
    devices: int,
    json_wanted: bool,
) -> None:
    if listing:
        _list()
        return
    played = [scenario.name for scenario in SCENARIOS.values() if not scenario.only_named]
    chosen = _chosen([*names, *only], MUTATIONS if mutate else SCENARIOS) or (list(MUTATIONS) if mutate else played)
    load = Workload(seed).scaled(readings, devices)
    with ExitStack() as stack:
        try:
            stage = stack.enter_context(own_stage(load, RATE))
        except ServerUnavailable as error:
            raise click.ClickException(str(error)) from error
        if soak_minutes is not None:
            good = _show_soak(soak(stage, soak_minutes, seed, _tell), json_wanted)
        elif mutate:
            good = _show_mutations([_mutated(stage, name) for name in chosen], json_wanted)
        else:
            good = _show([_played(stage, name) for name in chosen], json_wanted)
    sys.exit(0 if good else 1)


def _chosen(asked: Sequence[str], known: Collection[str]) -> Sequence[str]:
    if unknown := sorted(set(asked) - set(known)):
        raise click.BadParameter(f"no {', '.join(unknown)}; there are {', '.join(known)}")
    return asked


def _list() -> None:
    for scenario in SCENARIOS.values():
        click.echo(f"{scenario.name:24}{scenario.what}{'; only by its name' if scenario.only_named else ''}")
    click.echo("\nmutations (--mutate):")
    for name, mutation in MUTATIONS.items():
        click.echo(f"{name:24}{mutation.what}; played by {mutation.seen_by}")


def _played(stage: Stage, name: str) -> Outcome:
    outcome = play(stage, SCENARIOS[name])
    recovery = "" if outcome.recovery_s is None else f"recovered in {outcome.recovery_s:.1f} s, "
    verdict = "held" if outcome.held else f"VIOLATED {' '.join(outcome.problems)}"
    _tell(f"{name}: {verdict} ({recovery}{outcome.peak_mb:.0f} MB, {outcome.seconds:.0f} s)")
    for line in [*(f"{name}: {note}" for note in outcome.notes), *problems([outcome])]:
        _tell(line)
    return outcome


def _mutated(stage: Stage, name: str) -> Outcome:
    outcome = play(stage, SCENARIOS[MUTATIONS[name].seen_by], name)
    _tell(f"{name}: {'NOT NOTICED' if outcome.held else 'noticed by ' + ' '.join(outcome.problems)}")
    for line in problems([outcome]):
        _tell(line.splitlines()[0])
    return outcome


def _show(outcomes: list[Outcome], json_wanted: bool) -> bool:
    console = Console(width=None if sys.stdout.isatty() else 160)
    if json_wanted:
        click.echo(json.dumps({"faults": as_json(outcomes)}))
    else:
        console.print(table(outcomes, "Faults"))
    return all(outcome.held for outcome in outcomes)


def _show_mutations(outcomes: list[Outcome], json_wanted: bool) -> bool:
    if json_wanted:
        click.echo(json.dumps({"mutations": as_json(outcomes)}))
    else:
        what = {name: mutation.what for name, mutation in MUTATIONS.items()}
        Console(width=None if sys.stdout.isatty() else 160).print(mutation_table(outcomes, what))
    return not any(outcome.held for outcome in outcomes)


def _show_soak(soaked: Soaked, json_wanted: bool) -> bool:
    good = _show([soaked.outcome], json_wanted=False)
    for line in problems([soaked.outcome]):
        _tell(line)
    grown = "too short to tell" if soaked.slope_mb_per_hour is None else f"{soaked.slope_mb_per_hour:+.1f} MB an hour"
    click.echo(f"seed {soaked.seed}: {len(soaked.faults)} faults, {soaked.readings} records; memory slope {grown}")
    if json_wanted:
        figures = {"seed": soaked.seed, "faults": soaked.faults, "records": soaked.readings}
        slope = {"memory_slope_mb_per_hour": soaked.slope_mb_per_hour}
        click.echo(json.dumps({"soak": as_json([soaked.outcome])[0] | figures | slope}))
    return good


def _tell(line: str) -> None:
    click.echo(f"faults: {line}", err=True)


if __name__ == "__main__":
    main(prog_name="scripts/faults")
