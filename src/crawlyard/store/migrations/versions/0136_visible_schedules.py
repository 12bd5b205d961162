"""Visibility of schedules, and of the changes of their runs, to other users."""

import sqlalchemy as sa
from alembic import op

revision = "0136"
down_revision = "0135"


def upgrade() -> None:
    for table, name in (("schedules", "private"), ("run_changes", "hidden")):
        column: sa.Column[bool] = sa.Column(
            name, sa.Boolean(), nullable=False, server_default=sa.false()
        )
        op.add_column(table, column)
    schedules = sa.table(
        "schedules", sa.column("plan", sa.Text()), sa.column("private", sa.Boolean())
    )
    is_private = sa.or_(*(schedules.c.plan.like(f'%"shared":{gap}"private"%') for gap in ("", " ")))
    op.execute(sa.update(schedules).where(is_private).values(private=sa.true()))
    # changes of earlier runs may name pages of a run that is not shared
    run_changes = sa.table(
        "run_changes", sa.column("base_id", sa.String(36)), sa.column("hidden", sa.Boolean())
    )
    jobs = sa.table("jobs", sa.column("id", sa.String(36)), sa.column("hidden", sa.SmallInteger()))
    showing_jobs = sa.select(jobs.c.id).where(jobs.c.hidden == 0)
    has_hidden_base = sa.and_(
        run_changes.c.base_id.is_not(None), run_changes.c.base_id.not_in(showing_jobs)
    )
    op.execute(sa.update(run_changes).where(has_hidden_base).values(hidden=sa.true()))
