"""Servers, topics and oracles, made once and used by every scenario. Built by `suite` and by the tests."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psycopg
from kafka.admin import KafkaAdminClient
from sqlalchemy import NullPool, create_engine

from sensord.model.bundle import Packed
from sensord.store.database import open_engine, upgrade
from sensord.store.registry import Registry
from tests.builders import START, packed
from tests.faults import ledger
from tests.faults.invariants import Tables
from tests.faults.servers import Broker, Postgres
from tests.faults.trial import FLEET, PATIENCE_S, Trial, wait_until
from tests.faults.workload import Message, Workload, Written, write

TEMPLATE = "faults_template"
GOLDEN_RATE = 1e9
ORACLE_RATE = 1_000.0  # records a second that it reads at the very least, on a busy machine


@dataclass
class Topic:
    """A topic and what it holds. fleet_settings and so on: of every trial that plays on it."""

    name: str
    written: Written
    fleet_settings: str = ""
    commit_interval_s: float = 0.1
    patience_s: float = PATIENCE_S


@dataclass
class Stage:
    """kafka: HOST:PORT. broker: the process behind it where it is ours to kill, else None. rate: readings a second."""

    folder: Path
    kafka: str
    broker: Broker | None
    postgres: Postgres
    workload: Workload
    rate: float
    topics: dict[str, Topic] = field(default_factory=dict)
    _golden: dict[str, Tables] = field(default_factory=dict)
    _main: Topic | None = None

    # --- topics ------------------------------------------------------------------------------------------------------

    @contextmanager
    def admin(self) -> Iterator[KafkaAdminClient]:
        admin = KafkaAdminClient(bootstrap_servers=self.kafka)
        try:
            yield admin
        finally:
            admin.close()

    def create_topic(self, partitions: int, name: str = "") -> Topic:
        """An empty topic whose records never expire by their age."""
        name = name or f"faults.{uuid4().hex[:8]}"
        kept = {"retention.ms": "-1"}
        with self.admin() as admin:
            admin.create_topics(
                {name: {"num_partitions": partitions, "replication_factor": 1, "configs": kept}}, wait_for_metadata=True
            )
        return self.topics.setdefault(name, Topic(name, Written()))

    def recreate(self, topic: Topic) -> None:
        """Put an empty topic of the same name in its place."""
        partitions = len(topic.written.ends)
        with self.admin() as admin:
            admin.delete_topics([topic.name])
            wait_until(lambda: topic.name not in admin.list_topics(), "the topic was gone")
        topic.written.ends.clear()
        topic.written.injected.clear()
        self._golden.pop(topic.name, None)
        self.create_topic(partitions, topic.name)

    def write(self, topic: Topic, messages: Iterable[Message]) -> None:
        write(self.kafka, topic.name, messages, topic.written)
        self._golden.pop(topic.name, None)

    def main_topic(self) -> Topic:
        """The workload, written when it is first asked for; scenarios leave it as it is."""
        if self._main is None:
            self._main = self.create_topic(self.workload.partitions)
            self.write(self._main, self.workload.messages())
        return self._main

    def delete_topics(self) -> None:
        with self.admin() as admin:
            admin.delete_topics(list(self.topics))

    # --- databases and trials ----------------------------------------------------------------------------------------

    def url(self, database: str, port: int | None = None) -> str:
        return f"postgresql://postgres@127.0.0.1:{port or self.postgres.port}/{database}"

    def sql(self, *statements: str) -> None:
        """Run statements beside the trials' databases."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as admin:
            for statement in statements:
                admin.execute(statement.encode())

    def prepare(self, model: Packed) -> None:
        """Make the database that every trial's is copied from: the schema, the ledger, a current bundle."""
        self.sql(f"CREATE DATABASE {TEMPLATE}")
        engine = open_engine(self.url(TEMPLATE))
        try:
            upgrade(engine)
            ledger.install(engine)
        finally:
            engine.dispose()
        promote(self.url(TEMPLATE), model)

    @contextmanager
    def trial(self, topic: Topic, mutation: str = "") -> Iterator[Trial]:
        """A fresh database and group for one scenario; no daemon and no fault of it outlives the block."""
        name = f"faults_{uuid4().hex[:8]}"
        folder = self.folder / name
        folder.mkdir()
        self.sql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        engine = create_engine(self.url(name).replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
        ends = topic.written.ends
        trial = Trial(
            folder=folder,
            kafka=self.kafka,
            store=self.url(name),
            topic=topic.name,
            ends=ends,
            engine=engine,
            rate=self.rate,
            mutation=mutation,
            fleet_settings=topic.fleet_settings,
            commit_interval_s=topic.commit_interval_s,
            patience_s=topic.patience_s,
        )
        try:
            yield trial
        finally:
            trial.clear_away()
            self.mend()
            self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def mend(self) -> None:
        """Every server runs and every cable is whole."""
        for server in filter(None, (self.postgres, self.broker)):
            server.proxy.mend()
            if server.pid:
                server.thaw()
            server.start()

    def golden(self, topic: Topic) -> Tables:
        """What one uninterrupted daemon leaves of a topic; played once as long as nothing is written to it."""
        if topic.name not in self._golden:
            with self.trial(topic) as trial:
                trial.rate = GOLDEN_RATE
                trial.start()
                trial.finish(PATIENCE_S + trial.total / ORACLE_RATE)
                self._golden[topic.name] = Tables.of(trial.engine)
        return self._golden[topic.name]


def model(seed: int = 0, channels: tuple[str, ...] = ("heat", "noise")) -> Packed:
    """A bundle as wide as a real one: narrower ones would hide what padding is for."""
    return packed(channels, fleet=FLEET, hidden=32, seed=seed)


def promote(url: str, model: Packed) -> str:
    """Publish a bundle in a database and make it current, as its administrator would; returns its id."""
    engine = open_engine(url)
    try:
        registry = Registry(engine)
        registry.publish(FLEET, model.bundle_id, model.manifest, model.weights, model.sha256, START, "ann")
        return registry.promote(FLEET, model.bundle_id, START, "ann")
    finally:
        engine.dispose()


@contextmanager
def staged(kafka: str, broker: Broker | None, postgres: Postgres, workload: Workload, rate: float) -> Iterator[Stage]:
    """A stage whose topics and databases are gone afterwards."""
    with TemporaryDirectory(prefix="sensord-faults-") as folder:
        stage = Stage(Path(folder), kafka, broker, postgres, workload, rate)
        stage.prepare(model())
        try:
            yield stage
        finally:
            stage.delete_topics()


Play = Callable[[Stage, Trial], None]
