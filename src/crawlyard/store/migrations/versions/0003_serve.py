"""Users with quotas, credentials, what the server keeps, and what is there to be looked at."""

import json
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from crawlyard.core.filter import hosts_in

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _users()
    _credentials()
    _desk()
    _settings_and_replies()
    _watch()
    _hosts_of_jobs()


def _hosts_of_jobs() -> None:
    op.add_column("jobs", sa.Column("hosts", sa.Text(), nullable=False, server_default=""))
    jobs = sa.table("jobs", *(sa.column(name) for name in ("no", "spec", "hosts")))
    conn, last = op.get_bind(), 0
    while True:
        part = sa.select(jobs.c.no, jobs.c.spec).where(jobs.c.no > last).order_by(jobs.c.no)
        found = conn.execute(part.limit(100)).all()
        for no, spec in found:
            hosts = "\n".join(("", *hosts_in(json.loads(spec).get("urls", ())), ""))
            conn.execute(sa.update(jobs).where(jobs.c.no == no).values(hosts=hosts))
            last = no
        if not found:
            return


def _users() -> None:
    # the server's defaults are for the rows that are there: every insert names all columns
    op.add_column("users", sa.Column("quota", sa.Text(), nullable=False, server_default="{}"))
    false = sa.false()
    op.add_column("users", sa.Column("limited", sa.Boolean(), nullable=False, server_default=false))
    op.add_column("users", sa.Column("disabled_at", sa.BigInteger()))
    op.add_column("users", sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    for name in ("created_at", "updated_at"):
        column = sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
        op.add_column("users", column)
    op.create_table(
        "days",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("pages", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "day", name="days_pkey"),
    )


def _credentials() -> None:
    op.create_table(
        "credentials",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("permits", sa.Text()),
        sa.Column("parent_id", sa.String(36)),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("used_at", sa.BigInteger()),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="credentials_pkey"),
        sa.UniqueConstraint("digest", name="credentials_digest_key"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="credentials_user_id_fkey"),
    )
    op.create_index("credentials_user", "credentials", ["user_id", "id"])
    _index("credentials_parent", "credentials", ["parent_id"], where="parent_id IS NOT NULL")


def _desk() -> None:
    op.create_table(
        "views",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("page", sa.String(32), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="views_pkey"),
        sa.UniqueConstraint("owner", "page", "name", name="views_owner_page_name_key"),
    )
    op.create_table(
        "operations",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("leased_until", sa.BigInteger()),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="operations_pkey"),
    )
    op.create_index("operations_owner", "operations", ["owner", "id"])
    _index("operations_running", "operations", ["id"], where="state = 'running'")


def _settings_and_replies() -> None:
    op.create_table(
        "settings",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="settings_pkey"),
    )
    op.create_table(
        "replies",
        sa.Column("asker", sa.String(36), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("asker", "key", name="replies_pkey"),
    )
    op.create_index("replies_created_at", "replies", ["created_at"])


def _watch() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(96), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("beat_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="workers_pkey"),
    )
    op.create_table(
        "log_lines",
        sa.Column("job_no", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_no", "n", name="log_lines_pkey"),
    )
    op.create_table(
        "courses",
        sa.Column("job_no", sa.BigInteger(), nullable=False),
        sa.Column("course", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_no", name="courses_pkey"),
    )


def _index(name: str, table: str, columns: Sequence[str], where: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
