"""An index of waiting deliveries by webhook, so that webhooks take turns."""

import sqlalchemy as sa
from alembic import op

revision = "0113"
down_revision = "0112"


def upgrade() -> None:
    op.create_index(
        "deliveries_turns",
        "deliveries",
        ["state", "webhook_id", "due_at"],
        sqlite_where=sa.text("state = 'pending'"),
    )
