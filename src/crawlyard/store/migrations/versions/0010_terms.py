"""Counts that are kept by tag and by origin as well."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "term_tallies",
        sa.Column("term", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("term", "owner", "state", "priority", name="term_tallies_pkey"),
        sqlite_with_rowid=False,
    )
    # of the steps that wait no term knows: their jobs are counted below
    op.add_column("tally_steps", sa.Column("terms", sa.Text(), nullable=False, server_default=""))
    # no longer can anybody change a job meanwhile
    op.execute(
        "INSERT INTO term_tallies (term, owner, state, priority, jobs) "
        "SELECT CASE WHEN retry_of IS NOT NULL THEN 'origin:retry' "
        "WHEN schedule_id IS NOT NULL THEN 'origin:schedule' "
        "WHEN template_id IS NOT NULL THEN 'origin:template' ELSE 'origin:direct' END, "
        "owner, state, priority, count(*) FROM jobs WHERE deleted_at IS NULL GROUP BY 1, 2, 3, 4"
    )
    op.execute(
        "INSERT INTO term_tallies (term, owner, state, priority, jobs) "
        "SELECT 'tag:' || tag, owner, state, priority, count(*) "
        "FROM job_tags JOIN jobs ON no = job_no "
        "WHERE deleted_at IS NULL AND length(tag) <= 200 GROUP BY 1, 2, 3, 4"
    )
