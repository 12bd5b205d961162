"""What is known of the content of a page: its hash, how it was found, its structured data."""

import sqlalchemy as sa
from alembic import op

revision = "0103"
down_revision = "0102"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("content_rule", sa.Text(), nullable=False, server_default=""),
        sa.Column("content_hash", sa.Text(), nullable=False, server_default=""),
        sa.Column("content_version", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("nearly_empty", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("structured", sa.Text(), nullable=True),
    ):
        op.add_column("pages", column)
