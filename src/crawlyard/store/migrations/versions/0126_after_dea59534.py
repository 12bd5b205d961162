"""Unproven pages, unique keys, start hosts in turn, usage before a cut, and settled pages.

Programs before this revision stop: they would take the row with what a job had used before it was
cut, number -1, for a shard, and end jobs without their pages.
"""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.db.database import is_postgres
from crawlyard.store.tables.base import CleanText
from crawlyard.store.tables.jobs import SHARDS_OF_JOB

revision = "0126"
down_revision = "0121"

_USAGE = (
    *("pages", "bytes", "duration_s", "errors", "discovered", "done", "skipped", "redirects"),
    *("bad_redirects", "needs_scripts", "unchanged", "requests_saved", "bytes_saved"),
    *("rendered", "subrequests", "render_s", "render_took_s"),
)


def upgrade() -> None:
    _unproven_pages()
    _jobs()
    _settled_pages()
    _usage_before_cut()
    if is_postgres(op.get_bind()):
        op.execute(SHARDS_OF_JOB)


def _unproven_pages() -> None:
    op.add_column("run_changes", sa.Column("whole_id", sa.String(36)))
    op.create_table(
        "unproven_pages",
        sa.Column("job_no", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("fp", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("read_by", sa.String(36), nullable=False),
        sa.Column("reach", sa.String(16), nullable=False),
        sa.Column("is_broken", sa.Boolean(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("url", CleanText(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("error", sa.String(32)),
        sa.Column("truncated", CleanText(), nullable=False),
        sa.Column("title", CleanText(), nullable=False),
        sa.Column("sha256", CleanText(), nullable=False),
        sa.Column("content_rule", CleanText(), nullable=False),
        sa.Column("content_hash", CleanText(), nullable=False),
        sa.Column("content_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_no", "fp"),
    )


def _jobs() -> None:
    op.add_column("jobs", sa.Column("unique_key", CleanText()))
    op.add_column("jobs", sa.Column("in_turn", sa.SmallInteger()))
    settled = sa.Column("settled_pages", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("jobs", settled)
    unique = "unique_key IS NOT NULL AND deleted_at IS NULL"
    _index("jobs_unique_key", ["owner", "unique_key"], where=unique, unique=True)
    _index("jobs_settled_pages", ["settled_pages", "id"], where="deleted_at IS NULL")


def _index(name: str, columns: list[str], *, where: str, unique: bool = False) -> None:
    rows = sa.text(where)
    op.create_index(name, "jobs", columns, unique=unique, sqlite_where=rows, postgresql_where=rows)


def _settled_pages() -> None:
    """Store the pages of jobs, whose totals are in shard 0, for lists sorted by them."""
    pages = "SELECT pages FROM shards WHERE shards.job_no = jobs.no AND shards.shard = 0"
    with_pages = "no IN (SELECT job_no FROM shards WHERE shard = 0 AND pages > 0)"
    op.execute(sa.text(f"UPDATE jobs SET settled_pages = ({pages}) WHERE {with_pages}"))  # noqa: S608


def _usage_before_cut() -> None:
    """Store what spread jobs had used before they were cut.

    Without it, nothing would be added to the totals of a job that runs during the upgrade: what
    its shards use is added to what it had used before.
    """
    before = ", ".join(f"max(total.{name}) - sum(part.{name})" for name in _USAGE)
    op.execute(
        sa.text(
            "INSERT INTO shards (job_no, shard, attempt, seq, pulse, current_url, budget, deaths,"  # noqa: S608
            f" {', '.join(_USAGE)})"
            f" SELECT total.job_no, -1, 0, 0, '{{}}', '', '{{}}', 0, {before}"
            " FROM shards AS total JOIN shards AS part ON part.job_no = total.job_no"
            " WHERE total.shard = 0 AND part.shard > 0 GROUP BY total.job_no"
        )
    )
