"""Reading, locking and changing job rows, their shard rows and their events.

Lock order, to avoid deadlocks: the row of the job, then the row of its shard, several jobs in the
order of their keys.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Executable,
    FromClause,
    Insert,
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
    true,
    update,
)

from crawlyard.core.events.event import Event
from crawlyard.core.jobs.job import Job, Shard, Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.parse import hosts_in
from crawlyard.errors import Conflict
from crawlyard.lazy import lazily
from crawlyard.store.codec.jobs import search_text, shard_row, spec_columns, state_columns
from crawlyard.store.codec.records import EVENTS
from crawlyard.store.db.bulk_rows import (
    Rows,
    arrays,
    as_json,
    insert_new,
    rows_of,
    unnest,
    update_rows,
)
from crawlyard.store.db.commit_fate import note_receipt, receipt
from crawlyard.store.db.connection import gather
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.raw_sqlite import run_each, run_update
from crawlyard.store.jobs.counts import counting, find_stored_group, steps_of_move, steps_of_moves
from crawlyard.store.jobs.queue_position import OwnerTurns, assign_turn
from crawlyard.store.tables.jobs import (
    PRESENT,
    STANDING,
    events,
    job_hosts,
    job_tags,
    job_texts,
    jobs,
    new_events,
    shards,
)
from crawlyard.store.tables.tallies import tally_steps

# only ends of jobs that have a group use it
with lazily():
    from crawlyard.store.jobs import groups

_INSERT_EVENTS = insert(events)

# only used in the conditions and orders of lists, and therefore never read
_QUERY_ONLY = frozenset({"tail", "dated", "unique_key", "settled_pages"})
_READ = (*(c for c in jobs.c if c.name not in _QUERY_ONLY), *shards.c)

_PAGES = (
    select(shards.c.pages)
    .where(shards.c.job_no == jobs.c.no, shards.c.shard == literal_column("0"))
    .scalar_subquery()
)


def standing(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Return a query for jobs that are not deleted, each joined with its shard 0."""
    return select(*_READ).select_from(STANDING).where(PRESENT, *conditions)


def lock_rows(query: Select[Any], *, skip: bool = False) -> Select[Any]:
    """Return *query* with its rows locked until the transaction ends.

    With *skip*, rows that another transaction has locked are left out instead of waited for.
    """
    # no effect on SQLite, which needs no row locks: it has one writer at a time
    return query.with_for_update(of=[jobs, shards], skip_locked=skip, key_share=True)


def change(
    conn: Connection,
    job: Job,
    *events: Event,
    before: Job | None = None,
    shard: tuple[int, Shard] | None = None,
    cut: Mapping[str, Any] | None = None,
) -> None:
    """Replace version ``job.version - 1`` of the job and add the events.

    *before* is the job as read in this transaction, if it was read: a spec that is still the
    same object is not written again, nor is a damaged one. *shard*, the key of the job and its
    new shard, is replaced as well; the caller has locked the row of the job then. *cut* has the
    columns of the job that describe its shards, if they change.

    Raises:
        Conflict: the stored version is another, or the job is gone.
    """
    job = assign_turn(conn, job)
    steps = steps_of_move(find_stored_group(conn, job, before), job)
    # the readable rest of a damaged spec must not replace the stored one
    same = bool(job.damaged) or (before is not None and before.spec is job.spec)
    row = state_columns(job) | ({} if same else spec_columns(job.spec)) | dict(cut or {})
    if job.state is not State.RUNNING:
        row["settled_pages"] = shard and shard[1].usage.pages
    at_once = events if same and is_postgres(conn) else ()
    if is_postgres(conn):
        count = _update_job_at_once(conn, job, row, shard, steps, at_once)
    else:
        count = _update_job(conn, job, row, shard, steps)
    if not count:
        raise Conflict(f"job {job.id} is not at version {job.version - 1} any more")
    gather(conn, job, before)
    if not same:
        no = conn.execute(no_of(job.id)).scalar_one()
        _replace_indexed_values(conn, {no: job})
    if not at_once:
        add_events(conn, events)
    elif job.origin.group_id is not None:
        add_events(conn, groups.end_groups(conn, events))


def _update_job(
    conn: Connection,
    job: Job,
    row: Mapping[str, Any],
    shard: tuple[int, Shard] | None,
    steps: Rows,
) -> int:
    """Write a job, its shard and its counts; return the number of changed jobs, 1 or 0."""
    if shard is not None:
        set_shard(conn, *shard)
    count = run_update(conn, _update_statement(tuple(row)), _of_version(job) | _parameters(row))
    insert_new(conn, tally_steps, steps)
    return count


def _update_job_at_once(
    conn: Connection,
    job: Job,
    row: Mapping[str, Any],
    shard: tuple[int, Shard] | None,
    steps: Rows,
    events: Sequence[Event],
) -> int:
    """Write as `_update_job` does and add events, in one statement to save round trips."""
    # jobs and shards share no column name, so their parameters don't clash
    of_shard = {} if shard is None else shard_row(shard[1])
    parameters = _of_version(job) | _parameters(row) | _parameters(of_shard)
    if shard is not None:
        parameters["its_no"] = shard[0]
    parameters[tally_steps.name] = as_json(conn, tally_steps, steps)
    if events:
        parameters[new_events.name] = as_json(
            conn, new_events, [EVENTS.row(each) for each in events]
        )
    statement = _update_statement_at_once(tuple(row), tuple(of_shard), with_events=bool(events))
    result = conn.execute(statement, parameters).one()
    if events:
        note_receipt(conn, result.receipt)
    rows: int = result.rows
    return rows


def change_all(
    conn: Connection, changes: Sequence[tuple[int, Standing, Job]], events: Sequence[Event]
) -> None:
    """Replace jobs and add the events, with a few statements for all of them.

    Each change has the key of the job, its old and its new state. The caller has read and locked
    the jobs in this transaction.
    """
    if not changes:
        return
    turns = OwnerTurns(conn)
    ready = [
        (no, before.job, turns.assign(job, before.job.state, before.job.level.rank))
        for no, before, job in changes
    ]
    rows = [
        {"no": no, "settled_pages": before.shard.usage.pages} | state_columns(job)
        for (no, _, job), (_, before, _) in zip(ready, changes, strict=True)
    ]
    update_rows(conn, jobs, rows, ("no",))
    # the readable rest of a damaged spec must not replace the stored one
    anew = {n: job for n, old, job in ready if job.spec is not old.spec and not job.damaged}
    update_rows(
        conn, jobs, [{"no": no} | spec_columns(job.spec) for no, job in anew.items()], ("no",)
    )
    _replace_indexed_values(conn, anew)
    insert_new(conn, tally_steps, steps_of_moves((old, job) for _, old, job in ready))
    for _, old, job in ready:
        gather(conn, job, old)
    add_events(conn, events)


def _replace_indexed_values(conn: Connection, changed: Mapping[int, Job]) -> None:
    """Replace the indexed tags, hosts and text of jobs, by their keys."""
    if not changed:
        return
    for table in (job_tags, job_hosts, job_texts):
        conn.execute(delete(table).where(table.c.job_no.in_(list(changed))))
    specs = {no: job.spec for no, job in changed.items()}
    tags = [{"job_no": no, "tag": tag} for no, spec in specs.items() for tag in spec.tags]
    hosts = [{"job_no": no, "host": h} for no, spec in specs.items() for h in hosts_in(spec.urls)]
    insert_new(conn, job_tags, tags)
    insert_new(conn, job_hosts, hosts)
    insert_new(conn, job_texts, [{"job_no": no, "text": search_text(s)} for no, s in specs.items()])


def set_shard(conn: Connection, no: int, shard: Shard) -> None:
    """Replace shard 0 of a job, whose row is locked."""
    row = shard_row(shard)
    run_update(conn, _set_shard(tuple(row)), {"its_no": no} | _parameters(row))


@cache
def _update_statement(names: tuple[str, ...]) -> Update:
    # Cached: building the statements each time took half of the time of a claim.
    its = jobs.c.id == bindparam("its_id", type_=String)
    before = jobs.c.version == bindparam("before", type_=Integer)
    values: dict[str, ColumnElement[Any]] = {**_values(jobs, names)}
    if "settled_pages" in values:  # NULL: those of the stored shard
        values["settled_pages"] = func.coalesce(values["settled_pages"], _PAGES)
    return update(jobs).where(its, before, PRESENT).values(values)


@cache
def _update_statement_at_once(
    names: tuple[str, ...], of_shard: tuple[str, ...], *, with_events: bool
) -> Select[Any]:
    job = _update_statement(names).returning(jobs.c.no).cte("job")
    parts = [counting().cte("steps")]
    if of_shard:
        parts.append(_set_shard(of_shard).cte("shard"))
    count = select(func.count().label("rows")).select_from(job)
    if not with_events:
        return count.add_cte(*parts)
    added_events = insert_events(count.subquery("all_changed")).cte("told")
    return count.add_columns(receipt().label("receipt")).add_cte(*parts, added_events)


@cache
def _set_shard(names: tuple[str, ...]) -> Update:
    its = shards.c.job_no == bindparam("its_no", type_=BigInteger)
    first = shards.c.shard == literal_column("0")
    return update(shards).where(its, first).values(_values(shards, names))


def _of_version(job: Job) -> dict[str, object]:
    return {"its_id": job.id, "before": job.version - 1}


def _values(table: Table, names: Iterable[str]) -> dict[str, BindParameter[Any]]:
    return {name: bindparam(f"given_{name}", type_=table.c[name].type) for name in names}


def _parameters(row: Mapping[str, object]) -> dict[str, object]:
    # a parameter of an UPDATE must not have the name of its column
    return {f"given_{name}": value for name, value in row.items()}


def versions(conn: Connection, ids: Collection[str]) -> dict[str, int]:
    """Return the versions of jobs by id, and lock the jobs until the transaction ends."""
    if not ids:
        return {}
    query = (
        select(jobs.c.id, jobs.c.version)
        .where(jobs.c.id.in_(sorted(ids)), PRESENT)
        .order_by(jobs.c.no)
        .with_for_update(key_share=True)
    )
    return {row.id: row.version for row in conn.execute(query)}


def add_events(conn: Connection, events: Sequence[Event]) -> None:
    """Add events, once the rows that they are about are locked.

    On Postgres they get their seq later (`numbering`), so no transaction waits for another.
    """
    if not events:
        return
    rows = [EVENTS.row(e) for e in events]
    if is_postgres(conn):
        receipts = conn.execute(_insert_new_events(tuple(rows[0])), arrays(conn, new_events, rows))
        note_receipt(conn, receipts.scalars().all()[0])
    else:
        run_each(conn, _INSERT_EVENTS, rows)
    if any("group_id" in event.data for event in events):
        add_events(conn, groups.end_groups(conn, events))


@cache
def _insert_new_events(names: tuple[str, ...]) -> Executable:
    rows = unnest(new_events, names)
    values = select(*(rows.c[name] for name in names))
    return insert(new_events).from_select(names, values).returning(receipt())


def insert_events(written: FromClause) -> Insert:
    """Return the part of a Postgres statement that adds events after *written*, which is one row.

    The parameter with the events is made by `as_json`.
    """
    named = [each for each in new_events.c if each is not new_events.c.no]
    rows = rows_of(new_events, named)
    # after that row: events of one job get their keys in the order of its changes
    values = select(rows).select_from(written.join(rows, true()))
    return insert(new_events).from_select([each.name for each in named], values)


def settle_pages(conn: Connection, no: int, stored: int, pages: int) -> None:
    """Write the pages of a job that isn't running, if they are not as *stored*; it is locked.

    A worker stores what was in flight after the move that has stopped its job.
    """
    if pages != stored:
        conn.execute(update(jobs).where(jobs.c.no == no).values(settled_pages=pages))


def no_of(job_id: str) -> Select[int]:
    """Return a query for the key of a job that is not deleted."""
    return select(jobs.c.no).where(jobs.c.id == job_id, PRESENT)
