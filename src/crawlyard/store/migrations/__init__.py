"""The schema's history, step by step; `crawlyard.store.tables` is where it has come to."""

from threading import Lock

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

_ONE_AT_A_TIME = Lock()
"""Alembic keeps what it works on in module globals: two stores that are opened at once in
one process, by two threads, would write into each other's."""


def upgrade(connection: Connection) -> None:
    """Bring the tables up to the last revision, inside the transaction of *connection*."""
    config = Config()
    config.set_main_option("script_location", "crawlyard.store:migrations")
    config.attributes["connection"] = connection
    with _ONE_AT_A_TIME:
        command.upgrade(config, "head")
