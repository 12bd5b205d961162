"""How dates in sitemaps proved, and the requests that they saved."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText

revision = "0104"
down_revision = "0103"
branch_labels = None
depends_on = None


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
