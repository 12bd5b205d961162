"""A job's row and its shard's, as all modules of this folder read and change them.

Whoever changes a job locks its row, then its shard's, jobs in the order of their keys,
and takes the lock of the events last: nobody waits in a circle.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    Select,
    String,
    Table,
    Update,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from crawlyard.core.checkpoint import Shard
from crawlyard.core.event import Event
from crawlyard.core.job import Job
from crawlyard.core.webhook import webhooks_of
from crawlyard.errors import Conflict
from crawlyard.store.codec.jobs import event_row, job_row, new_job_row, shard_row, spec_row
from crawlyard.store.codec.webhooks import webhook_row
from crawlyard.store.sql.bulk import insert_new
from crawlyard.store.sql.database import is_postgres
from crawlyard.store.sql.dues import gather
from crawlyard.store.sql.line import back_in_line, in_line
from crawlyard.store.tables.jobs import PRESENT, events, job_tags, jobs, shards
from crawlyard.store.tables.webhooks import webhooks

# "CYev": any number will do that nothing else on the database locks
_EVENTS_LOCK = 0x43596576
_LOCK = select(func.pg_advisory_xact_lock(_EVENTS_LOCK))
_TELL = insert(events)

# these repeat what `spec` says, for `find` alone
_SOUGHT = frozenset({"search", "hosts"})
_READ = (*(c for c in jobs.c if c.name not in _SOUGHT), *shards.c)

STANDING = jobs.join(shards, (shards.c.job_no == jobs.c.no) & (shards.c.shard == 0))


def standing(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Return a query for jobs that are not deleted, with their shards."""
    return select(*_READ).select_from(STANDING).where(PRESENT, *conditions)


def locked(query: Select[Any], *, skip: bool = False) -> Select[Any]:
    """Return *query* so that nobody else changes its rows until the transaction ends.

    *skip* leaves out what another transaction has locked, instead of waiting for it.
    """
    # SQLite needs no locks: a writer is alone there
    return query.with_for_update(of=[jobs, shards], skip_locked=skip, key_share=True)


def change(conn: Connection, job: Job, *told: Event, before: Job | None = None) -> None:
    """Replace version ``job.version - 1`` of the job and add the events.

    *before* is the job as it was read in this transaction, if it was: a spec that is
    still the same object is not written again.

    Raises:
        Conflict: the stored version is another, or the job is gone.
    """
    job = back_in_line(conn, job)
    same = before is not None and before.spec is job.spec
    row = job_row(job) if same else job_row(job) | spec_row(job.spec)
    given = {"its_id": job.id, "before": job.version - 1} | _given(row)
    no = conn.scalar(_change(tuple(row)), given)
    if no is None:
        raise Conflict(f"job {job.id} is not at version {job.version - 1} any more")
    gather(conn, job, before)
    if not same:
        conn.execute(delete(job_tags).where(job_tags.c.job_no == no))
        add_tags(conn, no, job)
    tell(conn, told)


def add_jobs(conn: Connection, new: Sequence[Job]) -> None:
    """Write new jobs with their shards, tags and webhooks.

    Raises:
        Conflict: an id is taken; nothing may be kept of the transaction.
    """
    if insert_new(conn, jobs, [new_job_row(job) for job in in_line(conn, new)]) != len(new):
        raise Conflict(f"there is a job {' or '.join(job.id for job in new)} already")
    for job in new:
        gather(conn, job)
    ids = [job.id for job in new]
    found = conn.execute(select(jobs.c.id, jobs.c.no).where(jobs.c.id.in_(ids)))
    no_of_id = {row.id: row.no for row in found}
    row = shard_row(Shard())
    insert_new(conn, shards, [{"job_no": no_of_id[i], "shard": 0} | row for i in ids])
    tags = [{"job_no": no_of_id[job.id], "tag": tag} for job in new for tag in job.spec.tags]
    insert_new(conn, job_tags, tags)
    # from its first event on: a job's own webhook hears of nothing else
    asked = [webhook_row(webhook) | {"since_seq": 0} for job in new for webhook in webhooks_of(job)]
    insert_new(conn, webhooks, asked)


def add_tags(conn: Connection, no: int, job: Job) -> None:
    """Write the tags of a job that has none."""
    insert_new(conn, job_tags, [{"job_no": no, "tag": tag} for tag in job.spec.tags])


def set_shard(conn: Connection, no: int, shard: Shard) -> None:
    """Replace the shard of a job; its row is locked."""
    row = shard_row(shard)
    conn.execute(_set_shard(tuple(row)), {"its_no": no} | _given(row))


@cache
def _change(names: tuple[str, ...]) -> ReturningUpdate[Any]:
    # Statements are made once: making them anew took half of the time of a claim.
    its = jobs.c.id == bindparam("its_id", type_=String)
    before = jobs.c.version == bindparam("before", type_=Integer)
    values = _values(jobs, names)
    return update(jobs).where(its, before, PRESENT).values(values).returning(jobs.c.no)


@cache
def _set_shard(names: tuple[str, ...]) -> Update:
    its = shards.c.job_no == bindparam("its_no", type_=BigInteger)
    first = shards.c.shard == literal_column("0")
    return update(shards).where(its, first).values(_values(shards, names))


def _values(table: Table, names: Iterable[str]) -> dict[str, BindParameter[Any]]:
    return {name: bindparam(f"given_{name}", type_=table.c[name].type) for name in names}


def _given(row: Mapping[str, object]) -> dict[str, object]:
    # a parameter of an update must not be named as its column
    return {f"given_{name}": value for name, value in row.items()}


def tell(conn: Connection, happened: Sequence[Event]) -> None:
    """Add events, the last thing a transaction does."""
    if not happened:
        return
    if is_postgres(conn):
        # A sequence does not follow the order of commits by itself, and a reader that
        # goes on after the last it has seen would miss what commits late.
        conn.execute(_LOCK)
    conn.execute(_TELL, [event_row(e) for e in happened])


def no_of(job_id: str) -> Select[int]:
    """Return a query for the short key of a job that is not deleted."""
    return select(jobs.c.no).where(jobs.c.id == job_id, PRESENT)
