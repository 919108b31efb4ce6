"""`sensord run`: the daemon, or several of them. What needs torch is imported only where a daemon runs."""

import sys
from collections.abc import Sequence

import click
import structlog

from sensord.cli import main
from sensord.cli.context import settings_of
from sensord.clock import SystemClock
from sensord.daemon.signals import Stop
from sensord.daemon.supervisor import Supervisor
from sensord.daemon.workers import Workers
from sensord.errors import EXIT_FAILURE, SettingsInvalid
from sensord.settings import Settings, supervisor_socket

log = structlog.get_logger()


@click.command("run")
@click.option("--accept-gap", is_flag=True, help="Go on where readings are lost, and write a gaps row.")
@click.option(
    "--accept-bad", is_flag=True, help="Go on where more than half of 1,000 readings are bad: dead letters they are."
)
@click.option("--web", is_flag=True, help="Serve the page too, at http.host and http.port.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, help="Processes that share the partitions. [1]")
@click.option("--worker", type=click.IntRange(min=0), hidden=True, help="Which of several this one is.")
@click.pass_context
def run(ctx: click.Context, accept_gap: bool, accept_bad: bool, web: bool, workers: int, worker: int | None) -> None:
    """Watch the fleets: readings in from Kafka, alerts into the database.

    TERM or INT drains and exits with 0; a second one ends at once. What stops the daemon for good has exit code 69
    (Kafka or database unreachable at start), 78 (settings, schema, model or offsets need a person) or 70 (a bug, or a
    main loop that hung).
    """
    settings = settings_of(ctx)
    if not settings.fleets:
        raise SettingsInvalid('no fleet: add [fleets.NAME] with topics = ["TOPIC"] to the settings')
    if web and settings.http.port is None:
        raise SettingsInvalid("--web: set http.port, which the page is served at")
    if workers > 1:
        ctx.exit(_share(ctx, settings, workers))
    supervisor = _supervisor(alone=worker is None)
    stop = Stop(settings.daemon.drain_timeout_s)
    stop.listen()
    from sensord.cli.watch import Accept, watch  # noqa: PLC0415  # seconds and hundreds of megabytes

    accept = Accept(accept_gap, accept_bad)
    drained = watch(settings, accept, stop, supervisor, lambda: _reload(ctx, supervisor), worker or 0, web)
    if not drained:
        ctx.exit(EXIT_FAILURE)


def _share(ctx: click.Context, settings: Settings, workers: int) -> int:
    """Have this command line run by several processes."""
    if settings.store.is_file:
        raise SettingsInvalid("--workers needs PostgreSQL: one daemon at a time may write to an SQLite database")
    root = ctx.find_root().params
    arguments = ["--config", str(root["config"])] if root["config"] is not None else []
    arguments += ["--traceback"] if root["traceback"] else []
    arguments += [
        "run",
        *(f"--{name.replace('_', '-')}" for name in ("accept_gap", "accept_bad", "web") if ctx.params[name]),
    ]
    return Workers(workers, _work, arguments, _supervisor(alone=True)).run()


def _supervisor(alone: bool) -> Supervisor:
    """Told by this process, unless it is one of several: then by the one that started them."""
    return Supervisor(supervisor_socket() if alone else None, SystemClock())


def _reload(ctx: click.Context, supervisor: Supervisor) -> None:
    """Read the settings again; what logs look like changes at once. Where they are bad, the old ones stay."""
    supervisor.reloading()
    before = ctx.find_root().obj
    try:
        after = settings_of(ctx)
    except SettingsInvalid as error:
        log.error("not reloaded, the old settings stay", cause=str(error))
    else:
        ctx.find_root().obj = before.model_copy(update={"log": after.log})
        later = [
            name for name in type(after).model_fields if name != "log" and getattr(after, name) != getattr(before, name)
        ]
        log.info("reloaded", only_after_a_restart=later)
    supervisor.ready()


def _work(arguments: Sequence[str]) -> None:
    sys.exit(main.run(arguments))
