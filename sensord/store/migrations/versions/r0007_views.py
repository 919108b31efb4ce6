"""Views come with it, see `store/views.py`: whatever changes them is a revision, so that `upgrade` makes them anew.

Revision ID: 0007
"""

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The views alone."""
