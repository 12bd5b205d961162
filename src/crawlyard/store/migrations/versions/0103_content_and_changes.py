"""The content of pages, links to it from later runs, and what each run of a schedule changed."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText, Instant, Key

revision = "0103"
down_revision = "0102"


def upgrade() -> None:
    _pages()
    _runs()
    _changes()


def _pages() -> None:
    for column in (
        sa.Column("content_rule", CleanText(), nullable=False, server_default=""),
        sa.Column("content_hash", CleanText(), nullable=False, server_default=""),
        sa.Column("content_version", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("nearly_empty", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("structured", CleanText()),
        sa.Column("unchanged_since", Instant()),
        sa.Column("body_of", sa.BigInteger()),
    ):
        op.add_column("pages", column)
    _index("pages_body_of", "pages", ["body_of"], where="body_of IS NOT NULL")


def _runs() -> None:
    op.add_column("jobs", sa.Column("based_on", sa.String(36)))
    _index("jobs_based_on", "jobs", ["based_on"], where="based_on IS NOT NULL")
    for name in ("unchanged", "bytes_saved"):
        column = sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
        op.add_column("shards", column)


def _changes() -> None:
    op.create_table(
        "run_changes",
        sa.Column("job_no", sa.BigInteger(), nullable=False),
        sa.Column("schedule_id", sa.String(36), nullable=False),
        sa.Column("base_id", sa.String(36)),
        sa.Column("compared_at", Instant(), nullable=False),
        sa.Column("counts", CleanText(), nullable=False),
        sa.PrimaryKeyConstraint("job_no"),
    )
    op.create_table(
        "changes",
        sa.Column("seq", Key, primary_key=True),
        sa.Column("job_no", sa.BigInteger(), nullable=False),
        sa.Column("schedule_id", sa.String(36), nullable=False),
        sa.Column("owner", CleanText(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("url", CleanText(), nullable=False),
        sa.Column("moved_to", CleanText()),
        sa.Column("detail", CleanText(), nullable=False),
        sa.Column("before", sa.BigInteger()),
        sa.Column("after", sa.BigInteger()),
        sa.Column("added", sa.Integer()),
        sa.Column("removed", sa.Integer()),
        sa.Column("share", sa.Float()),
        sqlite_autoincrement=True,
    )
    op.create_index("changes_job_no", "changes", ["job_no"])
    op.create_index("changes_schedule", "changes", ["schedule_id", "seq"])
    op.create_index("changes_owner", "changes", ["owner", "seq"])


def _index(name: str, table: str, columns: list[str], *, where: str) -> None:
    only = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=only, postgresql_where=only)
