"""Insertion of new jobs with their turn, shard, hosts, text, tags and webhooks."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Insert,
    Select,
    Table,
    bindparam,
    column,
    func,
    insert,
    literal,
    literal_column,
    select,
)

from crawlyard.core.event import Event
from crawlyard.core.jobs.checkpoint import Shard
from crawlyard.core.jobs.filter import hosts_in
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.errors import Conflict
from crawlyard.store.codec.jobs import new_job_row, shard_row, text_of
from crawlyard.store.codec.records import EVENTS, WEBHOOKS
from crawlyard.store.db.bulk_rows import Rows, as_json, insert_new, rows_of
from crawlyard.store.db.clean_text import clean
from crawlyard.store.db.commit_fate import note_receipt, receipt
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.dialects import postgresql, sqlite
from crawlyard.store.db.raw_sqlite import keys_of, run_each
from crawlyard.store.db.wakeups import gather
from crawlyard.store.jobs.counts import came, counting
from crawlyard.store.jobs.job_rows import tell, telling_of
from crawlyard.store.jobs.queue_position import OwnerTurns
from crawlyard.store.tables.base import CleanText
from crawlyard.store.tables.jobs import events, job_hosts, job_tags, job_texts, jobs, shards
from crawlyard.store.tables.tallies import tally_steps
from crawlyard.store.tables.webhooks import webhooks

_ALL_COLUMNS: ColumnElement[Any] = literal_column("*")
_JOB = "of_job"  # column with the id of a job, next to the value that belongs to it

_HAS: tuple[tuple[Table, str, Callable[[JobSpec], Iterable[str]]], ...] = (
    (job_hosts, "host", lambda spec: hosts_in(spec.urls)),
    (job_texts, "text", lambda spec: (text_of(spec),)),
    # without duplicates after cleaning: Postgres rejects a key that occurs twice
    (job_tags, "tag", lambda spec: dict.fromkeys(map(clean, spec.tags))),
)
"""The child tables of jobs: table, column, and a function from a spec to the values."""


def add_jobs(
    conn: Connection,
    new: Sequence[Job],
    turns: OwnerTurns | None = None,
    told: Sequence[Event] = (),
) -> None:
    """Insert new jobs with their shards, tags and webhooks, then add the events *told*.

    Raises:
        Conflict: an id is taken; the caller must roll the transaction back.
    """
    turns = turns or OwnerTurns(conn)
    rows = [new_job_row(job) | {"turn": turns.next(job.owner, job.level)} for job in new]
    # since_seq 0: a job's own webhook receives every event of its job, from the first on
    asked = [WEBHOOKS.row(webhook) | {"since_seq": 0} for job in new for webhook in job.webhooks()]
    at_once: Sequence[Event] = ()
    if is_postgres(conn):
        at_once = () if asked else told
        count = _arrived_at_once(conn, rows, new, at_once)
    else:
        count = _arrived(conn, rows, new)
    if count != len(new):
        raise Conflict(f"there is a job {' or '.join(job.id for job in new)} already")
    for job in new:
        gather(conn, job)
    insert_new(conn, webhooks, asked)
    if not at_once:
        tell(conn, told)


def _arrived(conn: Connection, rows: Rows, new: Sequence[Job]) -> int:
    """Insert jobs with their child rows and count them; return how many were new."""
    keys = keys_of(conn, _insert_of(jobs), rows)
    if len(keys) != len(rows):
        return len(keys)
    run_each(conn, _first_shard(), [{"its_no": no} for no in keys])
    for table, name, has in _HAS:
        theirs = [
            {"job_no": no, name: value}
            for no, job in zip(keys, new, strict=True)
            for value in has(job.spec)
        ]
        if theirs:
            run_each(conn, _insert_of(table), theirs)
    insert_new(conn, tally_steps, came(new))
    return len(keys)


def _arrived_at_once(
    conn: Connection, rows: Rows, new: Sequence[Job], told: Sequence[Event]
) -> int:
    """Do the same as `_arrived` and add events, in one statement to save round trips."""
    given = {jobs.name: as_json(conn, jobs, rows)}
    for table, name, has in _HAS:
        theirs = [{_JOB: job.id, name: value} for job in new for value in has(job.spec)]
        given[table.name] = as_json(conn, table, theirs)
    given[tally_steps.name] = as_json(conn, tally_steps, came(new))
    if told:
        given[events.name] = as_json(conn, events, [EVENTS.row(event) for event in told])
    row = conn.execute(_arrival(tuple(rows[0]), telling=bool(told)), given).one()
    if told:
        note_receipt(conn, row.receipt)
    count: int = row.rows
    return count


@cache
def _insert_of(table: Table) -> Insert:
    return sqlite.insert(table).on_conflict_do_nothing()


@cache
def _first_shard() -> Insert:
    no = bindparam("its_no", type_=BigInteger)
    return insert(shards).from_select(_SHARD_NAMES, _shard_of(no))


@cache
def _arrival(names: tuple[str, ...], *, telling: bool) -> Select[Any]:
    rows = rows_of(jobs, [jobs.c[name] for name in names])
    given = select(_ALL_COLUMNS).select_from(rows)
    putting = postgresql.insert(jobs).from_select(names, given).on_conflict_do_nothing()
    new = putting.returning(jobs.c.no, jobs.c.id).cte("new")
    first = insert(shards).from_select(_SHARD_NAMES, _shard_of(new.c.no)).cte("first")
    parts = [first, counting().cte("steps")]
    for table, name, _ in _HAS:
        its = rows_of(table, [column(_JOB, CleanText), table.c[name]])
        theirs = select(new.c.no, its.c[name]).join(new, new.c.id == its.c[_JOB])
        parts.append(insert(table).from_select(["job_no", name], theirs).cte(f"its_{name}"))
    count = select(func.count().label("rows")).select_from(new)
    if not telling:
        return count.add_cte(*parts)
    told = telling_of(count.subquery("all_new")).cte("told")
    return count.add_columns(receipt().label("receipt")).add_cte(*parts, told)


def _said(name: str, value: object) -> ColumnElement[Any]:
    # Literals instead of parameters: psycopg caches a parsed statement only if it has at most
    # 50 parameters.
    said = literal(value, shards.c[name].type)
    words = said.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    return literal_column(str(words))


_SHARD = {name: _said(name, v) for name, v in {"shard": 0, **shard_row(Shard())}.items()}
_SHARD_NAMES = ["job_no", *_SHARD]


def _shard_of(no: Any) -> Select[Any]:
    return select(no, *_SHARD.values())
