"""The worker for which a shard is given back, and an index of the known URLs of each shard."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText

revision = "0108"
down_revision = "0104"


def upgrade() -> None:
    op.add_column("shards", sa.Column("asked_by", CleanText()))
    op.add_column("jobs", sa.Column("dealt", sa.SmallInteger()))
    only = sa.text("bucket IS NOT NULL")
    op.create_index(
        "frontier_known",
        "frontier",
        ["job_no", "bucket", "fp"],
        sqlite_where=only,
        postgresql_where=only,
    )
