"""Schema of commit dea59534, the oldest that can be upgraded."""

revision = "0121"
down_revision = None


def upgrade() -> None:
    pass
