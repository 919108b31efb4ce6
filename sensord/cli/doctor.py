"""`sensord doctor`: everything that a daemon needs, tried; what is wrong, and what mends it."""

from collections.abc import Iterator

import click

from sensord.cli.checks import bundles, database, machine, topics
from sensord.cli.checks.findings import Finding, Verdict, exit_code
from sensord.cli.context import CONNECT_TIMEOUT_S, engine_of, settings_of
from sensord.cli.output import Column, Format, format_option, write
from sensord.settings import Settings
from sensord.store.progress import Progress

STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILURE: "bold red"}
COLUMNS = (
    Column[Finding]("", lambda row: row.verdict.value, style=lambda row: STYLES[row.verdict]),
    Column[Finding]("where", lambda row: row.area),
    Column[Finding]("what", lambda row: row.subject),
    Column[Finding]("found", lambda row: row.found),
    Column[Finding]("remedy", lambda row: row.remedy),
)


@click.command("doctor")
@click.option(
    "--timeout-s", type=click.FloatRange(min=0.1), default=CONNECT_TIMEOUT_S, show_default=True, help="Of each try."
)
@format_option()
@click.pass_context
def doctor(ctx: click.Context, timeout_s: float, form: Format) -> None:
    """Try everything that a daemon with these settings needs: say what is wrong, and what mends it.

    Changes nothing, joins no group, and may run beside a daemon. Ends with 0 where nothing failed, whatever it warns
    of; else with the code that the daemon would end with.
    """
    settings = settings_of(ctx, {"log.level": "error"})
    findings = list(_examine(settings, timeout_s))
    write(findings, Finding, form, COLUMNS)
    ctx.exit(exit_code(findings))


def _examine(settings: Settings, timeout_s: float) -> Iterator[Finding]:
    yield from machine.look(settings)
    of_database = list(database.look(settings.store, timeout_s))
    yield from of_database
    progress = []
    if not exit_code(of_database):
        with engine_of(settings.store, timeout_s) as engine:
            yield from bundles.look(settings, engine)
            progress = Progress(engine).partitions()
    yield from topics.look(settings, progress, timeout_s)
