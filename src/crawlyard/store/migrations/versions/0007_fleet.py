"""Many users, workers and machines: turns, needs, shards, and what hosts are owed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_PENDING = sa.text("state = 'pending'")
_DEALT = sa.text("state = 0 AND bucket IS NOT NULL")
_READY = sa.text("state = 'pending' AND ready = 1")
_UNREADY = sa.text("state = 'pending' AND ready = 0")
_NEEDY = sa.text("state = 'pending' AND needs != ''")


def upgrade() -> None:
    _jobs()
    op.add_column("frontier", sa.Column("bucket", sa.SmallInteger()))
    op.add_column("shards", sa.Column("budget", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("shards", sa.Column("freed_at", sa.BigInteger()))
    op.add_column("shards", sa.Column("deaths", sa.Integer(), nullable=False, server_default="0"))
    op.create_index(
        "frontier_bucket",
        "frontier",
        ["job_no", "bucket", "depth", "id"],
        sqlite_where=_DEALT,
        postgresql_where=_DEALT,
    )
    op.add_column("workers", sa.Column("wish", sa.String(8), nullable=False, server_default=""))
    op.add_column("hosts", sa.Column("strikes", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("hosts", sa.Column("struck_at", sa.BigInteger()))
    _hosts()


def _jobs() -> None:
    small, text = sa.SmallInteger(), sa.Text()
    op.add_column("jobs", sa.Column("level", small, nullable=False, server_default="1"))
    op.add_column("jobs", sa.Column("needs", text, nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("spread", small, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("ready", small, nullable=False, server_default="0"))
    op.execute("UPDATE jobs SET level = priority")
    op.drop_index("jobs_claim", "jobs")
    indexes: tuple[tuple[str, list[str | sa.TextClause], sa.TextClause], ...] = (
        ("jobs_claim", [sa.text("level DESC"), "turn", "queued_at", "id"], _PENDING),
        ("jobs_ready", [sa.text("level DESC"), "turn", "queued_at", "id"], _READY),
        ("jobs_unready", ["due_at"], _UNREADY),
        ("jobs_turn", ["owner", "level", "turn"], _PENDING),
        ("jobs_needs", ["needs"], _NEEDY),
    )
    for name, columns, where in indexes:
        op.create_index(name, "jobs", columns, sqlite_where=where, postgresql_where=where)


def _hosts() -> None:
    op.create_table(
        "host_rules",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("delay_s", sa.Float()),
        sa.Column("at_once", sa.Integer()),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host", name="host_rules_pkey"),
    )
    op.create_table(
        "host_seats",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("worker", sa.String(96), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("at_once", sa.Integer(), nullable=False),
        sa.Column("granted", sa.Integer(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("every_s", sa.Float(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host", "worker", name="host_seats_pkey"),
    )
    op.create_index("host_seats_worker", "host_seats", ["worker"])
    op.create_table(
        "robots",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("origin", name="robots_pkey"),
    )
    op.create_index("robots_expires", "robots", ["expires_at"])
