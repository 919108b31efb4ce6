"""Fixtures that every room may ask for; a server starts when the first test asks for it and lives for the session.

SENSORD_TEST_KAFKA (HOST:PORT) and SENSORD_TEST_POSTGRES (URL of a database beside which others may be created) name own
servers. With CI=true what can't be had fails its tests; elsewhere they are skipped.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn, Protocol
from uuid import uuid4

import psycopg
import pytest
import structlog
from hypothesis import settings
from kafka.admin import KafkaAdminClient
from sqlalchemy.engine import make_url
from xdist.workermanage import WorkerController

from sensord.logs import CHATTY
from tests.services import ServerUnavailable, apache_kafka, embedded_kafka, postgresql

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
MARKS = {"kafka": "kafka", "embedded_broker": "kafka", "postgres_server": "postgres"}
UNDERSTUDY = pytest.StashKey[str]()  # why the embedded broker stands in for Apache Kafka

settings.register_profile("sensord", deadline=None, derandomize=True)  # the same examples everywhere
settings.load_profile("sensord")


class MakeTopic(Protocol):
    """Creates a topic with a fresh name on the `kafka` fixture's broker and returns the name."""

    def __call__(self, partitions: int = 1, configs: Mapping[str, str] | None = None) -> str: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the servers they ask for, so that -m "not kafka" means it."""
    for item in items:
        asked: list[str] = getattr(item, "fixturenames", [])
        for mark in {MARKS[name] for name in asked if name in MARKS}:
            item.add_marker(mark)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: WorkerController) -> None:
    """What a process that ran a share of the tests had to do without, the one that sums up tells."""
    if reason := getattr(node, "workeroutput", {}).get("understudy"):
        node.config.stash[UNDERSTUDY] = reason


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["understudy"] = session.config.stash.get(UNDERSTUDY, None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if reason := config.stash.get(UNDERSTUDY, None):
        terminalreporter.write_line(f"Kafka: the embedded broker stood in for Apache Kafka: {reason}", yellow=True)


@pytest.fixture(autouse=True)
def logs_of_its_own() -> None:
    """No test finds logging as another one's command has set it up: its stream is closed by now."""
    structlog.reset_defaults()
    root = logging.getLogger()
    root.handlers[:] = [each for each in root.handlers if type(each).__module__.startswith("_pytest")]
    root.setLevel(logging.WARNING)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Iterator[str]:
    """HOST:PORT of a real Apache Kafka, or of the embedded broker where that can't be had (the summary says so)."""
    if own := os.environ.get("SENSORD_TEST_KAFKA"):
        yield own
        return
    with ExitStack() as stack:
        try:
            yield stack.enter_context(apache_kafka()).address
        except ServerUnavailable as error:
            pytestconfig.stash[UNDERSTUDY] = str(error)
            yield stack.enter_context(embedded_kafka()).address


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[str]:
    """HOST:PORT of the embedded broker."""
    with embedded_kafka() as server:
        yield server.address


@pytest.fixture
def topic(kafka: str) -> Iterator[MakeTopic]:
    """Makes topics, which last as long as the test."""
    made: list[str] = []

    def make(partitions: int = 1, configs: Mapping[str, str] | None = None) -> str:
        name = f"test.{uuid4().hex[:12]}"
        of_topic = {"num_partitions": partitions, "replication_factor": 1, "configs": dict(configs or {})}
        admin.create_topics({name: of_topic}, wait_for_metadata=True)
        made.append(name)
        return name

    admin = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        yield make
        if made:
            admin.delete_topics(made)
    finally:
        admin.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """SQLAlchemy URL of a database on a real PostgreSQL beside which others may be created."""
    if own := os.environ.get("SENSORD_TEST_POSTGRES"):
        yield own
        return
    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgresql())
        except ServerUnavailable as error:
            missing(str(error))
        yield server.address


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """SQLAlchemy URL of an empty PostgreSQL database, gone after the test."""
    url = make_url(postgres_server)
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True
    ) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield url.set(drivername="postgresql+psycopg", database=name).render_as_string(hide_password=False)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """SQLAlchemy URL of an SQLite file that doesn't exist yet."""
    return f"sqlite:///{tmp_path / 'sensord.db'}"


@pytest.fixture(params=["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest) -> str:
    """SQLAlchemy URL of an empty database: the test runs on SQLite and on PostgreSQL."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the public recordings (SKAB, C-MAPSS) beside the checkout."""
    if not SHARED_DATA.is_dir():
        missing("the recordings of ../shared/data aren't here")
    return SHARED_DATA


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)
