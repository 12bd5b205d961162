"""Sessions at sites."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText, Instant

revision = "0117"
down_revision = "0116"


def upgrade() -> None:
    op.create_table(
        "site_sessions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("owner", CleanText(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("url", CleanText(), nullable=False),
        sa.Column("user", CleanText(), nullable=False),
        sa.Column("submit", CleanText(), nullable=False),
        sa.Column("fields", CleanText(), nullable=False),
        sa.Column("origins", CleanText(), nullable=False),
        sa.Column("cookies", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", Instant(), nullable=False),
        sa.Column("used_at", Instant()),
        sa.Column("used_by", sa.String(36)),
        sa.Column("created_at", Instant(), nullable=False),
        sa.UniqueConstraint("owner", "name"),
    )
