"""An index of the jobs that failed, by when they did."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_FAILED = sa.text("state = 'failed'")


def upgrade() -> None:
    op.create_index(
        "jobs_failed",
        "jobs",
        ["ended_at"],
        sqlite_where=_FAILED,
        postgresql_where=_FAILED,
    )
