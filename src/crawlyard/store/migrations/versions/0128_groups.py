"""Groups of jobs that were submitted together."""

import sqlalchemy as sa
from alembic import op

revision = "0128"
down_revision = "0127"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("group_id", sa.String(36)))
    rows = sa.text("group_id IS NOT NULL")
    columns = ["group_id", "id"]
    op.create_index("jobs_group", "jobs", columns, sqlite_where=rows, postgresql_where=rows)
