"""scripts/fuzz: every reader of foreign bytes on as many mutated inputs as there is time for.

Ends with 1 where anything but a named error came out, or memory grew. What is reported is read again by --again.
"""

import sys
import time

import click

from tests.fuzz.running import BLOCK, Outcome, read_block, run
from tests.fuzz.targets import TARGETS

PROGRESS_S = 10.0
GROWTH_MB = 64.0
NAMES = [target.name for target in TARGETS]


@click.command(help=__doc__)
@click.option("--inputs", type=click.IntRange(min=1), default=100_000, show_default=True, help="Of each target.")
@click.option("--seconds", type=click.FloatRange(min=1), default=float("inf"), help="At most, for each target.")
@click.option("--target", "names", type=click.Choice(NAMES), multiple=True, help="These alone.")
@click.option("--seed", type=int, help="Default: by the clock.")
@click.option("--again", metavar="SEED:TARGET:BLOCK", help="Read one block again, with the errors in full.")
def main(inputs: int, seconds: float, names: tuple[str, ...], seed: int | None, again: str | None) -> None:
    if again is not None:
        sys.exit(_again(again))
    chosen = seed if seed is not None else time.time_ns() % 1_000_000
    click.echo(f"seed {chosen}")
    outcomes = [run(each, inputs, chosen, seconds, _Progress()) for each in TARGETS if not names or each.name in names]
    for outcome in outcomes:
        click.echo(told(outcome))
        for line in outcome.unnamed:
            click.echo(f"    {line}")
    click.echo(f"all: {sum(outcome.inputs for outcome in outcomes):,} inputs")
    sys.exit(any(outcome.unnamed or outcome.grown_mb > GROWTH_MB for outcome in outcomes))


def told(outcome: Outcome) -> str:
    """One line: how many, how fast, what came of them, and how much memory."""
    errors = ", ".join(f"{name} {count:,}" for name, count in outcome.errors.most_common())
    return (
        f"{outcome.target:<10}{outcome.inputs:>12,} inputs{outcome.rate:>9,.0f}/s  {errors}; "
        f"{outcome.peak_mb:.0f} MB, grown by {outcome.grown_mb:.1f}"
    )


class _Progress:
    """A line now and then."""

    def __init__(self) -> None:
        self._next = time.monotonic() + PROGRESS_S

    def __call__(self, outcome: Outcome) -> None:
        if time.monotonic() >= self._next:
            click.echo(told(outcome), err=True)
            self._next = time.monotonic() + PROGRESS_S


def _again(name: str) -> bool:
    [target] = [each for each in TARGETS if each.name == name.split(":")[1]]
    outcome = Outcome(target.name)
    read_block(target, name, BLOCK, outcome)
    click.echo("\n".join([told(outcome), *outcome.unnamed]))
    return bool(outcome.unnamed)


if __name__ == "__main__":
    main(prog_name="scripts/fuzz")
