"""A shadow's state, windows, and what is suppressed and why. Only adds, so that an older daemon may still write.

Revision ID: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shadow_pages",
        sa.Column("fleet", sa.String(), primary_key=True),
        sa.Column("topic", sa.String(), primary_key=True),
        sa.Column("partition", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("page", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "windows",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("fleet", sa.String(), nullable=False),
        sa.Column("device", sa.String()),
        sa.Column("from_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("to_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("comment", sa.Text()),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_windows_fleet", "windows", ["fleet", "to_at"])
    with op.batch_alter_table("partition_progress") as progress:
        progress.add_column(sa.Column("shadow_id", sa.String(), nullable=True))
        progress.add_column(sa.Column("shadow_offset", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("alerts") as alerts:
        alerts.add_column(sa.Column("suppressed_window", sa.BigInteger(), nullable=True))
        alerts.add_column(sa.Column("suppressed_like", sa.Uuid(), nullable=True))
    false_alarm = sa.text("feedback = 'false_alarm'")
    op.create_index(
        "ix_alerts_false",
        "alerts",
        ["fleet", "device_id"],
        sqlite_where=false_alarm,
        postgresql_where=false_alarm,
    )
    suppressed = sa.text("suppressed_like IS NOT NULL")
    op.create_index(
        "ix_alerts_like", "alerts", ["suppressed_like"], sqlite_where=suppressed, postgresql_where=suppressed
    )
    open_ones = sa.text("status = 'open' AND (suppressed_window IS NOT NULL OR suppressed_like IS NOT NULL)")
    op.create_index("ix_alerts_suppressed", "alerts", ["fleet"], sqlite_where=open_ones, postgresql_where=open_ones)
