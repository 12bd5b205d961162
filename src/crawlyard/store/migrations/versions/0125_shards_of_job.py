"""A function for the shards of a job, for statements that first wait for a lock on the job."""

from alembic import op

from crawlyard.store.db.database import is_postgres
from crawlyard.store.tables.jobs import SHARDS_OF_JOB

revision = "0125"
down_revision = "0124"


def upgrade() -> None:
    if is_postgres(op.get_bind()):
        op.execute(SHARDS_OF_JOB)
