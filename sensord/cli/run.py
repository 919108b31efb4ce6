"""`sensord run`: the daemon, or several of them. What needs torch is imported only where a daemon runs."""

import sys
from collections.abc import Sequence

import click

from sensord.cli import main
from sensord.cli.context import settings_of
from sensord.daemon.signals import Stop
from sensord.daemon.workers import Workers
from sensord.errors import EXIT_FAILURE, SettingsInvalid
from sensord.settings import Settings


@click.command("run")
@click.option("--accept-gap", is_flag=True, help="Go on where readings are lost, and write a gaps row.")
@click.option(
    "--accept-bad", is_flag=True, help="Go on where more than half of 1,000 readings are bad: dead letters they are."
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, help="Processes that share the partitions. [1]")
@click.option("--worker", type=click.IntRange(min=0), default=0, hidden=True, help="Which of several this one is.")
@click.pass_context
def run(ctx: click.Context, accept_gap: bool, accept_bad: bool, workers: int, worker: int) -> None:
    """Watch the fleets: readings in from Kafka, alerts into the database.

    TERM or INT drains and exits with 0; a second one ends at once. What stops the daemon for good has exit code 69
    (Kafka or database unreachable at start), 78 (settings, schema, model or offsets need a person) or 70 (a bug, or a
    main loop that hung).
    """
    settings = settings_of(ctx)
    if not settings.fleets:
        raise SettingsInvalid('no fleet: add [fleets.NAME] with topics = ["TOPIC"] to the settings')
    if workers > 1:
        ctx.exit(_share(ctx, settings, workers))
    stop = Stop(settings.daemon.drain_timeout_s)
    stop.listen()
    from sensord.cli.watch import Accept, watch  # noqa: PLC0415  # seconds and hundreds of megabytes

    drained = watch(settings, Accept(accept_gap, accept_bad), stop, worker)
    if not drained:
        ctx.exit(EXIT_FAILURE)


def _share(ctx: click.Context, settings: Settings, workers: int) -> int:
    """Have this command line run by several processes."""
    if settings.store.is_file:
        raise SettingsInvalid("--workers needs PostgreSQL: one daemon at a time may write to an SQLite database")
    root = ctx.find_root().params
    arguments = ["--config", str(root["config"])] if root["config"] is not None else []
    arguments += ["--traceback"] if root["traceback"] else []
    arguments += ["run", *(f"--{name.replace('_', '-')}" for name in ("accept_gap", "accept_bad") if ctx.params[name])]
    return Workers(workers, _work, arguments).run()


def _work(arguments: Sequence[str]) -> None:
    sys.exit(main.run(arguments))
