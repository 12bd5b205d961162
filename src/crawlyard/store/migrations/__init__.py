"""Upgrades of older schemas to the one in `crawlyard.store.tables`.

An empty database needs none of them: it is created from the tables (`store/db/creation.py`).

To change the schema:

1. Change `store/tables`, and the rows in `store/db/creation.py` if those change.
2. Add ``versions/NNNN_subject.py`` with the next number as its `revision` and the last one as its
   `down_revision`, whose `upgrade` turns the old tables into the new ones with Alembic's `op`.
   Give Postgres the indexes that `creation` gives it: `op.create_index` with `sqlite_where` and
   `postgresql_where`.
3. Set `SCHEMA` in `store/tables` to that number.
4. Add a test to `tests/conformance/test_schema.py`: a database as the release before wrote it (keep
   its dump), once upgraded, has its rows and no `differences` from the tables.
"""

from threading import Lock

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

SCRIPTS = "crawlyard.store:migrations"
"""Where `env.py` and the revisions are."""

_ONE_AT_A_TIME = Lock()
"""Alembic keeps what it works on in module globals: two stores that are opened at once in
one process, by two threads, would write into each other's."""


def upgrade(connection: Connection) -> None:
    """Bring the tables up to the last revision, inside the transaction of *connection*."""
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.attributes["connection"] = connection
    with _ONE_AT_A_TIME:
        command.upgrade(config, "head")
