"""Addresses of the users who caused events, and an index of these events."""

import sqlalchemy as sa
from alembic import op

revision = "0131"
down_revision = "0132"


def upgrade() -> None:
    for table in ("events", "new_events"):
        op.add_column(table, sa.Column("address", sa.Text))
    rows = sa.text("address IS NOT NULL")
    op.create_index("events_audit", "events", ["seq"], sqlite_where=rows, postgresql_where=rows)
