"""Formats of the messages to webhooks."""

import sqlalchemy as sa
from alembic import op

revision = "0132"
down_revision = "0130"


def upgrade() -> None:
    column: sa.Column[str] = sa.Column(
        "format", sa.String(16), nullable=False, server_default="standard"
    )
    op.add_column("webhooks", column)
