"""Incidents, and what is told of them to whom. Only adds, so that an older daemon may still write.

What happened before counts as told: nobody wants to hear of last year.

Revision ID: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("alert_events") as events:
        events.add_column(sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE alert_events SET taken_at = recorded_at")
    untaken = sa.text("taken_at IS NULL")
    op.create_index(
        "ix_alert_events_untaken", "alert_events", ["sequence"], sqlite_where=untaken, postgresql_where=untaken
    )
    op.create_table(
        "incidents",
        sa.Column("id", Number, primary_key=True, autoincrement=True),
        sa.Column("fleet", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sqlite_autoincrement=True,
    )
    is_open = sa.text("status = 'open'")
    op.create_index("ix_incidents_open", "incidents", ["fleet"], sqlite_where=is_open, postgresql_where=is_open)
    op.create_table(
        "incident_alerts",
        sa.Column("alert_id", sa.Uuid(), sa.ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("incident_id", sa.BigInteger(), sa.ForeignKey("incidents.id", ondelete="CASCADE"), nullable=False),
    )
    op.create_index("ix_incident_alerts_incident", "incident_alerts", ["incident_id"])
    op.create_table(
        "notices",
        sa.Column("sequence", Number, primary_key=True, autoincrement=True),
        sa.Column("incident_id", sa.BigInteger(), sa.ForeignKey("incidents.id", ondelete="CASCADE"), nullable=False),
        sa.Column("notice", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sinks",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column("sink", sa.String(), primary_key=True),
        sa.Column("sequence", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
