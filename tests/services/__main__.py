"""scripts/services: the test servers from the command line.

`run NAME` serves in the foreground for another program: it prints the address and lives until its standard input closes
or it gets SIGTERM. `start` and `stop` keep servers in the background for a person, who points the tests at them with
`eval "$(scripts/services env)"`.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

import click

from tests.services import (
    Server,
    ServerUnavailable,
    apache_kafka,
    chromium,
    embedded_kafka,
    kafka,
    kubernetes,
    postgres,
    postgresql,
    promtool,
)
from tests.services.process import STOP_TIMEOUT_S

SERVERS: dict[str, Callable[[], AbstractContextManager[Server]]] = {
    "kafka": apache_kafka,
    "embedded": embedded_kafka,
    "postgres": postgresql,
}
VARIABLES = {"kafka": "SENSORD_TEST_KAFKA", "embedded": "SENSORD_TEST_KAFKA", "postgres": "SENSORD_TEST_POSTGRES"}
NOTES = Path(__file__).parents[2] / ".cache" / "services"  # a file a server: its keeper's process id and its address


@click.group(help=__doc__)
def main() -> None: ...


@main.command()
@click.argument("name", type=click.Choice(list(SERVERS)))
@click.option("--forever", is_flag=True, help="Don't watch standard input.")
def run(name: str, forever: bool) -> None:
    """Serve in the foreground; print the address."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        with SERVERS[name]() as server:
            click.echo(server.address)
            sys.stdout.flush()
            signal.pause() if forever else sys.stdin.buffer.read()
    except ServerUnavailable as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option("--embedded", is_flag=True, help="The embedded broker in place of Apache Kafka.")
def start(embedded: bool) -> None:
    """Start a broker and PostgreSQL in the background."""
    for name in ("embedded" if embedded else "kafka", "postgres"):
        if _keeper(name) is None:
            _start(name)
    _print_env()


@main.command()
def fetch() -> None:
    """Get what the tests need (Kafka's jars, PostgreSQL's programs, promtool, helm, Chromium).

    Says what can't be had.
    """
    for part in (kafka, postgres, promtool, kubernetes, chromium):
        try:
            part.fetched()
        except ServerUnavailable as error:
            click.echo(f"services: {error}", err=True)


@main.command()
def stop() -> None:
    """Stop what `start` started; return when it is gone."""
    for name in SERVERS:
        if keeper := _keeper(name):
            handle = os.pidfd_open(keeper.pid)
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            select.select([handle], [], [], 2 * STOP_TIMEOUT_S)
            os.close(handle)
        (NOTES / name).unlink(missing_ok=True)


@main.command()
def status() -> None:
    """Say what runs where; exit with 1 when nothing does."""
    keepers = {name: keeper for name in SERVERS if (keeper := _keeper(name))}
    for name, keeper in keepers.items():
        click.echo(f"{name:10}{keeper.address}  (process {keeper.pid})")
    sys.exit(0 if keepers else 1)


@main.command()
def env() -> None:
    """Print the variables that point the tests at what runs."""
    _print_env()


def _start(name: str) -> None:
    NOTES.mkdir(parents=True, exist_ok=True)
    with (NOTES / f"{name}.log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.services", "run", name, "--forever"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    address = keeper.stdout.readline().strip() if keeper.stdout else ""
    if not address:
        raise click.ClickException(f"{name} did not start: {(NOTES / f'{name}.log').read_text().strip()}")
    (NOTES / name).write_text(f"{keeper.pid} {address}")


def _keeper(name: str) -> Server | None:
    """The background process that keeps a server, and the server's address; None where it isn't alive."""
    try:
        pid, address = (NOTES / name).read_text().split()
        command = Path("/proc", pid, "cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Server(address, int(pid)) if "tests.services" in command else None


def _print_env() -> None:
    for name, variable in VARIABLES.items():
        if keeper := _keeper(name):
            click.echo(f"export {variable}={keeper.address}")


def _leave(*_: object) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    main(prog_name="scripts/services")
