"""Job intake: check new jobs against quotas and policies and insert them."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Insert,
    ScalarSelect,
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

from crawlyard.core.access.policy import SectionName, ceilings_of, grants_of
from crawlyard.core.access.user import NO_QUOTA
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.job import Job, Shard
from crawlyard.core.jobs.queue import QueueEntry
from crawlyard.core.jobs.spec import JobSpec, Priority
from crawlyard.core.parse import hosts_in
from crawlyard.errors import Conflict, Refused
from crawlyard.store.codec.jobs import new_job_row, search_text, shard_row
from crawlyard.store.codec.records import EVENTS, WEBHOOKS, quota_of
from crawlyard.store.db.bulk_rows import Rows, as_json, insert_new, rows_of
from crawlyard.store.db.clean_text import clean
from crawlyard.store.db.commit_fate import note_receipt, receipt
from crawlyard.store.db.connection import gather
from crawlyard.store.db.database import StorePart, is_postgres, writes
from crawlyard.store.db.dialects import postgresql, sqlite
from crawlyard.store.db.raw_sqlite import keys_of, one_row, run_each
from crawlyard.store.jobs.counts import counting, steps_of_new
from crawlyard.store.jobs.job_rows import add_events, insert_events, versions
from crawlyard.store.jobs.queue_position import QUEUE_ENTRY, OwnerTurns, queue_entry_of
from crawlyard.store.jobs.unique_keys import UniqueKeyOf, with_keys
from crawlyard.store.queries import Entered, Entrant, IntakeRules
from crawlyard.store.tables.access import users
from crawlyard.store.tables.base import CleanText
from crawlyard.store.tables.desk import settings
from crawlyard.store.tables.jobs import (
    PENDING,
    PRESENT,
    job_hosts,
    job_tags,
    job_texts,
    jobs,
    new_events,
    shards,
)
from crawlyard.store.tables.tallies import tally_steps
from crawlyard.store.tables.webhooks import webhooks

_ITS_OWNER = bindparam("owner", type_=CleanText)


class IntakeStore(StorePart):
    """Admission of new jobs."""

    @writes
    def enter(self, conn: Connection, entrants: Sequence[Entrant]) -> list[Entered]:
        """Admit jobs in order, in ONE transaction; return an answer for each.

        Each job is checked against the rules as that transaction sees them; earlier jobs of the
        same owner count as waiting. Concurrent transactions never admit more jobs of an owner
        than their quota allows. If the owner has a job with the same unique key, that job is the
        answer. A job that is refused, or whose `like` job has changed its version
        meanwhile, doesn't affect the others.

        Raises:
            Conflict: an id is taken; nothing is written.
        """
        # Lock order, to avoid deadlocks: jobs by key, then unique keys, then users by key.
        there = versions(
            conn, {entrant.like.id for entrant in entrants if entrant.like is not None}
        )
        keys = {(e.owner, e.unique_key) for e in entrants if e.unique_key is not None}
        holders = with_keys(conn, keys) if keys else {}
        lines, rules = _read_rules(conn, entrants)
        limited = sorted(owner for owner, rule in rules.items() if rule.quota.pending is not None)
        if limited:
            rules |= _count_pending(conn, limited, rules)
        answers, admitted = _admit(entrants, there, rules, holders)
        if admitted:
            new, events = [job for job, _ in admitted], [event for _, event in admitted]
            add_jobs(conn, new, OwnerTurns(conn, lines), events)
        return answers


def _admit(
    entrants: Sequence[Entrant],
    there: Mapping[str, int],
    rules: dict[str, IntakeRules],
    holders: dict[UniqueKeyOf, Job],
) -> tuple[list[Entered], list[tuple[Job, Event]]]:
    """Return the answer to each entrant, and the job and event to write for each admitted one."""
    answers: list[Entered] = []
    admitted: list[tuple[Job, Event]] = []
    for entrant in entrants:
        key = entrant.owner, entrant.unique_key
        if key in holders:
            answers.append(holders[key])
            continue
        rule, like = rules[entrant.owner], entrant.like
        if like is not None and there.get(like.id) != like.version:
            answers.append(Conflict(f"job {like.id} is not at version {like.version} any more"))
            continue
        try:
            job, event = entrant.judge(rule)
        except Refused as refusal:
            answers.append(refusal)
        else:
            rules[entrant.owner] = replace(rule, waiting=rule.waiting + 1)
            admitted.append((job, event))
            answers.append(job)
            if entrant.unique_key is not None:
                holders[key] = job
    return answers, admitted


def _read_rules(
    conn: Connection, entrants: Sequence[Entrant]
) -> tuple[Mapping[tuple[str, Priority], QueueEntry], dict[str, IntakeRules]]:
    """Read queue entries and rules, with one statement per owner and level."""
    lines: dict[tuple[str, Priority], QueueEntry] = {}
    rules: dict[str, IntakeRules] = {}
    for owner, level in dict.fromkeys((entrant.owner, entrant.level) for entrant in entrants):
        row = one_row(conn, _RULES_QUERY, {"owner": owner, "level": level.rank})
        lines[owner, level] = queue_entry_of(row)
        rules[owner] = _rules(row.ceilings or "{}", row.grants or "{}", row.quota)
    return lines, rules


@lru_cache(maxsize=256)  # safe: a changed setting or quota is a different text
def _rules(ceilings: str, grants: str, quota: str | None) -> IntakeRules:
    return IntakeRules(
        ceilings=ceilings_of(json.loads(ceilings)),
        grants=grants_of(json.loads(grants)),
        quota=NO_QUOTA if quota is None else quota_of({"quota": quota}),
    )


def _count_pending(
    conn: Connection, limited: Collection[str], rules: Mapping[str, IntakeRules]
) -> dict[str, IntakeRules]:
    """Return the *rules* of owners whose quota limits pending jobs, with their current number."""
    counted: dict[str, IntakeRules] = {}
    if is_postgres(conn):
        # Otherwise two concurrent transactions count the same jobs, and both add one.
        quotas_of_limited = select(users.c.id, users.c.quota).where(users.c.id.in_(limited))
        locked_quotas = quotas_of_limited.order_by(users.c.id).with_for_update(key_share=True)
        quotas = {row["id"]: quota_of(row) for row in conn.execute(locked_quotas).mappings()}
    else:
        quotas = {}
    for owner in limited:
        waiting = conn.scalar(_WAITING, {"owner": owner}) or 0
        quota = quotas.get(owner, rules[owner].quota)
        counted[owner] = replace(rules[owner], quota=quota, waiting=waiting)
    return counted


def _section(name: SectionName) -> ScalarSelect[Any]:
    its = settings.c.name == literal_column(f"'{name.value}'")
    return select(settings.c.value).where(its).scalar_subquery()


_WAITING = select(func.count()).where(PENDING, PRESENT, jobs.c.owner == _ITS_OWNER)

_RULES_QUERY = QUEUE_ENTRY.add_columns(
    _section(SectionName.CEILINGS).label("ceilings"),
    _section(SectionName.GRANTS).label("grants"),
    select(users.c.quota).where(users.c.id == _ITS_OWNER).scalar_subquery().label("quota"),
)

_ALL_COLUMNS: ColumnElement[Any] = literal_column("*")

_JOB = "of_job"  # column with the id of a job, next to the value that belongs to it

_CHILD_TABLES: tuple[tuple[Table, str, Callable[[JobSpec], Iterable[str]]], ...] = (
    (job_hosts, "host", lambda spec: hosts_in(spec.urls)),
    (job_texts, "text", lambda spec: (search_text(spec),)),
    # without duplicates after cleaning: Postgres rejects a key that occurs twice
    (job_tags, "tag", lambda spec: dict.fromkeys(map(clean, spec.tags))),
)
"""The child tables of jobs: table, column, and a function from a spec to the values."""


def add_jobs(
    conn: Connection,
    new: Sequence[Job],
    turns: OwnerTurns | None = None,
    events: Sequence[Event] = (),
) -> None:
    """Insert new jobs with their shards, tags and webhooks, then add the events *events*.

    Raises:
        Conflict: an id is taken; the caller must roll the transaction back.
    """
    turns = turns or OwnerTurns(conn)
    rows = [new_job_row(job) | {"turn": turns.next(job.owner, job.level)} for job in new]
    # since_seq 0: a job's own webhook receives every event of its job, from the first on
    webhook_rows = [
        WEBHOOKS.row(webhook) | {"since_seq": 0} for job in new for webhook in job.webhooks()
    ]
    at_once: Sequence[Event] = ()
    if is_postgres(conn):
        at_once = () if webhook_rows else events
        count = _insert_jobs_at_once(conn, rows, new, at_once)
    else:
        count = _insert_jobs(conn, rows, new)
    if count != len(new):
        raise Conflict(f"a job {' or '.join(job.id for job in new)} already exists")
    for job in new:
        gather(conn, job)
    if webhook_rows:
        insert_new(conn, webhooks, webhook_rows)
    if not at_once:
        add_events(conn, events)


def _insert_jobs(conn: Connection, rows: Rows, new: Sequence[Job]) -> int:
    """Insert jobs with their child rows and count them; return how many were new."""
    keys = keys_of(conn, _insert_of(jobs), rows)
    if len(keys) != len(rows):
        return len(keys)
    run_each(conn, _first_shard(), [{"its_no": no} for no in keys])
    for table, name, has in _CHILD_TABLES:
        child_rows = [
            {"job_no": no, name: value}
            for no, job in zip(keys, new, strict=True)
            for value in has(job.spec)
        ]
        if child_rows:
            run_each(conn, _insert_of(table), child_rows)
    run_each(conn, _insert_of(tally_steps), steps_of_new(new))
    return len(keys)


def _insert_jobs_at_once(
    conn: Connection, rows: Rows, new: Sequence[Job], events: Sequence[Event]
) -> int:
    """Insert as `_insert_jobs` does and add events, in one statement to save round trips."""
    parameters = {jobs.name: as_json(conn, jobs, rows)}
    for table, name, has in _CHILD_TABLES:
        child_rows = [{_JOB: job.id, name: value} for job in new for value in has(job.spec)]
        parameters[table.name] = as_json(conn, table, child_rows)
    parameters[tally_steps.name] = as_json(conn, tally_steps, steps_of_new(new))
    if events:
        parameters[new_events.name] = as_json(
            conn, new_events, [EVENTS.row(each) for each in events]
        )
    row = conn.execute(
        _insert_statement(tuple(rows[0]), with_events=bool(events)), parameters
    ).one()
    if events:
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
def _insert_statement(names: tuple[str, ...], *, with_events: bool) -> Select[Any]:
    rows = rows_of(jobs, [jobs.c[name] for name in names])
    values = select(_ALL_COLUMNS).select_from(rows)
    putting = postgresql.insert(jobs).from_select(names, values).on_conflict_do_nothing()
    new = putting.returning(jobs.c.no, jobs.c.id).cte("new")
    first = insert(shards).from_select(_SHARD_NAMES, _shard_of(new.c.no)).cte("first")
    parts = [first, counting().cte("steps")]
    for table, name, _ in _CHILD_TABLES:
        its = rows_of(table, [column(_JOB, CleanText), table.c[name]])
        values_of_new = select(new.c.no, its.c[name]).join(new, new.c.id == its.c[_JOB])
        parts.append(insert(table).from_select(["job_no", name], values_of_new).cte(f"its_{name}"))
    count = select(func.count().label("rows")).select_from(new)
    if not with_events:
        return count.add_cte(*parts)
    added_events = insert_events(count.subquery("all_new")).cte("told")
    return count.add_columns(receipt().label("receipt")).add_cte(*parts, added_events)


def _literal_column(name: str, value: object) -> ColumnElement[Any]:
    # Literals instead of parameters: psycopg caches a parsed statement only if it has at most
    # 50 parameters.
    literal_value = literal(value, shards.c[name].type)
    words = literal_value.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    return literal_column(str(words))


_SHARD = {name: _literal_column(name, v) for name, v in {"shard": 0, **shard_row(Shard())}.items()}

_SHARD_NAMES = ["job_no", *_SHARD]


def _shard_of(no: Any) -> Select[Any]:
    return select(no, *_SHARD.values())
