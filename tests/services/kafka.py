"""Apache Kafka: one KRaft node, broker and controller in one process, from Maven Central's jars."""

import base64
import fcntl
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from tests.services.process import Server, ServerUnavailable, free_port, must_run, running, temporary_folder

ROOT = Path(__file__).parents[2]
POM = ROOT / "scripts" / "kafka" / "pom.xml"
JARS = ROOT / ".cache" / "kafka"
DOWNLOAD_TIMEOUT_S = 100  # within a test's time limit, should a test be the first to ask
JAVA = ["java", "-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://{address}
log.dirs={folder}/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
"""


@contextmanager
def apache_kafka() -> Iterator[Server]:
    """A broker whose topics last as long as the block.

    Raises ServerUnavailable where Java is missing or the jars can neither be found nor fetched.
    """
    with temporary_folder() as folder:
        address = f"127.0.0.1:{free_port()}"
        settings = formatted(folder, address)
        with serving(settings, address) as pid:
            yield Server(address, pid)


def formatted(folder: Path, address: str, second_listener: tuple[str, str] | None = None) -> Path:
    """Prepare an empty broker in a folder; returns its settings file.

    second_listener: where it also listens, and what it tells clients of that listener to connect to: a proxy, say.
    """
    settings = folder / "server.properties"
    text = SETTINGS.format(address=address, controller_port=free_port(), folder=folder)
    settings.write_text(text if second_listener is None else _with_listener(text, *second_listener))
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    must_run([*_java(), "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(settings)])
    return settings


@contextmanager
def serving(settings: Path, address: str) -> Iterator[int]:
    """Run the broker of a settings file until the block ends; yields its process id."""
    command = [*_java(), "kafka.Kafka", str(settings)]
    with running(command, settings.with_name("server.log"), lambda: answers(address)) as pid:
        yield pid


def _java() -> list[str]:
    return [*JAVA, "-cp", f"{fetched()}/*"]


def _with_listener(settings: str, listens: str, tells: str) -> str:
    lines = {
        "listeners=": f",SECOND://{listens}",
        "advertised.listeners=": f",SECOND://{tells}",
    }
    written = [
        line + next((more for key, more in lines.items() if line.startswith(key)), "") for line in settings.splitlines()
    ]
    protocols = "PLAINTEXT:PLAINTEXT,SECOND:PLAINTEXT,CONTROLLER:PLAINTEXT"
    return "\n".join([*written, f"listener.security.protocol.map={protocols}", ""])


def answers(address: str) -> bool:
    """Whether a broker at HOST:PORT tells its metadata."""
    try:
        admin = KafkaAdminClient(bootstrap_servers=address, bootstrap_timeout_ms=1_000)
    except KafkaError:
        return False
    try:
        admin.list_topics()
        return True
    except KafkaError:
        return False
    finally:
        admin.close()


def fetched() -> Path:
    """The folder of the broker's jars, fetched once for each version of the pom."""
    for program in ("java", "mvn"):
        if not shutil.which(program):
            raise ServerUnavailable(f"{program} isn't installed")
    JARS.parent.mkdir(exist_ok=True)
    with JARS.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may start at once
        fetched_for = JARS / "pom.xml"
        if not fetched_for.exists() or fetched_for.read_bytes() != POM.read_bytes():
            _fetch()
            shutil.copy(POM, fetched_for)  # last: says that the folder is whole
    return JARS


def _fetch() -> None:
    shutil.rmtree(JARS, ignore_errors=True)
    command = ["mvn", "-B", "-q", "-f", str(POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    try:
        must_run(["timeout", str(DOWNLOAD_TIMEOUT_S), *command, f"-DoutputDirectory={JARS}"])
    except RuntimeError as error:
        raise ServerUnavailable(f"Maven can't fetch Apache Kafka: {_first_error(error)}") from error


def _first_error(error: RuntimeError) -> str:
    causes = (line.partition("[ERROR] ")[2] for line in str(error).splitlines())
    return next(filter(None, causes), str(error))[:200]
