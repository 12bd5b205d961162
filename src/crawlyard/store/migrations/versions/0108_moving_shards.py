"""The worker for which a shard is given back."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText

revision = "0108"
down_revision = "0103"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("shards", sa.Column("asked_by", CleanText()))
