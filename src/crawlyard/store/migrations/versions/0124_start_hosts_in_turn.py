"""Which jobs have their start hosts in buckets in turn.

Programs before this revision also stop: they would take the row with what a job had used before it
was cut, number -1, for a shard.
"""

import sqlalchemy as sa
from alembic import op

revision = "0124"
down_revision = "0123"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("in_turn", sa.SmallInteger()))
