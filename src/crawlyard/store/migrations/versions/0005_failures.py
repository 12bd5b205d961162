"""An index of the pages that failed, by when they did."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_FAILED = sa.text("error IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "pages_failed_at",
        "pages",
        ["fetched_at"],
        sqlite_where=_FAILED,
        postgresql_where=_FAILED,
    )
