"""Jobs, their frontiers and pages, events, hosts, and the local user."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _users()
    _jobs()
    _job_tags()
    _shards()
    _frontier()
    _pages()
    _events()
    _hosts()


def _users() -> None:
    users = op.create_table(
        "users",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="users_pkey"),
    )
    op.bulk_insert(users, [{"id": "local", "role": "admin"}])


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("no", KEY, nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("search", sa.Text(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("state_reason", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("queued_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("deleted_at", sa.BigInteger()),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("retry_of", sa.String(36)),
        sa.PrimaryKeyConstraint("no", name="jobs_pkey"),
        sa.UniqueConstraint("id", name="jobs_id_key"),
        sa.CheckConstraint(
            "state IN ('pending', 'running', 'paused', 'completed', 'failed', 'cancelled')",
            name="jobs_state_check",
        ),
        sqlite_autoincrement=True,
    )
    highest: sa.ColumnElement[Any] = sa.column("priority").desc()
    _index("jobs_claim", "jobs", [highest, "turn", "queued_at", "id"], where="state = 'pending'")
    _index("jobs_running", "jobs", ["no"], where="state = 'running'")
    _index("jobs_deleted", "jobs", ["no"], where="deleted_at IS NOT NULL")
    op.create_index("jobs_owner", "jobs", ["owner", "id"])


def _job_tags() -> None:
    op.create_table(
        "job_tags",
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("job_no", KEY, nullable=False),
        sa.PrimaryKeyConstraint("tag", "job_no", name="job_tags_pkey"),
        sa.ForeignKeyConstraint(["job_no"], ["jobs.no"], name="job_tags_job_no_fkey"),
    )
    op.create_index("job_tags_job_no", "job_tags", ["job_no"])


def _shards() -> None:
    op.create_table(
        "shards",
        sa.Column("job_no", KEY, nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("pages", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("duration", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("discovered", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("skipped", sa.BigInteger(), nullable=False),
        sa.Column("redirects", sa.BigInteger(), nullable=False),
        sa.Column("pulse", sa.Text(), nullable=False),
        sa.Column("current_url", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("job_no", "shard", name="shards_pkey"),
        sa.ForeignKeyConstraint(["job_no"], ["jobs.no"], name="shards_job_no_fkey"),
    )
    _index("shards_worker", "shards", ["worker"], where="worker IS NOT NULL")


def _frontier() -> None:
    op.create_table(
        "frontier",
        sa.Column("id", KEY, nullable=False),
        sa.Column("job_no", sa.BigInteger(), nullable=False),
        sa.Column("fp", sa.BigInteger(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("via", sa.String(16), nullable=False),
        sa.Column("parent_fp", sa.BigInteger()),
        sa.Column("hops", sa.Integer(), nullable=False),
        sa.Column("origin", sa.Text()),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="frontier_pkey"),
        sa.UniqueConstraint("job_no", "fp", name="frontier_job_no_fp_key"),
    )
    _index("frontier_waiting", "frontier", ["job_no", "depth", "id"], where="state = 0")
    _index("frontier_skipped", "frontier", ["job_no", "id"], where="state = 3")
    _index("frontier_roots", "frontier", ["job_no"], where="via = 'seed' AND hops > 0")


def _pages() -> None:
    op.create_table(
        "pages",
        sa.Column("id", KEY, nullable=False),
        sa.Column("job_no", sa.BigInteger(), nullable=False),
        sa.Column("fp", sa.BigInteger(), nullable=False),
        sa.Column("parent_fp", sa.BigInteger()),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("final_url", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("lang", sa.Text(), nullable=False),
        sa.Column("canonical", sa.Text(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.Column("elapsed_ms", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("last_modified", sa.Text(), nullable=False),
        sa.Column("links", sa.Integer(), nullable=False),
        sa.Column("truncated", sa.Text(), nullable=False),
        sa.Column("noindex", sa.Boolean(), nullable=False),
        sa.Column("extracted", sa.Text()),
        sa.Column("error", sa.String(32)),
        sa.Column("error_detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pages_pkey"),
        sa.UniqueConstraint("job_no", "fp", name="pages_job_no_fp_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("pages_job", "pages", ["job_no", "id"])
    _index("pages_failed", "pages", ["job_no", "id"], where="error IS NOT NULL")
    op.create_table(
        "bodies",
        sa.Column("page_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("page_id", "kind", name="bodies_pkey"),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("seq", KEY, nullable=False),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="events_pkey"),
        sqlite_autoincrement=True,
    )
    op.create_index("events_job", "events", ["job_id", "seq"])


def _hosts() -> None:
    op.create_table(
        "hosts",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("booked_until", sa.BigInteger()),
        sa.Column("held_until", sa.BigInteger()),
        sa.PrimaryKeyConstraint("host", name="hosts_pkey"),
    )


def _index(
    name: str, table: str, columns: Sequence[str | sa.ColumnElement[Any]], where: str
) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
