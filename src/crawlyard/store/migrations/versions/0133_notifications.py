"""Channels for people: webhooks with a name, rules and a sealed URL."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText

revision = "0133"
down_revision = "0131"


def upgrade() -> None:
    op.add_column(
        "webhooks", sa.Column("name", CleanText(), nullable=False, server_default=sa.text("''"))
    )
    op.add_column("webhooks", sa.Column("rules", CleanText()))
    op.add_column("webhooks", sa.Column("sealed", sa.LargeBinary()))
    failing: sa.Column[str] = sa.Column("failing", CleanText(), nullable=False, server_default="{}")
    op.add_column("webhooks", failing)
    recurrence: sa.Column[str] = sa.Column(
        "recurrence", sa.String(8), nullable=False, server_default="first"
    )
    op.add_column("deliveries", recurrence)
    named = sa.text("name != ''")
    op.create_index(
        *("webhooks_name", "webhooks", ["owner", "name"]),
        unique=True,
        sqlite_where=named,
        postgresql_where=named,
    )
