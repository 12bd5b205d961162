"""Pages that need scripts, and redirects that are errors."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # of what is stored nobody knows any more; bad redirects were not counted as redirects
    op.add_column(
        "pages",
        sa.Column("needs_scripts", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    for name in ("bad_redirects", "needs_scripts"):
        op.add_column(
            "shards", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
        )
