"""Pages of earlier runs of a schedule that no later run has proved to exist or to be gone."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText

revision = "0122"
down_revision = "0121"


def upgrade() -> None:
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
