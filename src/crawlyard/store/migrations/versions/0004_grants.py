"""What a job or a webhook lives by the grants of the settings, and whose word the rest is."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Jobs and webhooks that are there were granted what they ask for when they were made,
    # and keep it.
    for table in ("jobs", "webhooks"):
        column = sa.Column("by_grant", sa.Text(), nullable=False, server_default="[]")
        op.add_column(table, column)
    for table in ("schedules", "template_versions"):
        column = sa.Column("trusted", sa.Boolean(), nullable=False, server_default=sa.false())
        op.add_column(table, column)
    _trust_what_only_local_commands_can_have_made()


def _trust_what_only_local_commands_can_have_made() -> None:
    conn = op.get_bind()
    credentials = sa.table("credentials", sa.column("id"))
    if conn.scalar(sa.select(credentials.c.id).limit(1)) is not None:
        return  # somebody may have asked over the API
    of_local = {"schedules": "owner", "template_versions": "actor"}
    for name, by in of_local.items():
        table = sa.table(name, sa.column("trusted"), sa.column(by))
        conn.execute(sa.update(table).where(table.c[by] == "local").values(trusted=sa.true()))
