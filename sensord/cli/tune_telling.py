"""What `sensord tune` says: trials as a table or as JSON, what the best is worth, and how to train with it."""

import shlex
from dataclasses import asdict, dataclass

import click

from sensord.cli.histories import Asked
from sensord.cli.output import Column, Format, write_object, write_table
from sensord.settings import variable
from sensord.texts import figure
from sensord.trainer.search.choice import Choice
from sensord.trainer.search.found import Ended, Found, Tried
from sensord.trainer.search.merit import Figures

SHOWN = 8  # of the best trials
LUCK = 0.05  # what happens by chance as often as this may be chance


@dataclass(frozen=True, slots=True)
class Judged:
    """A row of the last judgement."""

    who: str
    figures: Figures


def one_line(tried: Tried) -> str:
    """A trial as it is done."""
    if tried.figures is None:
        return f"trial {tried.number}: its fit ran away"
    figures = tried.figures
    return (
        f"trial {tried.number}: finds {figures.found} of {figures.faults} planted faults, false alarms: "
        f"{figures.alarms}, "
        f"error {figures.error:.4g}, merit {figures.merit:.3f}"
    )


def show(found: Found, form: Format, asked: Asked) -> None:
    """On stdout."""
    if form is Format.JSON:
        write_object(_figures_of(found, asked))
        return
    best = sorted(found.tried, key=lambda tried: -tried.merit)[:SHOWN]
    others = [tried for tried in best if tried is not found.first]
    write_table([found.first, *others], _COLUMNS)
    click.echo(f"\n{_ending(found)}; trial 0 are the settings in force")
    if found.unseen is not None:
        click.echo("\non the last quarter of the history, which no trial saw:")
        rows = [Judged(f"trial {found.best.number}", found.unseen.mine), Judged("trial 0", found.unseen.theirs)]
        write_table(rows, _JUDGED)
        click.echo()
    click.echo(worth(found))
    if found.unseen is not None:
        click.echo(f"\ntrial {found.best.number} as settings:\n\n{as_toml(found.best.choice)}")
        click.echo(f"\nor for once:\n\n{command_of(found.best.choice, asked)}")


def worth(found: Found) -> str:
    """What tuning gains, in a sentence."""
    if found.unseen is None:
        return "tuning gains nothing: no trial does better than the settings in force"
    duel = found.unseen
    differ = (
        f"it finds {duel.won} planted faults that they miss, misses {duel.lost} that they find, and raises "
        f"{duel.mine.alarms} false alarms to their {duel.theirs.alarms}"
    )
    if not found.gains:
        return (
            f"tuning gains nothing: trial {found.best.number} does no better there than the settings in force; {differ}"
        )
    luck = ", which may be chance" if duel.chance >= LUCK else ", which is more than chance"
    return f"trial {found.best.number} does better there than the settings in force: {differ}{luck}"


def as_toml(choice: Choice) -> str:
    """The group of settings, for the file."""
    values = ((name, f'"{value}"' if isinstance(value, str) else value) for name, value in choice.settings().items())
    return "\n".join(["[trainer]", *(f"{name} = {value}" for name, value in values)])


def command_of(choice: Choice, asked: Asked) -> str:
    """A command line that trains with the settings, on all the history that was asked for."""
    variables = [f"{variable(('trainer', name))}={value}" for name, value in choice.settings().items()]
    return " ".join([*variables, "sensord train", *map(shlex.quote, asked.arguments())])


def _ending(found: Found) -> str:
    why = {Ended.TRIALS: "", Ended.TIME: ", as time was up", Ended.INTERRUPTED: ", interrupted"}[found.ended]
    count = len(found.tried)
    return f"{count} trial{'s' * (count != 1)}{why}"


def _figures_of(found: Found, asked: Asked) -> dict[str, object]:
    """All of it, for programs."""
    duel = found.unseen
    return {
        "trials": [_trial(tried) for tried in found.tried],
        "ended": found.ended,
        "best": found.best.number,
        "settings": {f"trainer.{name}": value for name, value in found.best.choice.settings().items()},
        "command": command_of(found.best.choice, asked),
        "unseen": None
        if duel is None
        else {
            "best": asdict(duel.mine) | {"merit": duel.mine.merit},
            "in_force": asdict(duel.theirs) | {"merit": duel.theirs.merit},
            "won": duel.won,
            "lost": duel.lost,
            "chance": duel.chance,
        },
        "gains": found.gains,
    }


def _trial(tried: Tried) -> dict[str, object]:
    figures = tried.figures
    return {
        "number": tried.number,
        "settings": {f"trainer.{name}": value for name, value in tried.choice.settings().items()},
        "figures": None if figures is None else asdict(figures),
        "merit": None if figures is None else figures.merit,
    }


def _column(name: str, right: bool = True) -> Column[Tried]:
    def text(tried: Tried) -> str:
        value = tried.choice.settings()[name]
        return value if isinstance(value, str) else figure(value)

    return Column[Tried](name, text, right)


def _found(figures: Figures | None) -> str:
    return "" if figures is None else f"{figures.found} of {figures.faults}"


def _alarms(figures: Figures | None) -> str:
    return "" if figures is None else f"{figures.alarms} ({figures.allowed:.2g} allowed)"


def _error(figures: Figures | None) -> str:
    return figure(None if figures is None else figures.error)


def _merit(figures: Figures | None) -> str:
    return "" if figures is None else f"{figures.merit:.3f}"


_COLUMNS = (
    Column[Tried]("trial", lambda tried: str(tried.number), right=True),
    _column("cell", right=False),
    _column("hidden"),
    _column("steps"),
    _column("learning_rate"),
    _column("smoothing"),
    _column("baseline"),
    Column[Tried]("found", lambda tried: _found(tried.figures), right=True),
    Column[Tried]("alarms", lambda tried: _alarms(tried.figures), right=True),
    Column[Tried]("error", lambda tried: _error(tried.figures), right=True),
    Column[Tried]("merit", lambda tried: _merit(tried.figures), right=True),
)
_JUDGED = (
    Column[Judged]("settings", lambda row: row.who),
    Column[Judged]("found", lambda row: _found(row.figures), right=True),
    Column[Judged]("alarms", lambda row: _alarms(row.figures), right=True),
    Column[Judged]("error", lambda row: _error(row.figures), right=True),
    Column[Judged]("merit", lambda row: _merit(row.figures), right=True),
)
