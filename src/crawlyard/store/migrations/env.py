"""What Alembic runs: the steps, on the connection that it was handed."""

from alembic import context

from crawlyard.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
)
context.run_migrations()
