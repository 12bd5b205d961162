"""The schema's history, step by step; `crawlyard.store.tables` is where it has come to."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection) -> None:
    """Bring the tables up to the last revision, inside the transaction of *connection*."""
    config = Config()
    config.set_main_option("script_location", "crawlyard.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
