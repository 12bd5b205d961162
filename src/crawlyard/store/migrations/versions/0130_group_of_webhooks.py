"""The group of the job that a webhook belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0130"
down_revision = "0128"


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("group_id", sa.String(36)))
    rows = sa.text("group_id IS NOT NULL")
    columns = ["group_id"]
    op.create_index("webhooks_group", "webhooks", columns, sqlite_where=rows, postgresql_where=rows)
