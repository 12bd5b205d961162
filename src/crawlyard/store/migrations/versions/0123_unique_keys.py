"""Unique keys of jobs: an owner has one job with each."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText

revision = "0123"
down_revision = "0122"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("unique_key", CleanText()))
    where = sa.text("unique_key IS NOT NULL AND deleted_at IS NULL")
    op.create_index(
        "jobs_unique_key",
        "jobs",
        ["owner", "unique_key"],
        unique=True,
        sqlite_where=where,
        postgresql_where=where,
    )
