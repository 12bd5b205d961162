"""Webhooks that hear of one schedule alone."""

import sqlalchemy as sa
from alembic import op

revision = "0121"
down_revision = "0120"


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("schedule_id", sa.String(36)))
