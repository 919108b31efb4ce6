"""The test servers serve, and leave nothing behind however they end."""

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from kafka import KafkaConsumer, KafkaProducer
from sqlalchemy.engine import make_url

from tests.conftest import MakeTopic
from tests.services import embedded_kafka
from tests.services.kafka import answers
from tests.services.process import FOLDERS, temporary_folder

ROOT = Path(__file__).parents[1]
Keeper = subprocess.Popen[bytes]


def close_input(keeper: Keeper) -> None:
    assert keeper.stdin
    keeper.stdin.close()


def test_kafka_gives_back_what_it_was_given(kafka: str, topic: MakeTopic) -> None:
    name = topic(partitions=2)
    producer = KafkaProducer(bootstrap_servers=kafka)
    for partition in (0, 1):
        producer.send(name, b"reading", partition=partition)
    producer.close()

    consumer = KafkaConsumer(name, bootstrap_servers=kafka, auto_offset_reset="earliest", consumer_timeout_ms=20_000)
    partitions = {next(consumer).partition for _ in range(2)}
    consumer.close()

    assert partitions == {0, 1}


def test_the_embedded_broker_answers(embedded_broker: str) -> None:
    assert answers(embedded_broker)


def test_each_test_gets_an_empty_database(postgres_url: str) -> None:
    with psycopg.connect(make_url(postgres_url).set(drivername="postgresql").render_as_string(False)) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()

    assert tables == (0,)


def test_a_server_is_gone_when_its_block_ends() -> None:
    with embedded_kafka() as server:
        folder = Path(f"/proc/{server.pid}/cwd").readlink()

    assert not Path(f"/proc/{server.pid}").exists()
    assert not folder.exists()


@pytest.mark.parametrize("end", [close_input, Keeper.terminate, Keeper.kill])
def test_a_server_does_not_outlive_its_keeper(end: Callable[[Keeper], None]) -> None:
    with keeping("embedded") as keeper:
        end(keeper)


def test_what_a_killed_keeper_left_is_swept_by_the_next() -> None:
    with keeping("embedded") as keeper:
        (folder,) = Path(tempfile.gettempdir()).glob(f"{FOLDERS}{keeper.pid}-*")
        keeper.kill()

    with temporary_folder():
        assert not folder.exists()


@pytest.mark.usefixtures("postgres_server")
def test_postgres_does_not_outlive_its_keeper() -> None:
    with keeping("postgres") as keeper:
        keeper.kill()


@contextmanager
def keeping(name: str) -> Iterator[Keeper]:
    """Run `scripts/services run NAME`; the block ends the keeper, and then the server has to end too."""
    command = [sys.executable, "-m", "tests.services", "run", name]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout
        assert b"127.0.0.1:" in keeper.stdout.readline()
        (server,) = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split()
        handle = os.pidfd_open(int(server))
        try:
            yield keeper
            assert select.select([handle], [], [], 15)[0], f"{name} lives on"
        except BaseException:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            raise
        finally:
            os.close(handle)
