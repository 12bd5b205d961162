"""The index of words in pages; it is filled in the background."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText, Instant

revision = "0115"
down_revision = "0114"

_ON_SQLITE = """
CREATE VIRTUAL TABLE page_search USING fts5(
  words, content='', columnsize=0, detail=none, tokenize="ascii tokenchars '_#'"
)
"""
_ON_POSTGRES = (
    "CREATE TABLE page_search (page_id BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
    "CREATE INDEX page_search_words ON page_search USING gin (words)",
)


def upgrade() -> None:
    op.create_table(
        "page_search_marks",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("low", sa.BigInteger(), nullable=False),
        sa.Column("high", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("until", Instant(), nullable=False),
        sa.Column("loose", sa.Boolean(), nullable=False),
        sa.Column("swept", CleanText()),
    )
    op.create_table(
        "page_search_terms",
        sa.Column("term", sa.Text(), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "page_search_gone",
        sa.Column("job_no", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("page_id", sa.BigInteger(), nullable=False),
    )
    connection = op.get_bind()
    on_postgres = connection.dialect.name == "postgresql"
    for statement in _ON_POSTGRES if on_postgres else (_ON_SQLITE,):
        connection.exec_driver_sql(statement)
