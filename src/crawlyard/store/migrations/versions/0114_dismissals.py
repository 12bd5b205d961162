"""Notices that users have dismissed."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText, Instant

revision = "0114"
down_revision = "0113"


def upgrade() -> None:
    op.create_table(
        "dismissals",
        sa.Column("owner", CleanText, nullable=False),
        sa.Column("notice", CleanText, nullable=False),
        sa.Column("dismissed_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("owner", "notice"),
    )
