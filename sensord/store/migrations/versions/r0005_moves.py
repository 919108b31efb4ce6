"""Every move of a bundle, and what the gate says of it. Only adds, so that an older trainer may still promote.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bundle_moves",
        sa.Column(
            "sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True
        ),
        sa.Column("fleet", sa.String(), nullable=False),
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.Column("from_stage", sa.String()),
        sa.Column("to_stage", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("bundles") as bundles:
        bundles.add_column(sa.Column("verdict", sa.JSON(), nullable=True))
    op.create_index("ix_bundle_moves_fleet", "bundle_moves", ["fleet", "sequence"])
    shadow = sa.text("stage = 'shadow'")
    op.create_index(
        "uq_bundles_shadow", "bundles", ["fleet"], unique=True, sqlite_where=shadow, postgresql_where=shadow
    )
