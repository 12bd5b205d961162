"""New databases: creates the tables, the indexes and the first rows.

The statements are those of `table_statements`. SQLite reads them from a file, which
`python -m tests.new_sqlite` writes: loading all tables and generating the statements takes 0.05 s
of the first command in an empty folder, the file 0.005 s. Alembic, which only upgrades need, would
take 0.1 s to load.
"""

from pathlib import Path

from sqlalchemy import Connection

from crawlyard.lazy import lazily
from crawlyard.store.db.connection import driver_of
from crawlyard.store.db.database import is_postgres

with lazily():
    from crawlyard.store.db import table_statements

SQLITE = Path(__file__).with_name("new_sqlite.sql")
END = ";\n\n"  # of a statement in that file


def create_tables(conn: Connection) -> None:
    """Create all tables, and the rows that every database starts with."""
    if is_postgres(conn):
        for statement in table_statements.generate(conn.dialect):
            conn.exec_driver_sql(statement)
        return
    for statement in SQLITE.read_text("utf-8").split(END):
        driver_of(conn).execute(statement)
