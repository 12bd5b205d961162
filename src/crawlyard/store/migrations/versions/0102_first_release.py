"""Schema of the first release: databases are created with it, or with a later one."""

revision = "0102"
down_revision = None


def upgrade() -> None:
    pass
