"""The tables, once, for SQLite and PostgreSQL; used by every module of `store` and checked against the migrations."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    text,
)
from sqlalchemy.engine import Dialect

ALERT_VERSION = 1  # how a row of `alerts` is to be read; rises when a column changes its meaning
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(microseconds: int) -> datetime:
    """An aware datetime out of microseconds UTC, exact."""
    return EPOCH + timedelta(microseconds=microseconds)


def microseconds(at: datetime) -> int:
    """The inverse of `instant`."""
    return (at - EPOCH) // timedelta(microseconds=1)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in Python; `timestamptz` on PostgreSQL, naive UTC on SQLite, which has no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive datetime says nothing about when: {value}")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Sequence64 = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself for INTEGER only

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    }
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("fleet", String, nullable=False),
    Column("device_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("status", String, nullable=False),
    Column("severity", String, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
    Column("detected_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("score_first", Double, nullable=False),
    Column("score_peak", Double, nullable=False),
    Column("score_last", Double, nullable=False),
    Column("threshold", Double, nullable=False),
    Column("readings", BigInteger, nullable=False),
    Column("top_channels", JSON, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("model_id", String, nullable=False),
    Column("run", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("first_offset", BigInteger, nullable=False),
    Column("last_offset", BigInteger, nullable=False),
    Column("close_reason", String),
    Column("acknowledged_by", String),
    Column("acknowledged_at", UtcDateTime),
    Column("feedback", String),
    Column("feedback_by", String),
    Column("feedback_at", UtcDateTime),
    Column("feedback_comment", Text),
    Column("accepted_by", String),
    Column("accepted_at", UtcDateTime),
    Column("schema_version", Integer, nullable=False),
    Column("suppressed_window", BigInteger),  # the window that it opened in
    Column("suppressed_like", Uuid),  # the alert that a person called a false alarm, and that it looks like
    Column("forecast", JSON(none_as_null=True)),  # of an open drift: which limit it will reach, and when
)
_is_open = text("status = 'open'")
Index("ix_alerts_open", alerts.c.severity, alerts.c.opened_at, sqlite_where=_is_open, postgresql_where=_is_open)
Index("ix_alerts_device", alerts.c.fleet, alerts.c.device_id, alerts.c.opened_at)
Index("ix_alerts_opened_at", alerts.c.opened_at, alerts.c.fleet, alerts.c.device_id)  # since a time; noisiest devices
Index("ix_alerts_model", alerts.c.model_id, alerts.c.opened_at)

IS_FALSE_ALARM = text("feedback = 'false_alarm'")
Index(
    "ix_alerts_false",
    alerts.c.fleet,
    alerts.c.device_id,
    sqlite_where=IS_FALSE_ALARM,
    postgresql_where=IS_FALSE_ALARM,
)
_is_like = text("suppressed_like IS NOT NULL")
Index("ix_alerts_like", alerts.c.suppressed_like, sqlite_where=_is_like, postgresql_where=_is_like)
IS_SUPPRESSED = text("status = 'open' AND (suppressed_window IS NOT NULL OR suppressed_like IS NOT NULL)")
Index("ix_alerts_suppressed", alerts.c.fleet, sqlite_where=IS_SUPPRESSED, postgresql_where=IS_SUPPRESSED)

alert_events = Table(
    "alert_events",
    metadata,
    Column("sequence", Sequence64, primary_key=True, autoincrement=True),
    Column("alert_id", Uuid, ForeignKey("alerts.id", ondelete="CASCADE"), nullable=False),
    Column("event", String, nullable=False),
    Column("at", UtcDateTime, nullable=False),  # event time for the daemon's, wall time for people's
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("severity", String, nullable=False),
    Column("by", String),  # None: the daemon
    Column("comment", Text),
    Column("taken_at", UtcDateTime),  # into an incident, by `sensord notify`; numbers don't follow the order of commits
    sqlite_autoincrement=True,  # an outbox never sees a number twice
)
Index("ix_alert_events_alert", alert_events.c.alert_id, alert_events.c.sequence)
IS_UNTAKEN = text("taken_at IS NULL")
Index(
    "ix_alert_events_untaken",
    alert_events.c.sequence,
    sqlite_where=IS_UNTAKEN,
    postgresql_where=IS_UNTAKEN,
)

incidents = Table(  # alerts of a fleet with one cause, told together
    "incidents",
    metadata,
    Column("id", Sequence64, primary_key=True, autoincrement=True),
    Column("fleet", String, nullable=False),
    Column("status", String, nullable=False),
    Column("severity", String, nullable=False),  # the greatest that was told
    Column("opened_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
    sqlite_autoincrement=True,
)
_is_going_on = text("status = 'open'")
Index("ix_incidents_open", incidents.c.fleet, sqlite_where=_is_going_on, postgresql_where=_is_going_on)

incident_alerts = Table(
    "incident_alerts",
    metadata,
    Column("alert_id", Uuid, ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True),
    Column("incident_id", BigInteger, ForeignKey("incidents.id", ondelete="CASCADE"), nullable=False),
)
Index("ix_incident_alerts_incident", incident_alerts.c.incident_id)

notices = Table(  # what is to be told of incidents; by one writer, so in order
    "notices",
    metadata,
    Column("sequence", Sequence64, primary_key=True, autoincrement=True),
    Column("incident_id", BigInteger, ForeignKey("incidents.id", ondelete="CASCADE"), nullable=False),
    Column("notice", String, nullable=False),
    Column("severity", String, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

sinks = Table(  # since when each is told
    "sinks",
    metadata,
    Column("name", String, primary_key=True),
    Column("since", BigInteger, nullable=False),  # notices above this sequence
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("sink", String, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("outcome", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Sequence64, primary_key=True, autoincrement=True),
    Column("fleet", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("record_offset", BigInteger, nullable=False),  # plain "offset" is a reserved word of SQL
    Column("position", Integer, nullable=False),
    Column("reason", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("key", LargeBinary),
    Column("payload", LargeBinary, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),  # as it came: may be no time at all
    Column("recorded_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_dead_letters_recorded_at", dead_letters.c.recorded_at)
Index("ix_dead_letters_record", dead_letters.c.topic, dead_letters.c.partition, dead_letters.c.record_offset)

gaps = Table(
    "gaps",
    metadata,
    Column("id", Sequence64, primary_key=True, autoincrement=True),
    Column("fleet", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("from_offset", BigInteger),
    Column("to_offset", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

partition_progress = Table(
    "partition_progress",
    metadata,
    Column("fleet", String, primary_key=True),
    Column("topic", String, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("topic_id", String, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", String, nullable=False),
    Column("next_offset", BigInteger),
    Column("state_offset", BigInteger),
    Column("model_id", String),
    Column("claimed_at", UtcDateTime, nullable=False),
    Column("committed_at", UtcDateTime),
    Column("shadow_id", String),  # the bundle of the shadow's pages; None: there are none
    Column("shadow_offset", BigInteger),  # theirs; another than state_offset where an older daemon has written since
)


def _pages(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("fleet", String, primary_key=True),
        Column("topic", String, primary_key=True),
        Column("partition", Integer, primary_key=True, autoincrement=False),
        Column("page", Integer, primary_key=True, autoincrement=False),
        Column("data", LargeBinary, nullable=False),
    )


state_pages = _pages("state_pages")
shadow_pages = _pages("shadow_pages")  # of a bundle that is scored beside the current one

bundles = Table(
    "bundles",
    metadata,
    Column("fleet", String, primary_key=True),
    Column("bundle_id", String, primary_key=True),
    Column("stage", String, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("weights", LargeBinary, nullable=False),
    Column("sha256", String, nullable=False),
    Column("signature", Text),  # None: unsigned
    Column("verdict", JSON),  # of the gate, the latest, with its figures; None: nobody has asked it
    Column("replaced", String),  # the bundle that was current before this one was promoted
    Column("created_at", UtcDateTime, nullable=False),
    Column("promoted_at", UtcDateTime),
    Column("retired_at", UtcDateTime),
)
_is_current = text("stage = 'current'")
Index(
    "uq_bundles_current",
    bundles.c.fleet,
    unique=True,
    sqlite_where=_is_current,
    postgresql_where=_is_current,
)

bundle_moves = Table(  # outlives the bundles that it tells of
    "bundle_moves",
    metadata,
    Column("sequence", Sequence64, primary_key=True, autoincrement=True),
    Column("fleet", String, nullable=False),
    Column("bundle_id", String, nullable=False),
    Column("from_stage", String),  # None: it was published
    Column("to_stage", String, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("by", String, nullable=False),
    Column("why", Text, nullable=False),
    Column("forced", Boolean, nullable=False),  # against the gate's verdict
    sqlite_autoincrement=True,
)
Index("ix_bundle_moves_fleet", bundle_moves.c.fleet, bundle_moves.c.sequence)

_is_shadow = text("stage = 'shadow'")
Index(
    "uq_bundles_shadow",
    bundles.c.fleet,
    unique=True,
    sqlite_where=_is_shadow,
    postgresql_where=_is_shadow,
)

windows = Table(  # times of which alerts are suppressed, and that training leaves out
    "windows",
    metadata,
    Column("id", Sequence64, primary_key=True, autoincrement=True),
    Column("fleet", String, nullable=False),
    Column("device", String),  # a glob of * and ?; None: all of the fleet
    Column("from_at", UtcDateTime, nullable=False),
    Column("to_at", UtcDateTime, nullable=False),
    Column("kind", String, nullable=False),
    Column("comment", Text),
    Column("created_by", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_windows_fleet", windows.c.fleet, windows.c.to_at)

devices = Table(
    "devices",
    metadata,
    Column("fleet", String, primary_key=True),
    Column("device_id", String, primary_key=True),
    Column("topic", String, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("first_seen", UtcDateTime, nullable=False),
    Column("last_seen", UtcDateTime, nullable=False),
)
