"""Templates, schedules with their ledger, webhooks; where jobs come from and how long they stay."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _jobs()
    _events()
    _templates()
    _schedules()
    _webhooks()
    _deliveries()
    _cursors()


def _jobs() -> None:
    # the server's defaults are for the rows that are there: every insert names all columns
    op.add_column("jobs", sa.Column("since", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE jobs SET since = COALESCE(ended_at, updated_at)")
    op.add_column("jobs", sa.Column("retention", sa.BigInteger()))
    op.add_column("jobs", sa.Column("template_id", sa.String(36)))
    op.add_column("jobs", sa.Column("template_version", sa.Integer()))
    op.add_column("jobs", sa.Column("schedule_id", sa.String(36)))
    op.add_column("jobs", sa.Column("tick_at", sa.BigInteger()))
    op.add_column("jobs", sa.Column("given", sa.Text(), nullable=False, server_default="[]"))
    ended = "ended_at IS NOT NULL AND deleted_at IS NULL"
    _index("jobs_ended", "jobs", ["ended_at", "retention"], where=ended)
    _index("jobs_paused", "jobs", ["since"], where="state = 'paused'")
    _index("jobs_template", "jobs", ["template_id", "id"], where="template_id IS NOT NULL")
    _index("jobs_schedule", "jobs", ["schedule_id", "id"], where="schedule_id IS NOT NULL")


def _events() -> None:
    op.drop_index("events_job", "events")
    # SQLite cannot change a type in place: there the table is copied
    with op.batch_alter_table("events", table_kwargs={"sqlite_autoincrement": True}) as events:
        events.alter_column("job_id", new_column_name="subject", type_=sa.String(48))
    op.add_column("events", sa.Column("owner", sa.Text(), nullable=False, server_default="local"))
    op.execute("UPDATE events SET owner = jobs.owner FROM jobs WHERE jobs.id = events.subject")
    op.create_index("events_subject", "events", ["subject", "seq"])
    op.create_index("events_owner", "events", ["owner", "seq"])


def _templates() -> None:
    op.create_table(
        "templates",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("search", sa.Text(), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="templates_pkey"),
        sa.UniqueConstraint("owner", "name", name="templates_owner_name_key"),
    )
    op.create_table(
        "template_versions",
        sa.Column("template_id", sa.String(36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("template_id", "version", name="template_versions_pkey"),
        sa.ForeignKeyConstraint(
            ["template_id"], ["templates.id"], name="template_versions_template_id_fkey"
        ),
    )


def _schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("search", sa.Text(), nullable=False),
        sa.Column("template_id", sa.String(36)),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("runs_left", sa.BigInteger()),
        sa.Column("paused_at", sa.BigInteger()),
        sa.Column("next_at", sa.BigInteger()),
        sa.Column("fire_at", sa.BigInteger()),
        sa.Column("waiting_at", sa.BigInteger()),
        sa.Column("fresh_beat", sa.BigInteger(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="schedules_pkey"),
        sa.UniqueConstraint("owner", "name", name="schedules_owner_name_key"),
        sa.ForeignKeyConstraint(
            ["template_id"], ["templates.id"], name="schedules_template_id_fkey"
        ),
    )
    op.create_index("schedules_template_id", "schedules", ["template_id"])
    _index("schedules_fire", "schedules", ["fire_at"], where="fire_at IS NOT NULL")
    _index("schedules_waiting", "schedules", ["waiting_at"], where="waiting_at IS NOT NULL")
    op.create_table(
        "ticks",
        sa.Column("schedule_id", sa.String(36), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("job_id", sa.String(36)),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("schedule_id", "due_at", name="ticks_pkey"),
    )
    op.create_index("ticks_decided_at", "ticks", ["decided_at"])


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(48), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("events", sa.Text(), nullable=False),
        sa.Column("secrets", sa.Text(), nullable=False),
        sa.Column("allow_addresses", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=False),
        sa.Column("failing_since", sa.BigInteger()),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("held_until", sa.BigInteger()),
        sa.Column("job_id", sa.String(36)),
        sa.Column("since_seq", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="webhooks_pkey"),
    )
    op.create_index("webhooks_job_id", "webhooks", ["job_id"])
    op.create_index("webhooks_owner", "webhooks", ["owner", "id"])
    _index("webhooks_own", "webhooks", ["owner"], where="job_id IS NULL")


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("no", KEY, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("webhook_id", sa.String(48), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("leased_until", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("no", name="deliveries_pkey"),
        sa.UniqueConstraint("id", name="deliveries_id_key"),
        sa.UniqueConstraint("webhook_id", "seq", name="deliveries_webhook_id_seq_key"),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], name="deliveries_webhook_id_fkey"),
        sqlite_autoincrement=True,
    )
    op.create_index("deliveries_created_at", "deliveries", ["created_at"])
    _index("deliveries_due", "deliveries", ["due_at"], where="state = 'pending'")


def _cursors() -> None:
    cursors = op.create_table(
        "cursors",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="cursors_pkey"),
    )
    # what happened before there were webhooks is nobody's to hear
    op.execute(
        sa.insert(cursors).from_select(
            ["name", "seq"],
            sa.select(
                sa.literal("webhooks"),
                sa.func.coalesce(sa.func.max(sa.column("seq")), 0),
            ).select_from(sa.table("events", sa.column("seq"))),
        )
    )


def _index(name: str, table: str, columns: Sequence[str], where: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
