"""What the suite found, for people and for programs. Used by `scripts/faults`."""

from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from tests.faults.suite import INVARIANTS, Outcome

HELD, BROKEN, NOT_JUDGED = "[green]✓[/]", "[bold red]✗[/]", "[dim]–[/]"


def table(outcomes: Sequence[Outcome], title: str) -> Table:
    """A line a scenario: what was done, each invariant, recovery, memory, what waiting cost of a core."""
    made = Table("fault", "what", *INVARIANTS, title=title)
    for name in ("recovery s", "peak MB", "idle CPU", "commits", "seconds"):
        made.add_column(name, justify="right")
    for one in outcomes:
        recovery = "" if one.recovery_s is None else f"{one.recovery_s:.1f}"
        idle = "" if one.idle_cpu is None else f"{one.idle_cpu:.0%}"
        figures = (recovery, f"{one.peak_mb:.0f}", idle, str(one.commits), f"{one.seconds:.0f}")
        made.add_row(one.name, one.what, *(_sign(one, name) for name in INVARIANTS), *figures)
    return made


def mutation_table(outcomes: Sequence[Outcome], what: dict[str, str]) -> Table:
    """A line a mutation: what was taken out of the product, by which scenario it was played, what turned red."""
    made = Table("mutation", "what is taken out", "played by", *INVARIANTS, "noticed", title="The suite can fail")
    for one in outcomes:
        noticed = "[bold red]no[/]" if one.held else "yes"
        signs = (_sign(one, name) for name in INVARIANTS)
        made.add_row(one.mutation, what[one.mutation], one.name, *signs, noticed)
    return made


def problems(outcomes: Sequence[Outcome]) -> list[str]:
    """Each invariant that was violated, and how."""
    return [
        f"{one.mutation or one.name}: {name}: {problem}"
        for one in outcomes
        for name, found in one.problems.items()
        for problem in found
    ]


def as_json(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    return [asdict(one) | {"held": one.held} for one in outcomes]


def _sign(outcome: Outcome, invariant: str) -> str:
    if invariant in outcome.not_judged:
        return NOT_JUDGED
    return BROKEN if invariant in outcome.problems else HELD
