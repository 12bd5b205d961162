"""Alembic's environment: runs the revisions on the connection of `upgrade`."""

from alembic import context

from crawlyard.store.tables.every import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
)
context.run_migrations()
