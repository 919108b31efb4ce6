"""State pages uncompressed: trying took as long as writing them. An older daemon may still write.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE state_pages ALTER COLUMN data SET STORAGE EXTERNAL")
