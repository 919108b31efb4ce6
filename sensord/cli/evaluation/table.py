"""An evaluation on the terminal."""

import click
from rich.table import Table

from sensord.cli.evaluation.wording import budget, columns, headline, names, verdict
from sensord.cli.output import console
from sensord.trainer.evaluation.judging import Evaluation

NOTE = (
    "F1, FAR, MAR count readings; found counts faults; precision: of alerts; delay: readings from a fault's start to "
    "its first alert's, median (quartiles)"
)


def show(found: Evaluation) -> None:
    """The model beside the baselines, and what that means."""
    for note in found.trial.notes:
        click.echo(f"note: {note}", err=True)
    called = names(found)
    table = Table(box=None)
    table.add_column("expectation")
    for heading in columns(found.model):
        table.add_column(heading, justify="right")
    for name, result in found.results.items():
        table.add_row(called[name], *columns(result.figures).values())
    console().print(table)
    click.echo(f"{NOTE}; false alarms: per {found.trial.exposure.name}")
    for sentence in (headline(found), budget(found), verdict(found)):
        click.echo(sentence)
