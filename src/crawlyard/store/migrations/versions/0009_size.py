"""A yard of a million jobs: counts that are kept, and an index for each thing that is asked."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

from crawlyard.store.codec.dates import is_dated

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AT_ONCE = 1000
_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_PRESENT = "deleted_at IS NULL"
_LISTED = "(deleted_at + 0) IS NULL"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("tail", sa.String(4), nullable=False, server_default=""))
    op.execute("UPDATE jobs SET tail = substr(id, 33)")
    _dates()
    _hosts()
    _texts()
    _tallies()  # no longer can anybody change a job meanwhile
    _indexes()


def _dates() -> None:
    op.add_column("jobs", sa.Column("dated", sa.SmallInteger(), nullable=False, server_default="0"))
    jobs = sa.table("jobs", *(sa.column(name) for name in ("no", "id", "created_at", "dated")))
    conn = op.get_bind()
    for rows in _parts(conn, jobs, jobs.c.id, jobs.c.created_at):
        made = {no: _EPOCH + timedelta(microseconds=at) for no, _, at in rows}
        dated = [no for no, job_id, _ in rows if is_dated(job_id, made[no])]
        conn.execute(sa.update(jobs).where(jobs.c.no.in_(dated)).values(dated=1))


def _hosts() -> None:
    op.create_table(
        "job_hosts",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("job_no", _KEY, nullable=False),
        sa.PrimaryKeyConstraint("host", "job_no", name="job_hosts_pkey"),
        sa.ForeignKeyConstraint(["job_no"], ["jobs.no"], name="job_hosts_job_no_fkey"),
        sqlite_with_rowid=False,
    )
    jobs = sa.table("jobs", sa.column("no"), sa.column("hosts"))
    job_hosts = sa.table("job_hosts", sa.column("host"), sa.column("job_no"))
    conn = op.get_bind()
    for rows in _parts(conn, jobs, jobs.c.hosts):
        found = [{"host": h, "job_no": no} for no, hosts in rows for h in hosts.split("\n") if h]
        if found:
            conn.execute(sa.insert(job_hosts), found)
    op.create_index("job_hosts_job_no", "job_hosts", ["job_no"])
    op.drop_column("jobs", "hosts")


def _texts() -> None:
    op.create_table(
        "job_texts",
        sa.Column("job_no", _KEY, nullable=False, autoincrement=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_no", name="job_texts_pkey"),
        sa.ForeignKeyConstraint(["job_no"], ["jobs.no"], name="job_texts_job_no_fkey"),
    )
    op.execute("INSERT INTO job_texts (job_no, text) SELECT no, search FROM jobs")
    op.drop_column("jobs", "search")


def _parts(
    conn: sa.Connection, jobs: sa.TableClause, *columns: sa.ColumnElement[Any]
) -> Iterator[Sequence[Any]]:
    """Yield the keys of all jobs with *columns* of them, some at a time."""
    last = 0
    part = sa.select(jobs.c.no, *columns).order_by(jobs.c.no).limit(_AT_ONCE)
    while rows := conn.execute(part.where(jobs.c.no > last)).all():
        yield rows
        last = rows[-1][0]


def _tallies() -> None:
    def counted() -> list[sa.Column[object]]:
        return [
            sa.Column("owner", sa.Text(), nullable=False),
            sa.Column("state", sa.String(16), nullable=False),
            sa.Column("priority", sa.SmallInteger(), nullable=False),
            sa.Column("jobs", sa.BigInteger(), nullable=False),
        ]

    op.create_table(
        "tallies",
        *counted(),
        sa.PrimaryKeyConstraint("owner", "state", "priority", name="tallies_pkey"),
    )
    op.create_table(
        "tally_steps",
        sa.Column("no", _KEY, nullable=False),
        *counted(),
        sa.PrimaryKeyConstraint("no", name="tally_steps_pkey"),
    )
    op.execute(
        "INSERT INTO tallies (owner, state, priority, jobs) "
        "SELECT owner, state, priority, count(*) FROM jobs WHERE deleted_at IS NULL "
        "GROUP BY owner, state, priority"
    )


def _indexes() -> None:
    for changed in ("jobs_turn", "jobs_ready"):
        op.drop_index(changed, "jobs")
    indexes: tuple[tuple[str, list[str | sa.TextClause], str | None], ...] = (
        ("jobs_ripe", ["level", "due_at"], "state = 'pending' AND ready = 0"),
        ("jobs_turn", ["owner", "level", "turn", "queued_at", "id"], "state = 'pending'"),
        (
            "jobs_ready",
            ["ready", sa.text("level DESC"), "turn", "queued_at", "id"],
            "state = 'pending' AND ready = 1",
        ),
        ("jobs_state", ["state", "id"], _LISTED),
        ("jobs_owner_state", ["owner", "state", "id"], _LISTED),
        ("jobs_priority", ["priority", "id"], f"{_PRESENT} AND priority != 1"),
        ("jobs_retries", ["id"], "retry_of IS NOT NULL"),
        ("jobs_tail", ["tail"], None),
        ("jobs_undated", ["id"], "dated = 0"),
    )
    for name, columns, where in indexes:
        kept = None if where is None else sa.text(where)
        op.create_index(name, "jobs", columns, sqlite_where=kept, postgresql_where=kept)
