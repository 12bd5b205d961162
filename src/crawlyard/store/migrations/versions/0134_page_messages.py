"""Webhooks that receive the pages of their job, and headers of their requests."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText

revision = "0134"
down_revision = "0133"


def upgrade() -> None:
    headers: sa.Column[str] = sa.Column("headers", CleanText(), nullable=False, server_default="{}")
    op.add_column("webhooks", headers)
    op.add_column("webhooks", sa.Column("page_cursor", sa.BigInteger()))
    waiting = sa.text("page_cursor >= 0")
    op.create_index(
        *("webhooks_pages", "webhooks", ["id"]), sqlite_where=waiting, postgresql_where=waiting
    )
