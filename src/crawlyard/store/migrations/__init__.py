"""Migrations: upgrades of older schemas to the one in `crawlyard.store.tables`.

An empty database needs none of them: it is created from the tables (`store/db/new_database.py`).

To change the schema:

1. Change `store/tables`, and the rows in `store/db/table_statements.py` if those change. Run
   ``python -m tests.new_sqlite``, which generates the statements for SQLite.
2. Add ``versions/NNNN_subject.py`` with the next number as its `revision` and the last one as its
   `down_revision`; its `upgrade` turns the old tables into the new ones with Alembic's `op`.
   Create the same indexes on Postgres as `create_tables` does: call `op.create_index` with both
   `sqlite_where` and `postgresql_where`.
3. Set `SCHEMA` in `store/tables` to that number, and add the one before to `UPGRADABLE`.
4. Extend `upgraded` in `tests/conformance/test_schema.py`: the rows that a database of commit
   dea59534 has after the upgrade. Another schema that was in use gets a dump of its own.
"""

from threading import Lock

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

SCRIPTS = "crawlyard.store:migrations"
"""The location of `env.py` and the revisions."""

_ONE_AT_A_TIME = Lock()
"""Alembic keeps its context in module globals, so two threads of one process that open stores at
the same time would interfere."""


def upgrade(connection: Connection) -> None:
    """Upgrade the tables to the last revision, in the transaction of *connection*."""
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.attributes["connection"] = connection
    with _ONE_AT_A_TIME:
        command.upgrade(config, "head")
