"""Webhooks that receive the pages of their job."""

import sqlalchemy as sa
from alembic import op

revision = "0139"
down_revision = "0133"


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("page_cursor", sa.BigInteger()))
    waiting = sa.text("page_cursor IS NOT NULL")
    op.create_index(
        *("webhooks_pages", "webhooks", ["id"]), sqlite_where=waiting, postgresql_where=waiting
    )
