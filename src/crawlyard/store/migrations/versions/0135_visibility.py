"""Visibility of jobs to other users."""

import sqlalchemy as sa
from alembic import op

revision = "0135"
down_revision = "0134"


def upgrade() -> None:
    hidden: sa.Column[int] = sa.Column(
        "hidden", sa.SmallInteger(), nullable=False, server_default="0"
    )
    op.add_column("jobs", hidden)
    # the pages of jobs that may have credentials are hidden
    spec = sa.column("spec", sa.Text())
    may_have_login = sa.or_(*(spec.like(f'%"{name}":%') for name in ("session", "headers")))
    jobs = sa.table("jobs", sa.column("hidden", sa.SmallInteger()))
    op.execute(sa.update(jobs).where(may_have_login).values(hidden=1))
    private = sa.text("hidden = 2")
    op.create_index(
        *("jobs_private", "jobs", ["owner"]), sqlite_where=private, postgresql_where=private
    )
