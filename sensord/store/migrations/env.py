"""Alembic's entry: migrates the connection that `database.upgrade` hands over, inside its transaction."""

from alembic import context

from sensord.store.database import VERSION_TABLE
from sensord.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite can't alter a table in place
    transactional_ddl=True,
)
context.run_migrations()
