"""The index of words has the order of short pages and single Chinese letters; it is made anew."""

from alembic import op

revision = "0120"
down_revision = "0119"

_ON_SQLITE = (
    "DROP TABLE page_search",
    """
CREATE VIRTUAL TABLE page_search USING fts5(
  words, content='', columnsize=0, detail=full, tokenize="ascii tokenchars '_#'"
)
""",
    "INSERT INTO page_search (page_search, rank) VALUES ('automerge', 8)",
    "INSERT INTO page_search (page_search, rank) VALUES ('hashsize', 16777216)",
)
_ON_POSTGRES = ("TRUNCATE page_search",)


def upgrade() -> None:
    connection = op.get_bind()
    on_postgres = connection.dialect.name == "postgresql"
    for statement in _ON_POSTGRES if on_postgres else _ON_SQLITE:
        connection.exec_driver_sql(statement)
    for table in ("page_search_marks", "page_search_terms", "page_search_gone"):
        connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608 - ours
