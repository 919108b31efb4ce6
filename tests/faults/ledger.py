"""What was committed, by whom, in which order: kept by triggers of the test database, in the daemon's own transaction.

A ledger that the daemon wrote itself could leave out the very commit that must not be. Used by `stage` and
`invariants`.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, text

from sensord.store.database import row_as

WRITTEN = ("alerts", "alert_events", "dead_letters", "state_pages", "devices", "gaps")
TABLES = """
CREATE TABLE test_ledger (
    sequence bigserial PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    xid text NOT NULL DEFAULT pg_current_xact_id()::text,
    writer text NOT NULL DEFAULT current_setting('application_name'),
    kind text NOT NULL,
    topic text, partition int, from_offset bigint, to_offset bigint, epoch bigint, epoch_after bigint, owner text
);
CREATE FUNCTION test_note_progress() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO test_ledger (kind, topic, partition, to_offset, epoch_after, owner)
        VALUES ('claim', NEW.topic, NEW.partition, NEW.next_offset, NEW.epoch, NEW.owner);
    ELSE
        INSERT INTO test_ledger (kind, topic, partition, from_offset, to_offset, epoch, epoch_after, owner)
        VALUES (CASE WHEN NEW.claimed_at = OLD.claimed_at THEN 'commit' ELSE 'claim' END,
                NEW.topic, NEW.partition, OLD.next_offset, NEW.next_offset, OLD.epoch, NEW.epoch, NEW.owner);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER test_note_progress AFTER INSERT OR UPDATE ON partition_progress
    FOR EACH ROW EXECUTE FUNCTION test_note_progress();
CREATE FUNCTION test_note_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO test_ledger (kind, topic) VALUES ('write', TG_TABLE_NAME);
    RETURN NULL;
END $$;
"""
TRIGGER = """
CREATE TRIGGER test_note_write AFTER INSERT OR UPDATE OR DELETE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION test_note_write();
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. kind: "claim", "commit", or "write" (a statement on the table that `topic` names then).

    writer: the connection's application_name, which names the process; owner: who the row says owns the partition.
    epoch: the row's before it, epoch_after: after it; a claim raises it, and so does a commit with a snapshot.
    """

    sequence: int
    at: datetime
    xid: str
    writer: str
    kind: str
    topic: str
    partition: int | None
    from_offset: int | None
    to_offset: int | None
    epoch: int | None
    epoch_after: int | None
    owner: str | None


def install(engine: Engine) -> None:
    """Keep a ledger in this PostgreSQL database from now on."""
    with engine.begin() as connection:
        connection.exec_driver_sql(TABLES)
        for table in WRITTEN:
            connection.exec_driver_sql(TRIGGER.format(table=table))


def entries(engine: Engine) -> list[Entry]:
    """All lines in order; none where the database is no PostgreSQL."""
    if engine.dialect.name != "postgresql":
        return []
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM test_ledger ORDER BY sequence"))
        return [row_as(Entry, row) for row in rows]
