"""Apache Kafka: one KRaft node, broker and controller in one process, from Maven Central's jars.

`secured_kafka` is another such node whose clients need TLS and SCRAM.
"""

import base64
import fcntl
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from tests.services.certificates import Authority
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
listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller_port}{second}
advertised.listeners=PLAINTEXT://{address}{second_told}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECOND:{second_protocol}
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
SECURED = """\
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.second.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.enabled.protocols=TLSv1.2,TLSv1.3
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
"""
MECHANISM = "SCRAM-SHA-512"


@dataclass(frozen=True, slots=True)
class SecuredServer:
    """A broker whose address wants TLS and SCRAM-SHA-512.

    stranger: the same listener by a name that its certificate lacks. unsecured: a plain listener of the same broker, as
    the tests' own back door.
    """

    address: str
    stranger: str
    unsecured: str
    cafile: Path
    other_cafile: Path
    username: str
    password: str


@contextmanager
def apache_kafka() -> Iterator[Server]:
    """A broker whose topics last as long as the block.

    Raises ServerUnavailable where Java is missing or the jars can neither be found nor fetched.
    """
    with temporary_folder() as folder:
        address = f"127.0.0.1:{free_port()}"
        with serving(formatted(folder, address), address) as pid:
            yield Server(address, pid)


@contextmanager
def secured_kafka(password: str, username: str = "sensord") -> Iterator[SecuredServer]:
    """As `apache_kafka`, with a listener for this user alone whose certificate is of an authority of its own.

    Whatever has no ACL is everybody's; on the plain listener nothing is forbidden.
    """
    with temporary_folder() as folder:
        authority, other = Authority("tests"), Authority("strangers")
        (folder / "ca.pem").write_bytes(authority.certificate)
        (folder / "other-ca.pem").write_bytes(other.certificate)
        keystore = folder / "keystore.pem"
        keystore.write_bytes(authority.issue("127.0.0.1"))
        plain, port = f"127.0.0.1:{free_port()}", free_port()
        listener = Listener("SASL_SSL", f"127.0.0.1:{port}", more=SECURED.format(keystore=keystore))
        user = f"{MECHANISM}=[name={username},password={password}]"
        with serving(formatted(folder, plain, listener, ["--add-scram", user]), plain):
            yield SecuredServer(
                address=f"127.0.0.1:{port}",
                stranger=f"localhost:{port}",
                unsecured=plain,
                cafile=folder / "ca.pem",
                other_cafile=folder / "other-ca.pem",
                username=username,
                password=password,
            )


@dataclass(frozen=True, slots=True)
class Listener:
    """A broker's second listener. told: where its clients are told to connect to, a proxy, say; more: settings."""

    protocol: str
    address: str
    told: str = ""
    more: str = ""


def formatted(folder: Path, address: str, second: Listener | None = None, options: Sequence[str] = ()) -> Path:
    """Prepare an empty broker in a folder; returns its settings file."""
    settings = folder / "server.properties"
    settings.write_text(
        SETTINGS.format(
            address=address,
            controller_port=free_port(),
            folder=folder,
            second=f",SECOND://{second.address}" if second else "",
            second_told=f",SECOND://{second.told or second.address}" if second else "",
            second_protocol=second.protocol if second else "PLAINTEXT",
        )
        + (second.more if second else "")
    )
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    form = [f"--cluster-id={cluster_id}", "-c", str(settings), *options]  # an id may begin with a hyphen
    must_run([*_java(), "kafka.tools.StorageTool", "format", *form])
    return settings


@contextmanager
def serving(settings: Path, address: str) -> Iterator[int]:
    """Run the broker of a settings file until the block ends; yields its process id."""
    command = [*_java(), "kafka.Kafka", str(settings)]
    with running(command, settings.with_name("server.log"), lambda: answers(address)) as pid:
        yield pid


def _java() -> list[str]:
    return [*JAVA, "-cp", f"{fetched()}/*"]


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
