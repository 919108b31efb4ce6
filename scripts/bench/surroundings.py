"""What a benchmark runs on: its servers, its machine. Used by all of them."""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from tests.services import ServerUnavailable, apache_kafka, embedded_kafka, postgresql

SQLITE = "sqlite"
Command = TypeVar("Command", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Servers:
    """Where they listen, and what they are. store: None for SQLite."""

    kafka: str
    kafka_is: str
    store: str | None
    store_is: str


@contextmanager
def servers(kafka: str | None, store: str | None) -> Iterator[Servers]:
    """Those that were named; else own ones, the next best where the best can't be had."""
    with ExitStack() as stack:
        kafka_is, store_is = "as given", "SQLite" if store == SQLITE else "as given"
        if kafka is None:
            try:
                kafka, kafka_is = stack.enter_context(apache_kafka()).address, "Apache Kafka"
            except ServerUnavailable as error:
                kafka, kafka_is = stack.enter_context(embedded_kafka()).address, f"embedded broker ({error})"
        if store is None:
            try:
                store, store_is = stack.enter_context(postgresql()).address, "PostgreSQL"
            except ServerUnavailable as error:
                store, store_is = SQLITE, f"SQLite ({error})"
        yield Servers(kafka, kafka_is, None if store == SQLITE else store, store_is)


def server_options(command: Command) -> Command:
    """--kafka and --store, as `servers` takes them."""
    store = click.option(
        "--store",
        envvar="SENSORD_TEST_POSTGRES",
        help="postgresql://..., beside which databases are made, or sqlite; else a PostgreSQL of its own, or SQLite.",
    )
    kafka = click.option(
        "--kafka",
        envvar="SENSORD_TEST_KAFKA",
        help="Broker, HOST:PORT; else an Apache Kafka or embedded one of its own.",
    )
    return kafka(store(command))


def machine() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return {"processor": processor, "cores": str(os.cpu_count()), "load": f"{os.getloadavg()[0]:.1f}"}


def anonymous_mb(pid: int) -> float:
    """Of a process and all that it started; 0 of what has ended."""
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        own = [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("RssAnon:")]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return sum(own) + sum(anonymous_mb(int(child)) for child in children)
    return 0.0
