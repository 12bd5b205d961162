"""Metadata of the webhooks of jobs, and the targets of triggers."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText

revision = "0127"
down_revision = "0126"


def upgrade() -> None:
    column: sa.Column[str] = sa.Column("metadata", CleanText(), nullable=False, server_default="{}")
    op.add_column("webhooks", column)
    op.add_column("credentials", sa.Column("target", CleanText()))
