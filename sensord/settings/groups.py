"""What can be set: frozen groups, each with its defaults, units and checks. Each room gets its own group."""

import re
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, FilePath, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "SENSORD_"
DELIMITER = "__"

Seconds = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
FleetName = Annotated[str, Field(pattern=r"^[a-z0-9]([_-]?[a-z0-9])*$", max_length=63)]


class Group(BaseModel):
    """Settings that one room gets whole."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class KafkaSettings(Group):
    """How to reach Kafka; what reliability fixes is no setting."""

    bootstrap_servers: str = "localhost:9092"
    """Brokers to ask first: host:port, separated by commas."""
    group_id: Name = "sensord"
    """Consumer group; processes that share it share the partitions."""
    client_id: Name = "sensord"
    """How the broker's logs and quotas call this client."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Encryption and authentication of the connection."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How to authenticate under SASL_*."""
    sasl_username: str | None = None
    """User under SASL_*."""
    sasl_password: SecretStr | None = None
    """Password under SASL_*; best given as the file `kafka__sasl_password` in a secrets directory."""
    ssl_cafile: FilePath | None = None
    """Authorities that may sign the broker's certificate, PEM; the system's when absent."""
    ssl_certfile: FilePath | None = None
    """This client's certificate, PEM."""
    ssl_keyfile: FilePath | None = None
    """This client's private key, PEM."""
    session_timeout_s: float = Field(45.0, ge=6.0, le=300.0)
    """Silence after which the group gives a process's partitions to others, seconds; a request waits a fifth of it."""
    max_poll_records: int = Field(5_000, ge=1, le=100_000)
    """Most records that one poll returns; fewer where they are so large that they exceed 2 MiB together."""

    @field_validator("bootstrap_servers")
    @classmethod
    def _are_addresses(cls, servers: str) -> str:
        for server in servers.split(","):
            host, _, port = server.strip().rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65_536:
                raise ValueError("give host:port, several separated by commas")
        return servers

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        sasl = {name: getattr(self, name) for name in ("sasl_mechanism", "sasl_username", "sasl_password")}
        wanted = self.security_protocol.startswith("SASL_")
        odd = [name for name, value in sasl.items() if (value is not None) != wanted]
        if odd and wanted:
            raise ValueError(f"security_protocol {self.security_protocol} also needs {', '.join(odd)}")
        if odd:
            raise ValueError(f"{', '.join(odd)} needs security_protocol SASL_SSL or SASL_PLAINTEXT")
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise ValueError("ssl_certfile and ssl_keyfile go together")
        if self.ssl_cafile is not None and not self.security_protocol.endswith("SSL"):
            raise ValueError("ssl_cafile needs security_protocol SSL or SASL_SSL")
        return self


class StoreSettings(Group):
    """Where alerts, progress and bundles are kept."""

    url: SecretStr = SecretStr("sqlite:///sensord.db")
    """Database: sqlite:///FILE or postgresql://USER@HOST:PORT/NAME; never shown, since it may hold a password."""
    password: SecretStr | None = None
    """Password of the database's user; best given as the file `store__password` in a secrets directory."""

    @field_validator("url")
    @classmethod
    def _is_a_database(cls, url: SecretStr) -> SecretStr:
        parts = _split(url)
        if parts.scheme == "sqlite":
            return url
        if parts.scheme not in ("postgresql", "postgresql+psycopg", "postgres") or not parts.path.strip("/"):
            raise ValueError("give sqlite:///FILE or postgresql://USER@HOST:PORT/NAME")
        if "@" in parts.path + parts.query + parts.fragment or parts.fragment:
            raise ValueError("percent-encode special characters of the password, or give it as store.password")
        if "password" in parts.query:
            raise ValueError("give the password as store.password, not as an option of the url")
        return url

    @model_validator(mode="after")
    def _has_one_password(self) -> Self:
        parts = _split(self.url)
        if self.password is not None and (parts.password is not None or parts.username is None):
            raise ValueError("password needs a url that names a user and no password")
        return self

    @property
    def place(self) -> str:
        """The url as people may see it: no password, no options."""
        parts = _split(self.url)
        return f"{parts.scheme}://{parts.netloc.replace(f':{parts.password}@', '@')}{parts.path}"

    @property
    def is_file(self) -> bool:
        """An SQLite database, for one daemon alone."""
        return _split(self.url).scheme == "sqlite"

    @property
    def full_url(self) -> str:
        """The url with driver and password, for the engine alone."""
        url = self.url.get_secret_value()
        if self.password is not None:
            url = url.replace("@", f":{quote(self.password.get_secret_value(), safe='')}@", 1)
        return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)


Format = Literal["json", "mapped", "msgpack", "telegraf", "influx", "thingsboard", "umh", "avro", "sparkplug"]


class MappingSettings(Group):
    """Where messages of other systems say what; where nothing is set, where their format usually says it."""

    device: str = ""
    """Path of the device's name (tags.host), for influx and telegraf the tag; @key: the record's key."""
    time: str = ""
    """Path of the time; @record: the record's own time stamp."""
    time_unit: Literal["auto", "s", "ms", "us", "ns"] = "auto"
    """Unit of a time that is a number; auto: ns for influx, s for telegraf, ms for all others."""
    values: str | None = None
    """Path of the object that has the values; "": the message itself."""
    channel: str = ""
    """Path of a channel's name, where a message has one value; then needs value."""
    value: str = ""
    """Path of that value."""
    quality: str = ""
    """Path of a quality; where it is none of `good`, the message's values count as null."""
    good: tuple[str, ...] = ("good", "GOOD", "Good", "192", "true", "True")
    """Qualities with which values count."""
    rename: dict[str, str] = Field(default_factory=dict)
    """Their names of channels to ours: {tempC = "temperature"}."""
    registry: SecretStr | None = None
    """Address of the schema registry, for avro: http(s)://..., with user and password if it wants them. Never shown."""
    unknown: Literal["ignore", "refuse"] = "ignore"
    """What is done about a channel that the bundle doesn't know: left out, or a dead letter."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if bool(self.channel) != bool(self.value):
            raise ValueError("channel and value go together")
        return self


class LimitSettings(Group):
    """What a channel should stay between, in its unit."""

    low: float | None = Field(None, allow_inf_nan=False)
    """Below it, it should not go."""
    high: float | None = Field(None, allow_inf_nan=False)
    """Above it, it should not go."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("give low, high or both")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError("low must be below high")
        return self


class FleetSettings(Group):
    """One fleet: devices of one kind."""

    topics: tuple[Topic, ...] = Field(min_length=1)
    """Topics that this fleet's readings come from; no other fleet may read them."""
    channels: tuple[Name, ...] | None = Field(None, min_length=1)
    """Channels in order; the current bundle's when absent."""
    units: dict[str, str] = Field(default_factory=dict)
    """Unit of each channel, as people write it: {temperature = "°C"}."""
    alarm_budget: float = Field(0.05, gt=0, le=100)
    """False alarms that a healthy device may cause, per device and day."""
    max_gap_s: Seconds = 300.0
    """Silence after which a device's recurrent state starts afresh, seconds of event time."""
    max_episode_s: Seconds = 86_400.0
    """How long an alert may stay open, seconds of event time; then what it shows is the new normal."""
    silent_periods: float = Field(20.0, ge=0)
    """Sampling periods without a reading, at least max_gap_s and max_future_s, until a device is silent; 0: never."""
    max_future_s: Seconds = 300.0
    """How far a time stamp may lie ahead of the clock before the reading is refused, seconds."""
    allowed_lateness_s: float = Field(0.0, ge=0, le=86_400)
    """How far a reading may be behind its device's youngest, seconds of event time; every reading waits as long."""
    max_devices: int = Field(100_000, ge=1)
    """Most devices that one partition keeps state of; beyond, those not seen for longest are forgotten."""
    decoder: Format = "json"
    """Format of a record's value: our own; any JSON or MessagePack, by mapping; or that of another system."""
    mapping: MappingSettings = Field(default_factory=MappingSettings)
    """Where messages say what; not for json."""
    limits: dict[str, LimitSettings] = Field(default_factory=dict)
    """What channels should stay between, in their units: {temperature = {high = 95.0}}. Drifts are forecast to it."""
    horizon_s: Seconds = 604_800.0
    """A drift that is forecast to reach a limit within so many seconds is critical."""
    align_s: float = Field(0.0, ge=0, le=3_600)
    """For messages with one channel each: over how long those of a device are one reading, seconds; 0: never."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for name, values in (("topics", self.topics), ("channels", self.channels or ())):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"{name} names {', '.join(twice)} twice")
        if self.decoder == "json" and self.mapping != MappingSettings():
            raise ValueError('decoder "json" has no mapping; "mapped" is any JSON')
        if (self.decoder == "avro") != (self.mapping.registry is not None):
            raise ValueError("decoder avro and mapping.registry go together")
        strange = sorted(set(self.units) - set(self.channels)) if self.channels is not None else []
        if strange:
            raise ValueError(f"units names {', '.join(strange)}, which channels does not")
        strange = sorted(set(self.limits) - set(self.channels)) if self.channels is not None else []
        if strange:
            raise ValueError(f"limits names {', '.join(strange)}, which channels does not")
        return self


class DaemonSettings(Group):
    """How often the daemon does what."""

    commit_interval_s: Seconds = 1.0
    """Between two commits of alerts and offsets, seconds; an alert is visible this much later at most."""
    snapshot_interval_s: Seconds = 30.0
    """Between two snapshots of device state, seconds; a restart replays this much at most."""
    poll_timeout_s: Seconds = Field(0.3, le=10)
    """Longest wait of one poll, seconds; a signal is seen this much later at most."""
    start_timeout_s: Seconds = 60.0
    """How long Kafka and the database may stay away at start, seconds; then exit 69."""
    watchdog_s: float = Field(60.0, ge=5)
    """Main loop without a tick before the process ends itself with 70, seconds."""
    drain_timeout_s: Seconds = 15.0
    """How long SIGTERM may take to finish the batch and commit, seconds."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the network is stepped; replays are exact only on the kind of device that took the snapshot."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.snapshot_interval_s < self.commit_interval_s:
            raise ValueError("snapshot_interval_s must be at least commit_interval_s")
        if self.watchdog_s <= 2 * self.poll_timeout_s:
            raise ValueError("watchdog_s must be more than twice poll_timeout_s")
        return self


class HttpSettings(Group):
    """Where the daemon answers whoever watches it."""

    host: str = "127.0.0.1"
    """Address to listen at: 0.0.0.0 or :: to be asked from other machines, as Kubernetes does."""
    port: int | None = Field(None, ge=0, le=65_535)
    """Port of /livez, /readyz and /metrics; 0: any, see the log; absent: none. Each of --workers takes the next one."""


class WebSettings(Group):
    """The page: who may see it, and who may answer alerts on it."""

    host: str = "127.0.0.1"
    """Address that `sensord web` listens at; with `run --web` it is http.host."""
    port: int = Field(8080, ge=0, le=65_535)
    """Port that `sensord web` listens at; 0: any, see the log. With `run --web` it is http.port."""
    token: SecretStr | None = Field(None, min_length=16)
    """What people log in with to answer alerts, and programs send as Bearer; best given as the file `web__token`."""
    public: bool = False
    """Whether whoever reaches the page may read it without the token."""

    def readable(self, host: str) -> bool:
        """Whether a page at this address is read by those alone who are meant to."""
        return self.token is not None or self.public or host in ("127.0.0.1", "::1", "localhost")


class LogSettings(Group):
    """What goes to stderr, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written."""
    format: Literal["auto", "json", "text"] = "auto"
    """Format of a line; auto: text on a terminal, JSON elsewhere."""


class TrainerSettings(Group):
    """What the trainer fits."""

    cell: Literal["lstm", "gru", "rnn", "transformer"] = "lstm"
    """Recurrent cell of the trunk; a transformer looks back over its last 32 readings."""
    hidden: int = Field(32, ge=1, le=1_024)
    """Width of the recurrent state."""
    steps: int = Field(600, ge=1)
    """Optimiser steps of the trunk."""
    learning_rate: float = Field(0.02, gt=0, le=1)
    """Greatest learning rate of these steps, which rises to it and falls again."""
    smoothing: float = Field(15.0, ge=1)
    """Span over which a bundle's residuals are smoothed, readings."""
    baseline: float = Field(200.0, ge=1)
    """Span of the slow baseline that is taken off them, readings."""
    seed: int = Field(0, ge=0)
    """Seed of everything random; the same input and seed give the same bundle."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the trunk is fitted."""
    signing_key: FilePath | None = None
    """Private key, a PEM file that only its owner can read; signs every new bundle."""
    max_age_days: float = Field(30.0, gt=0)
    """Age of the current bundle, days, from which `train --if-needed` learns a new one."""
    new_devices_share: float = Field(0.1, ge=0, le=1)
    """Share of a fleet's devices that came after the current bundle, above which `train --if-needed` learns."""


class ModelSettings(Group):
    """Which bundles are believed, and for how long they are watched."""

    trusted_keys: tuple[FilePath, ...] = ()
    """Public keys, PEM files; a bundle that none of them has signed is refused. Empty: no signature is demanded."""
    probation_s: float = Field(3_600.0, ge=0)
    """After a swap, seconds in which a bundle that does harm is rolled back by itself; 0: never."""


class NotifySettings(Group):
    """How `sensord notify` tells of alerts."""

    group_wait_s: float = Field(10.0, ge=0, le=600)
    """How long the first notice of an incident waits for other devices with the same cause, seconds."""
    forget_s: Seconds = 86_400.0
    """Age of an event, seconds, from which it is told only where its alert is still open."""
    port: int | None = Field(None, ge=0, le=65_535)
    """Port of its own /livez, /readyz and /metrics, at `http.host`; 0: any, see the log; absent: none."""


class SinkSettings(Group):
    """Where notices go."""

    kind: Literal["webhook", "alertmanager", "kafka", "apprise"]
    """What it is; url belongs to all but kafka, topic to kafka, secret to webhook, resend_s to alertmanager."""
    url: SecretStr | None = None
    """Address, http(s)://...; of an Alertmanager up to its path; for apprise, its own form. Never shown."""
    secret: SecretStr | None = None
    """Key that a webhook's body is signed with (HMAC-SHA256); best given as the file `sinks__NAME__secret`."""
    topic: Topic | None = None
    """Topic of the same Kafka, which must exist."""
    fleets: tuple[FleetName, ...] = ()
    """Fleets that are told of; empty: all."""
    least_severity: Literal["warning", "critical"] = "warning"
    """Severity from which it is told."""
    resolved: bool = True
    """Whether the end of an incident is told too."""
    timeout_s: Seconds = Field(10.0, le=60)
    """How long an answer may take, seconds; then it is tried again."""
    resend_s: Seconds = Field(60.0, ge=10)
    """How often an Alertmanager is told what is still open, seconds."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        wanted = "topic" if self.kind == "kafka" else "url"
        if getattr(self, wanted) is None:
            raise ValueError(f"kind {self.kind} needs {wanted}")
        odd = {"url": self.kind == "kafka", "topic": self.kind != "kafka", "secret": self.kind != "webhook"}
        if strange := [name for name, is_odd in odd.items() if is_odd and getattr(self, name) is not None]:
            raise ValueError(f"kind {self.kind} has no {', '.join(strange)}")
        if self.kind in ("webhook", "alertmanager") and self.url is not None:
            scheme = _split(self.url).scheme
            if scheme not in ("http", "https"):
                raise ValueError("url: give http://... or https://...")
        return self


class Settings(BaseSettings):
    """All groups. `load` builds it."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    fleets: dict[FleetName, FleetSettings] = Field(default_factory=dict)
    daemon: DaemonSettings = Field(default_factory=DaemonSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    web: WebSettings = Field(default_factory=WebSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    trainer: TrainerSettings = Field(default_factory=TrainerSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    notify: NotifySettings = Field(default_factory=NotifySettings)
    sinks: dict[FleetName, SinkSettings] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` merged: it remembers where each setting came from."""
        return (init_settings,)

    @model_validator(mode="after")
    def _has_one_fleet_a_topic(self) -> Self:
        owner: dict[str, str] = {}
        for fleet, settings in self.fleets.items():
            for topic in settings.topics:
                if owner.setdefault(topic, fleet) != fleet:
                    raise ValueError(
                        f"fleets {owner[topic]} and {fleet} both read topic {topic}: a topic has one fleet"
                    )
        return self

    def secrets(self) -> frozenset[str]:
        """Every password in every spelling, for whoever has to keep them out of sight."""
        held = [
            secret.get_secret_value()
            for secret in (self.kafka.sasl_password, self.store.password, self.web.token)
            if secret
        ]
        held.append(_split(self.store.url).password or "")
        held += [fleet.mapping.registry.get_secret_value() for fleet in self.fleets.values() if fleet.mapping.registry]
        for sink in self.sinks.values():
            held += [secret.get_secret_value() for secret in (sink.url, sink.secret) if secret]
        return frozenset(form for text in held if text for form in (text, quote(text, safe=""), unquote(text)))


def _split(url: SecretStr) -> SplitResult:
    """The url's parts. Raises ValueError without a word of the url: it may hold a password."""
    try:
        parts = urlsplit(url.get_secret_value())
        _ = parts.port
    except ValueError:
        raise ValueError("not a url: check host and port, and percent-encode the password") from None
    return parts
