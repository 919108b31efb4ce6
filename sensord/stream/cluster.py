"""The way to a Kafka cluster: how each client connects, and which topics there are. Used by this room's other doors."""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar, cast
from uuid import UUID

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove
from kafka.errors import KafkaError, TopicAlreadyExistsError
from kafka.net.compat import KafkaNetClient

from sensord.errors import AccessRefused, SensordError, Unreachable
from sensord.settings import KafkaSettings
from sensord.stream.client import network_client

DEFAULT_START_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_MS = 9_000
RETRY_S = 0.25
REFUSED_AFTER_S = 5.0  # by then every broker has had its say; to go on with a wrong password would lock accounts
OTHER_PROTOCOL = ("Invalid frame length", "socket disconnected", "WRONG_VERSION_NUMBER")
NOT_TRUSTED, NOT_LET_IN = "CERTIFICATE_VERIFY_FAILED", "SaslAuthenticationFailedError"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the cluster knows it; id is "" where the broker has none."""

    name: str
    id: str
    partitions: int


class Cluster:
    """A connection for questions about topics; a context manager.

    Raises Unreachable when no broker answers within timeout_s, and blocks until then; AccessRefused sooner.
    """

    def __init__(self, settings: KafkaSettings, timeout_s: float = DEFAULT_START_TIMEOUT_S) -> None:
        self._servers = settings.bootstrap_servers
        self._admin = connected(settings, timeout_s, lambda config: KafkaAdminClient(**config))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def topic(self, name: str) -> Topic | None:
        """A topic as it is now, None where it doesn't exist. Raises Unreachable."""
        return self._topics([name]).get(name)

    def wait_for(self, names: Iterable[str], timeout_s: float) -> dict[str, Topic]:
        """The topics, once all exist. Raises Unreachable, which names the missing ones."""
        wanted = sorted(set(names))
        deadline = time.monotonic() + timeout_s
        while True:
            found = self._topics(wanted)
            missing = [name for name in wanted if name not in found]
            if not missing:
                return found
            if time.monotonic() >= deadline:
                topics = "topic" if len(missing) == 1 else "topics"
                raise Unreachable(f"Kafka at {self._servers} has no {topics} {', '.join(missing)}; create it first")
            time.sleep(RETRY_S)

    def create(
        self, name: str, partitions: int, retention_ms: int | None = None, other: Mapping[str, str] | None = None
    ) -> bool:
        """Create a topic; False where it exists already. Raises SensordError when refused.

        retention_ms: -1 keeps records of any age; None leaves it to the broker, which often means 7 days.
        other: more settings of the topic, by Kafka's names.
        """
        configs = dict(other or {}) | ({} if retention_ms is None else {"retention.ms": str(retention_ms)})
        topic = {name: {"num_partitions": partitions, "replication_factor": -1, "configs": configs}}
        try:
            self._admin.create_topics(topic, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            return False
        except KafkaError as error:
            raise SensordError(f"Kafka at {self._servers} did not create topic {name}: {error}") from error
        return True

    def dismiss(self, group_id: str, members: Sequence[str]) -> None:
        """Take these out of a group. Where the broker refuses, or doesn't know them, they end with their session."""
        if not members:
            return
        with suppress(KafkaError):
            self._admin.remove_group_members(group_id, [MemberToRemove(member_id=name) for name in members])

    def retention_ms(self, name: str) -> int | None:
        """How old a record of this topic may grow, by its time stamp; None where there is no limit, or none is told."""
        asked = [ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": None})]
        try:
            found = self._admin.describe_configs(asked, config_filter="all")
        except KafkaError:
            return None  # an older or foreign broker
        told = found.get("topic", {}).get(name, {}).get("retention.ms", {}).get("value")
        return None if told is None or int(told) < 0 else int(told)

    def delete(self, name: str) -> None:
        """Delete a topic. Raises SensordError when refused."""
        try:
            self._admin.delete_topics([name])
        except KafkaError as error:
            raise SensordError(f"Kafka at {self._servers} did not delete topic {name}: {error}") from error

    def close(self) -> None:
        self._admin.close()

    def _topics(self, names: list[str]) -> dict[str, Topic]:
        try:
            found = self._admin.describe_topics(names)
        except KafkaError as error:
            raise Unreachable(f"Kafka at {self._servers} did not answer: {error}") from error
        return {
            topic["name"]: Topic(topic["name"], _id(topic["topic_id"]), len(topic["partitions"]))
            for topic in found
            if topic["error_code"] == 0 and topic["partitions"]
        }


def connected(settings: KafkaSettings, timeout_s: float, build: Callable[[dict[str, Any]], T]) -> T:
    """What build makes of the connection's configuration. Raises Unreachable, with address and cause, or AccessRefused.

    A client's constructor waits for a broker, and for ever where a TLS peer accepts and goes silent: hence the thread.
    """
    with _kafka_complaints() as complaints:
        attempt = _Attempt(build, settings, time.monotonic() + timeout_s, complaints)
        thread = threading.Thread(target=attempt.run, name="kafka-connect", daemon=True)
        thread.start()
        thread.join(timeout_s + 1)
    if attempt.built:
        return cast(T, attempt.built[0])
    cause = attempt.failed[-1] if attempt.failed else None
    if refused := _refusal(settings, complaints):
        raise refused from cause
    said = complaints[-1] if complaints else str(cause) if cause else "a broker accepts but does not answer"
    if any(sign in said for sign in OTHER_PROTOCOL):
        said += f"; does this listener speak kafka.security_protocol {settings.security_protocol}?"
    raise Unreachable(f"Kafka at {settings.bootstrap_servers}: {said}") from cause


@dataclass(slots=True)
class _Attempt:
    """Builds a client until it stands, the deadline is over, or brokers refuse us; what came of it stays here."""

    build: Callable[[dict[str, Any]], object]
    settings: KafkaSettings
    deadline: float
    complaints: list[str]
    built: list[object] = field(default_factory=list)
    failed: list[Exception] = field(default_factory=list)

    def run(self) -> None:
        while not self.built:
            clients: list[KafkaNetClient] = []  # what a constructor that failed leaves behind
            try:
                self.built.append(self.build(client_config(self.settings) | self._own(clients)))
            except (KafkaError, OSError) as error:
                self.failed.append(error)
                for made in clients:
                    made.close()
                if _refusal(self.settings, self.complaints) or time.monotonic() >= self.deadline:
                    return

    def _own(self, clients: list[KafkaNetClient]) -> dict[str, Any]:
        left = max(self.deadline - time.monotonic(), 0)
        if self.settings.security_protocol != "PLAINTEXT":
            left = min(left, REFUSED_AFTER_S)

        def client(**config: Any) -> KafkaNetClient:
            clients.append(network_client(**config))
            return clients[-1]

        return {"bootstrap_timeout_ms": int(left * 1_000), "kafka_client": client}


def _refusal(settings: KafkaSettings, complaints: Sequence[str]) -> AccessRefused | None:
    """What the brokers' complaints say of who we are, or we of who they are; waiting doesn't mend either."""
    where = f"Kafka at {settings.bootstrap_servers}"
    for said in reversed(complaints):
        if NOT_TRUSTED in said:
            reason = said.partition("certificate verify failed: ")[2].partition(" (_ssl.c")[0].rstrip(".")
            remedy = "kafka.ssl_cafile must hold its authority, kafka.bootstrap_servers a name that it is made out for"
            return AccessRefused(f"{where} shows a certificate that isn't trusted: {reason}; {remedy}")
        if NOT_LET_IN in said:
            user = f"user {settings.sasl_username!r} with {settings.sasl_mechanism}"
            return AccessRefused(f"{where} refuses {user}; check kafka.sasl_username and kafka.sasl_password")
    return None


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """What consumers, producers and admin clients have in common. Never log it: it holds the password."""
    config: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.bootstrap_servers.split(",")],
        "client_id": settings.client_id,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "metadata_max_age_ms": 30_000,
        "reconnect_backoff_max_ms": 5_000,
        "socket_options": [
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        ],
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.endswith("SSL"):
        config["ssl_context"] = _ssl_context(settings)
    if settings.sasl_password is not None:
        config["sasl_mechanism"] = settings.sasl_mechanism
        config["sasl_plain_username"] = settings.sasl_username
        config["sasl_plain_password"] = settings.sasl_password.get_secret_value()
    _silence_debug()
    return config


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ssl_cafile)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ssl_certfile is not None:
        context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile)
    return context


def _silence_debug() -> None:
    """kafka-python prints its configuration, password and all, at DEBUG."""
    log = logging.getLogger("kafka")
    log.setLevel(max(log.getEffectiveLevel(), logging.INFO))


def _id(topic_id: UUID | None) -> str:
    return str(topic_id) if topic_id else ""


class _Complaints(logging.Handler):
    """Collects what kafka-python says about failed connections; its exceptions keep it to themselves."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        if "failed: " in (said := record.getMessage()) and not said.startswith("Bootstrap failed"):
            self._said.append(said.partition("failed: ")[2].partition(" (backoff")[0])


@contextmanager
def _kafka_complaints() -> Iterator[list[str]]:
    said: list[str] = []
    log, handler = logging.getLogger("kafka"), _Complaints(said)
    log.addHandler(handler)
    propagate, log.propagate = log.propagate, False
    try:
        yield said
    finally:
        log.propagate = propagate
        log.removeHandler(handler)
