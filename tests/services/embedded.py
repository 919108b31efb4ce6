"""The embedded Kafka-protocol broker (noida-db): no Java, no download; for the demo and as Kafka's understudy."""

import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.kafka import answers
from tests.services.process import Server, ServerUnavailable, free_port, running, temporary_folder


@contextmanager
def embedded_kafka() -> Iterator[Server]:
    """A broker whose topics last as long as the block. Raises ServerUnavailable where the package isn't installed."""
    program = Path(sysconfig.get_path("purelib"), "noida_db", "noida-db")
    if not program.exists():
        raise ServerUnavailable("noida-db isn't installed (extra `demo`)")
    with temporary_folder() as folder:
        port = free_port()
        address = f"127.0.0.1:{port}"
        command = [str(program), "start", "--only", "kafka", "--kafka-port", str(port), "--data-dir", str(folder)]
        with running(command, folder / "server.log", lambda: answers(address)) as pid:
            yield Server(address, pid)
