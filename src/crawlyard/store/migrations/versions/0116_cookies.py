"""Cookies that sites have set in a job, the key that seals them, and which pages got them."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText

revision = "0116"
down_revision = "0115"


def upgrade() -> None:
    op.add_column("pages", sa.Column("session", CleanText(), nullable=False, server_default=""))
    op.create_table(
        "job_cookies",
        sa.Column("job_no", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("job_no", "key"),
    )
    op.create_table(
        "instance_keys",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("key", sa.String(64), nullable=False),
    )
