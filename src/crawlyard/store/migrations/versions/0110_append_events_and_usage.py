"""Tables that transactions on Postgres append events and usage to, without waiting for others."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText, Instant, Key

revision = "0110"
down_revision = "0108"


def upgrade() -> None:
    op.create_table(
        "new_events",
        sa.Column("no", Key, primary_key=True),
        sa.Column("subject", sa.String(48), nullable=False),
        sa.Column("owner", CleanText(), nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("actor", CleanText(), nullable=False),
        sa.Column("data", CleanText(), nullable=False),
    )
    op.create_table(
        "day_steps",
        sa.Column("no", Key, primary_key=True),
        sa.Column("owner", CleanText(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("pages", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
    )
