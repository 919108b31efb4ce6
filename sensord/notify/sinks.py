"""Sinks: where notices go. Each sends one message, and says whether it was taken, refused, or has to be tried again."""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

import msgspec

from sensord.calls import NoAnswer, call
from sensord.detection.alerts import Severity, Status
from sensord.errors import RecordTooLarge, SensordError, SettingsInvalid
from sensord.notify.message import Message, annotations, labels, webhook_body
from sensord.settings import SinkSettings
from sensord.store.incidents import Notice

RETRY_LATER = (408, 425, 429)  # of the 4xx: the request is all right
AHEAD = 4  # re-sends that an Alertmanager may miss before it takes an alert for over
ANSWER = 300  # characters that are kept of an answer
A_POST = 100  # alerts that an Alertmanager is told at once
MOST_PAUSE_S = 3_600.0  # that a receiver may ask for
SECRET_FROM = 6  # characters: what is shorter in a url is a word, not a secret


class Refused(SensordError):
    """For good: to send it again would change nothing. Says what was answered."""


class NotTaken(SensordError):
    """Not now: to be tried again. retry_after_s: what the other side asked for, None where it didn't."""

    def __init__(self, cause: str, retry_after_s: float | None = None) -> None:
        super().__init__(cause)
        self.retry_after_s = retry_after_s


class Sink(Protocol):
    """Sends messages, in the order in which they are given."""

    def send(self, message: Message, now: datetime) -> None:
        """Returns when it was taken. Raises Refused, NotTaken."""
        ...


@runtime_checkable
class Forgetful(Protocol):
    """A sink that has to be told again and again what is open."""

    def remind(self, open_ones: Sequence[Message], now: datetime) -> None:
        """Tell it all that is open. Raises Refused, NotTaken."""
        ...


@dataclass(frozen=True, slots=True)
class Http:
    """POSTs JSON. One try a call: what is to be tried again is tried by whoever knows what else waits."""

    url: str
    timeout_s: float

    def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Raises Refused, NotTaken; neither says anything of the url that may be a secret, even if the answer does."""
        sent = {"Content-Type": "application/json", "User-Agent": "sensord", **headers}
        try:
            answer = call("POST", self.url, self.timeout_s, sent, body)
        except NoAnswer as error:
            raise NotTaken(str(error)) from error
        if 200 <= answer.status < 300:
            return
        said = f"{answer.status}: {self._censored(answer.body.decode(errors='replace'))[:ANSWER]}".strip()
        if answer.status in RETRY_LATER or answer.status >= 500:
            raise NotTaken(said, _seconds(answer.headers.get("Retry-After")))
        raise Refused(said)

    def _censored(self, answer: str) -> str:
        for secret in sorted(_secrets(self.url), key=len, reverse=True):
            answer = answer.replace(secret, "***")
        return answer


def _secrets(url: str) -> Iterator[str]:
    """What of a url may be one: user, password, and every longer word of path and query, as written and as meant."""
    split = urlsplit(url)
    words = [split.username or "", split.password or "", *split.path.split("/")]
    for pair in split.query.split("&"):
        words += pair.split("=")
    for word in words:
        if len(word) >= SECRET_FROM:
            yield from (word, unquote(word))


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL that takes Alertmanager's webhook body, version 4; signed where there is a key."""

    name: str
    http: Http
    key: bytes | None

    def send(self, message: Message, now: datetime) -> None:
        body = msgspec.json.encode(webhook_body(message, self.name))
        headers = {"Idempotency-Key": message.key}
        if self.key is not None:
            stamp = str(int(now.timestamp()))
            headers |= {"X-Sensord-Timestamp": stamp, "X-Sensord-Signature": signature(self.key, stamp, body)}
        self.http.post(body, headers)


def signature(key: bytes, stamp: str, body: bytes) -> str:
    """What X-Sensord-Signature says: HMAC-SHA256 of time stamp, full stop, body."""
    return "sha256=" + hmac.new(key, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Alertmanager:
    """Prometheus' Alertmanager, API version 2. It takes for over what it isn't told again, so it is reminded."""

    http: Http
    resend_s: float

    def send(self, message: Message, now: datetime) -> None:
        self._post([message], now)

    def remind(self, open_ones: Sequence[Message], now: datetime) -> None:
        if open_ones:
            self._post(open_ones, now)

    def _post(self, messages: Sequence[Message], now: datetime) -> None:
        told = [each for message in messages for each in self._told(message, now)]
        for first in range(0, max(len(told), 1), A_POST):
            self.http.post(msgspec.json.encode(told[first : first + A_POST]), {})

    def _told(self, message: Message, now: datetime) -> Iterator[Mapping[str, object]]:
        """Each alert as it is; and where it has become critical, the end of what it was: its labels are other ones."""
        until = now + timedelta(seconds=AHEAD * self.resend_s)
        for alert in message.alerts:
            own = labels(alert, message.incident)
            told = {"annotations": annotations(alert), "startsAt": alert.opened_at.isoformat()}
            ends_at = until if alert.status is Status.OPEN else alert.closed_at or now
            yield {"labels": own, "endsAt": ends_at.isoformat()} | told
            if message.notice.notice is Notice.ESCALATED:
                yield {"labels": own | {"severity": Severity.WARNING.value}, "endsAt": now.isoformat()} | told


@dataclass(frozen=True, slots=True)
class Topic:
    """A Kafka topic: the webhook's body, under the incident as key. write: (key, value, headers), acknowledged."""

    name: str
    write: Callable[[bytes, bytes, Sequence[tuple[str, bytes]]], None]

    def send(self, message: Message, now: datetime) -> None:
        key = f"{message.incident.fleet}/{message.incident.id}".encode()
        body = msgspec.json.encode(webhook_body(message, self.name))
        try:
            self.write(key, body, [("idempotency-key", message.key.encode())])
        except RecordTooLarge as error:
            raise Refused(str(error)) from error
        except SensordError as error:
            raise NotTaken(str(error)) from error


@dataclass(frozen=True, slots=True)
class Apprise:
    """Whatever apprise reaches: mail, chats, pagers. notify: (title, text), False where it didn't work."""

    notify: Callable[[str, str], bool]

    def send(self, message: Message, now: datetime) -> None:
        if not self.notify(message.title, message.text):
            raise NotTaken("apprise could not deliver it; its own log lines say why")


def build(name: str, settings: SinkSettings, write: Callable[..., None] | None = None) -> Sink:
    """The sink of these settings. write: of a topic. Raises SettingsInvalid where apprise isn't installed."""
    url = "" if settings.url is None else settings.url.get_secret_value()
    if settings.kind == "webhook":
        key = None if settings.secret is None else settings.secret.get_secret_value().encode()
        return Webhook(name, Http(url, settings.timeout_s), key)
    if settings.kind == "alertmanager":
        address = url.rstrip("/") + "/api/v2/alerts"
        return Alertmanager(Http(address, settings.timeout_s), settings.resend_s)
    if settings.kind == "kafka":
        assert write is not None  # noqa: S101  # the caller's part
        return Topic(name, write)
    return _apprise(name, url)


def _apprise(name: str, url: str) -> Sink:
    try:
        import apprise  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise SettingsInvalid(
            f"sinks.{name}: kind apprise needs it installed: pip install 'sensord[notify]'"
        ) from error
    client = apprise.Apprise()
    if not client.add(url):
        raise SettingsInvalid(f"sinks.{name}.url is nothing that apprise knows; see its list of services")
    return Apprise(lambda title, text: bool(client.notify(title=title, body=text)))


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After, where it gives seconds; not taken for more than an hour."""
    if retry_after is None or not (retry_after.isascii() and retry_after.isdigit()):
        return None
    return min(float(retry_after[:20]), MOST_PAUSE_S)
