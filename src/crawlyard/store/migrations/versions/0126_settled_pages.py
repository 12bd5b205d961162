"""Pages of jobs that no worker has, and an index for lists that are sorted by them.

Programs before this revision also stop: they would end jobs without their pages.
"""

import sqlalchemy as sa
from alembic import op

revision = "0126"
down_revision = "0125"


def upgrade() -> None:
    column = sa.Column("settled_pages", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("jobs", column)
    pages = "SELECT pages FROM shards WHERE shards.job_no = jobs.no AND shards.shard = 0"
    with_pages = "no IN (SELECT job_no FROM shards WHERE shard = 0 AND pages > 0)"
    op.execute(sa.text(f"UPDATE jobs SET settled_pages = ({pages}) WHERE {with_pages}"))  # noqa: S608
    where = sa.text("deleted_at IS NULL")
    op.create_index(
        "jobs_settled_pages",
        "jobs",
        ["settled_pages", "id"],
        sqlite_where=where,
        postgresql_where=where,
    )
