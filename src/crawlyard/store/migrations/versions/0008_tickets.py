"""Procrastinate's own tables, on Postgres alone: they carry the word that work is due.

Its steps are applied as its package brings them, up to the last that this revision was
written for: a later version of the package ends at the same tables.
"""

from importlib.resources import files

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_LAST = "03.04.00_50"
"""Of procrastinate 3.10. One that brings more needs a further revision of ours."""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    steps = sorted(files("procrastinate.sql.migrations").iterdir(), key=lambda step: step.name)
    for step in steps:
        if step.name.endswith(".sql") and step.name[: len(_LAST)] <= _LAST:
            # doubled, since the driver looks for parameters
            connection.exec_driver_sql(step.read_text("utf-8").replace("%", "%%"))
