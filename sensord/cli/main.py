"""`sensord`: the entry point. Finds the command, runs it, and turns what went wrong into one line and an exit code."""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import click

from sensord import __version__
from sensord.cli.lazy import Entry, LazyGroup
from sensord.errors import EXIT_OK, EXIT_SOFTWARE, SensordError

EXIT_INTERRUPTED = 130

COMMANDS = {
    "run": Entry("sensord.cli.run:run", "Watch the fleets: readings in from Kafka, alerts into the database."),
    "alerts": Entry("sensord.cli.alerts:alerts", "List and show alerts, acknowledge them, say what they were."),
    "web": Entry("sensord.cli.web:web", "Serve the page: fleets by health, alerts and why, bundles, status."),
    "report": Entry("sensord.cli.period_report:report", "Write a page about a week, or any stretch of time."),
    "notify": Entry("sensord.cli.notify:notify", "Tell webhooks, Alertmanager, Kafka and others of alerts."),
    "notices": Entry("sensord.cli.notices:notices", "List what sinks were told, and what waits."),
    "incidents": Entry("sensord.cli.notices:incidents", "List alerts with one cause, as they are told together."),
    "windows": Entry("sensord.cli.windows:windows", "Name times, such as maintenance, that tell and teach nothing."),
    "devices": Entry("sensord.cli.devices:devices", "List the devices that were seen."),
    "dead-letters": Entry("sensord.cli.dead_letters:dead_letters", "List what could not become a reading."),
    "train": Entry("sensord.cli.train:train", "Learn a bundle from history, calibrate, evaluate and publish it."),
    "tune": Entry("sensord.cli.tune:tune", "Search by history alone for settings that train better bundles."),
    "model": Entry("sensord.cli.model:model", "List, show, promote, roll back, export and import bundles."),
    "score": Entry("sensord.cli.score:score", "Score files offline, through the daemon's own scoring code."),
    "evaluate": Entry("sensord.cli.evaluate:evaluate", "Measure detection on a labelled data set."),
    "compare": Entry("sensord.cli.compare:compare", "Put cells and baselines side by side on tasks that need memory."),
    "simulate": Entry("sensord.cli.simulate:simulate", "Record a simulated fleet with planted faults and the truth."),
    "record": Entry("sensord.cli.record:record", "Record a topic to a file."),
    "replay": Entry(
        "sensord.cli.replay:replay", "Publish a recording to a topic, or score it under one bundle against another."
    ),
    "db": Entry("sensord.cli.db:db", "Upgrade and check the database's schema."),
    "status": Entry("sensord.cli.status:status", "Show who reads what, how far behind, and with which bundle."),
    "doctor": Entry("sensord.cli.doctor:doctor", "Try everything that a daemon needs; say what mends what is wrong."),
    "inspect": Entry("sensord.cli.inspect:inspect", "Look at messages, guess their format, print settings to paste."),
    "check-config": Entry("sensord.cli.check_config:check_config", "Show the settings in force, and try them."),
    "version": Entry("sensord.cli.version:version", "Show the versions of sensord and what it stands on."),
}


class Failure(click.ClickException):
    """An error of ours on its way out: one line a problem on stderr, and the error's exit code."""

    def __init__(self, error: SensordError, message: str) -> None:
        super().__init__(message or type(error).__name__)
        self.exit_code = error.exit_code  # type: ignore[misc]  # click reads it of the instance too

    def show(self, file: IO[Any] | None = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"sensord: {line}", file=file or sys.stderr)


class Bug(click.ClickException):
    """An error that nobody foresaw, with its traceback; secrets cut out."""

    exit_code = EXIT_SOFTWARE

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file or sys.stderr)
        click.echo("sensord: this is a bug in sensord; the lines above say where", file=file or sys.stderr)


class Root(LazyGroup):
    """The top: answers what commands raise. Whatever it says has no secret in it."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except SensordError as error:
            if ctx.params["traceback"] or _debugging(ctx):
                click.echo(_censored(ctx, "".join(traceback.format_exception(error))), err=True, nl=False)
            raise Failure(error, _censored(ctx, str(error))) from error
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:
            raise Bug(_censored(ctx, "".join(traceback.format_exception(error)).rstrip())) from error


@click.group(cls=Root, entries=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings file; else $SENSORD_CONFIG, /etc/sensord/sensord.toml with conf.d, or ./sensord.toml.",
)
@click.option("--traceback", is_flag=True, help="Show where an error came from.")
@click.version_option(__version__, message="sensord %(version)s")
def sensord(config: Path | None, traceback: bool) -> None:
    """Watch fleets of machines: readings from Kafka, alerts in a database."""


def main() -> None:
    """Run the process's command line and end the process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code."""
    try:
        code = sensord.main(list(arguments), prog_name="sensord", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader left; the interpreter's own flush must not complain either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception:  # noqa: BLE001  # the last place that can say what happened
        traceback.print_exc()
        click.echo("sensord: this is a bug in sensord; the lines above say where", err=True)
        return EXIT_SOFTWARE
    return code if isinstance(code, int) else EXIT_OK


def _censored(ctx: click.Context, text: str) -> str:
    """Without the secrets of the settings, where these were loaded; what says that they can't be names none."""
    if (secrets := getattr(ctx.obj, "secrets", None)) is None:
        return text
    from sensord.logs import Censor  # noqa: PLC0415  # structlog, where something is wrong

    return Censor(secrets())(text)


def _debugging(ctx: click.Context) -> bool:
    """Whether settings were loaded and ask for debug; says nothing about settings that can't be loaded."""
    log = getattr(ctx.obj, "log", None)
    return getattr(log, "level", None) == "debug"
