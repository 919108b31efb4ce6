"""Who called an alert normal, and when. Only adds, so that an older daemon may still write.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("alerts") as alerts:
        alerts.add_column(sa.Column("accepted_by", sa.String(), nullable=True))
        alerts.add_column(sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True))
