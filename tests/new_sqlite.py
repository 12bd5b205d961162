"""The statements of a new SQLite database: ``python -m tests.new_sqlite`` writes them."""

from sqlalchemy.dialects import sqlite

from crawlyard.store.db.new_database import END, SQLITE
from crawlyard.store.db.table_statements import generate


def script() -> str:
    """Return the statements as their file has them."""
    return END.join(
        "\n".join(line.rstrip() for line in statement.strip().splitlines()).replace("\t", "  ")
        for statement in generate(sqlite.dialect())
    )


if __name__ == "__main__":
    SQLITE.write_text(script(), "utf-8")
