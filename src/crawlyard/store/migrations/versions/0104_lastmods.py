"""How dates in sitemaps proved, requests that they saved, and which end of a run was compared."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText, Instant

revision = "0104"
down_revision = "0103"


def upgrade() -> None:
    saved = sa.Column("requests_saved", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("shards", saved)
    op.create_table(
        "lastmods",
        sa.Column("job_no", sa.BigInteger(), nullable=False),
        sa.Column("host", CleanText(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_no", "host"),
    )
    op.add_column("run_changes", sa.Column("ended_at", Instant()))
    op.execute(
        "UPDATE run_changes SET ended_at ="
        " (SELECT jobs.ended_at FROM jobs WHERE jobs.no = run_changes.job_no)"
    )
