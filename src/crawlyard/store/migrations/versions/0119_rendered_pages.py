"""Which pages were rendered, by what and why, and what that took of each job."""

import sqlalchemy as sa
from alembic import op

from crawlyard.store.tables.base import CleanText

revision = "0119"
down_revision = "0117"


def upgrade() -> None:
    for name in ("rendered_by", "render_reason"):
        op.add_column("pages", sa.Column(name, CleanText(), nullable=False, server_default=""))
    for name in ("rendered", "subrequests"):
        op.add_column(
            "shards", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
        )
    for name in ("render_s", "render_took_s"):
        op.add_column("shards", sa.Column(name, sa.Float(), nullable=False, server_default="0"))
