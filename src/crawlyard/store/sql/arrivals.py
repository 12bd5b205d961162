"""New jobs as a database keeps them: with a turn, a shard, tags and webhooks."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Executable,
    Insert,
    MetaData,
    Select,
    Table,
    bindparam,
    func,
    insert,
    literal,
    literal_column,
    select,
)

from crawlyard.core.checkpoint import Shard
from crawlyard.core.filter import hosts_in
from crawlyard.core.job import Job
from crawlyard.core.webhook import webhooks_of
from crawlyard.errors import Conflict
from crawlyard.store.codec.jobs import new_job_row, shard_row, text_of
from crawlyard.store.codec.webhooks import webhook_row
from crawlyard.store.sql.bulk import Rows, arrays, insert_new, unnested
from crawlyard.store.sql.database import is_postgres
from crawlyard.store.sql.dialects import postgresql, sqlite
from crawlyard.store.sql.driving import run_each
from crawlyard.store.sql.dues import gather
from crawlyard.store.sql.line import Turns
from crawlyard.store.sql.tallies import came
from crawlyard.store.tables.base import CleanText
from crawlyard.store.tables.jobs import job_hosts, job_tags, job_texts, jobs, shards
from crawlyard.store.tables.webhooks import webhooks

_REACHED = Table(
    "reached", MetaData(), Column("job_id", CleanText), Column("host", CleanText)
)  # as arrays have it, on the way to `job_hosts`
_SAID = Table("said", MetaData(), Column("of_job", CleanText), Column("text", CleanText))
_NO_HOST = {"job_id": None, "host": None}  # of no job: it is left out


def add_jobs(conn: Connection, new: Sequence[Job], turns: Turns | None = None) -> None:
    """Write new jobs with their shards, tags and webhooks.

    Raises:
        Conflict: an id is taken; nothing may be kept of the transaction.
    """
    turns = turns or Turns(conn)
    rows = [new_job_row(job) | {"turn": turns.next(job.owner, job.level)} for job in new]
    hosts = [{"job_id": job.id, "host": h} for job in new for h in hosts_in(job.spec.urls)]
    arrive = _arrive_at_once if is_postgres(conn) else _arrive
    texts = [{"of_job": job.id, "text": text_of(job.spec)} for job in new]
    if arrive(conn, rows, texts, hosts) != len(new):
        raise Conflict(f"there is a job {' or '.join(job.id for job in new)} already")
    came(conn, new)
    for job in new:
        gather(conn, job)
    tagged = [job for job in new if job.spec.tags]
    if tagged:
        ids = [job.id for job in tagged]
        found = conn.execute(select(jobs.c.id, jobs.c.no).where(jobs.c.id.in_(ids)))
        no_of_id = {row.id: row.no for row in found}
        tags = [{"job_no": no_of_id[job.id], "tag": t} for job in tagged for t in job.spec.tags]
        insert_new(conn, job_tags, tags)
    # from its first event on: a job's own webhook hears of nothing else
    asked = [webhook_row(webhook) | {"since_seq": 0} for job in new for webhook in webhooks_of(job)]
    insert_new(conn, webhooks, asked)


def _arrive(conn: Connection, rows: Rows, texts: Rows, hosts: Rows) -> int:
    """Insert rows of jobs with their first shards, texts and hosts; return how many were new."""
    count = insert_new(conn, jobs, rows)
    if count == len(rows):
        run_each(conn, _first_shards(), [{"its_id": row["id"]} for row in rows])
        run_each(conn, _its_text(), texts)
        if hosts:
            run_each(conn, _its_host(), hosts)
    return count


def _arrive_at_once(conn: Connection, rows: Rows, texts: Rows, hosts: Rows) -> int:
    """Do the same by one statement: each is a round trip to a server."""
    given = {
        **arrays(conn, jobs, rows),
        **arrays(conn, _SAID, texts),
        **arrays(conn, _REACHED, hosts or [_NO_HOST]),
    }
    count: int = conn.execute(_arrival(tuple(rows[0])), given).scalar_one()
    return count


@cache
def _first_shards() -> Insert:
    its = jobs.c.id == bindparam("its_id", type_=CleanText)
    return insert(shards).from_select(_SHARD_NAMES, _shard_of(jobs.c.no).where(its))


@cache
def _its_text() -> Insert:
    its = jobs.c.id == bindparam("of_job", type_=CleanText)
    text = bindparam("text", type_=CleanText)
    return insert(job_texts).from_select(["job_no", "text"], select(jobs.c.no, text).where(its))


@cache
def _its_host() -> Insert:
    its = jobs.c.id == bindparam("job_id", type_=CleanText)
    host = bindparam("host", type_=CleanText)
    return insert(job_hosts).from_select(["host", "job_no"], select(host, jobs.c.no).where(its))


@cache
def _arrival(names: tuple[str, ...]) -> Executable:
    rows = unnested(jobs, names)
    given = select(*(rows.c[name] for name in names))
    putting = postgresql.insert(jobs).from_select(names, given).on_conflict_do_nothing()
    new = putting.returning(jobs.c.no, jobs.c.id).cte("new")
    first = insert(shards).from_select(_SHARD_NAMES, _shard_of(new.c.no)).cte("first")
    reached = unnested(_REACHED, ("job_id", "host"))
    theirs = select(reached.c.host, new.c.no).join(new, new.c.id == reached.c.job_id)
    hosts = insert(job_hosts).from_select(["host", "job_no"], theirs).cte("their_hosts")
    said = unnested(_SAID, ("of_job", "text"))
    they_say = select(new.c.no, said.c.text).join(new, new.c.id == said.c.of_job)
    texts = insert(job_texts).from_select(["job_no", "text"], they_say).cte("their_texts")
    return select(func.count()).select_from(new).add_cte(first, hosts, texts)


def _said(name: str, value: object) -> ColumnElement[Any]:
    # As words of the statement: psycopg keeps what it made of a statement for the next time
    # only if that has 50 parameters at most.
    said = literal(value, shards.c[name].type)
    words = said.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    return literal_column(str(words))


_SHARD = {name: _said(name, v) for name, v in {"shard": 0, **shard_row(Shard())}.items()}
_SHARD_NAMES = ["job_no", *_SHARD]


def _shard_of(no: Any) -> Select[Any]:
    return select(no, *_SHARD.values())
