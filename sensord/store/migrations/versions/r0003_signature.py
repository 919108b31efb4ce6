"""Who vouches for a bundle. Only adds, so that an older daemon may still write.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("bundles") as bundles:
        bundles.add_column(sa.Column("signature", sa.Text(), nullable=True))
