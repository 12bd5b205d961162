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
from crawlyard.core.hosts.start_hosts import hosts_in
from crawlyard.core.jobs.checkpoint import Shard
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.queue import QueueEntry
from crawlyard.core.jobs.spec import JobSpec, Priority
from crawlyard.errors import Conflict, Refused
from crawlyard.store.codec.jobs import new_job_row, shard_row, text_of
from crawlyard.store.codec.records import EVENTS, WEBHOOKS, quota_of
from crawlyard.store.db.bulk_rows import Rows, as_json, insert_new, rows_of
from crawlyard.store.db.clean_text import clean
from crawlyard.store.db.commit_fate import note_receipt, receipt
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.dialects import postgresql, sqlite
from crawlyard.store.db.raw_sqlite import keys_of, one_row, run_each
from crawlyard.store.db.transactions import StorePart, writes
from crawlyard.store.db.wakeups import gather
from crawlyard.store.jobs.counts import came, counting
from crawlyard.store.jobs.job_rows import tell, telling_of, versions
from crawlyard.store.jobs.queue_position import LINE, OwnerTurns, line_in
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
        there = versions(conn, {one.like.id for one in entrants if one.like is not None})
        keys = {(e.owner, e.unique_key) for e in entrants if e.unique_key is not None}
        taken = with_keys(conn, keys) if keys else {}
        lines, rules = _first_look(conn, entrants)
        limited = sorted(owner for owner, rule in rules.items() if rule.quota.pending is not None)
        if limited:
            rules |= _counted(conn, limited, rules)
        answers, made = _judged(entrants, there, rules, taken)
        if made:
            new, told = [job for job, _ in made], [event for _, event in made]
            add_jobs(conn, new, OwnerTurns(conn, lines), told)
        return answers


def _judged(
    entrants: Sequence[Entrant],
    there: Mapping[str, int],
    rules: dict[str, IntakeRules],
    taken: dict[UniqueKeyOf, Job],
) -> tuple[list[Entered], list[tuple[Job, Event]]]:
    """Return the answer to each entrant, and the job and event to write for each admitted one."""
    answers: list[Entered] = []
    made: list[tuple[Job, Event]] = []
    for entrant in entrants:
        key = entrant.owner, entrant.unique_key
        if key in taken:
            answers.append(taken[key])
            continue
        held, like = rules[entrant.owner], entrant.like
        if like is not None and there.get(like.id) != like.version:
            answers.append(Conflict(f"job {like.id} is not at version {like.version} any more"))
            continue
        try:
            job, event = entrant.judge(held)
        except Refused as refusal:
            answers.append(refusal)
        else:
            rules[entrant.owner] = replace(held, waiting=held.waiting + 1)
            made.append((job, event))
            answers.append(job)
            if entrant.unique_key is not None:
                taken[key] = job
    return answers, made


def _first_look(
    conn: Connection, entrants: Sequence[Entrant]
) -> tuple[Mapping[tuple[str, Priority], QueueEntry], dict[str, IntakeRules]]:
    """Return what most entrants need, with one statement per owner and level."""
    lines: dict[tuple[str, Priority], QueueEntry] = {}
    rules: dict[str, IntakeRules] = {}
    for owner, level in dict.fromkeys((one.owner, one.level) for one in entrants):
        row = one_row(conn, _FIRST_LOOK, {"owner": owner, "level": level.rank})
        lines[owner, level] = line_in(row)
        rules[owner] = _rules(row.ceilings or "{}", row.grants or "{}", row.quota)
    return lines, rules


@lru_cache(maxsize=256)  # safe: a changed setting or quota is a different text
def _rules(ceilings: str, grants: str, quota: str | None) -> IntakeRules:
    return IntakeRules(
        ceilings=ceilings_of(json.loads(ceilings)),
        grants=grants_of(json.loads(grants)),
        quota=NO_QUOTA if quota is None else quota_of({"quota": quota}),
    )


def _counted(
    conn: Connection, limited: Collection[str], rules: Mapping[str, IntakeRules]
) -> dict[str, IntakeRules]:
    """Return the *rules* of owners whose quota limits pending jobs, with their current number."""
    found: dict[str, IntakeRules] = {}
    if is_postgres(conn):
        # Otherwise two concurrent transactions count the same jobs, and both add one.
        theirs = select(users.c.id, users.c.quota).where(users.c.id.in_(limited))
        alone = theirs.order_by(users.c.id).with_for_update(key_share=True)
        quotas = {row["id"]: quota_of(row) for row in conn.execute(alone).mappings()}
    else:
        quotas = {}
    for owner in limited:
        waiting = conn.scalar(_WAITING, {"owner": owner}) or 0
        quota = quotas.get(owner, rules[owner].quota)
        found[owner] = replace(rules[owner], quota=quota, waiting=waiting)
    return found


def _section(name: SectionName) -> ScalarSelect[Any]:
    its = settings.c.name == literal_column(f"'{name.value}'")
    return select(settings.c.value).where(its).scalar_subquery()


_WAITING = select(func.count()).where(PENDING, PRESENT, jobs.c.owner == _ITS_OWNER)

_FIRST_LOOK = LINE.add_columns(
    _section(SectionName.CEILINGS).label("ceilings"),
    _section(SectionName.GRANTS).label("grants"),
    select(users.c.quota).where(users.c.id == _ITS_OWNER).scalar_subquery().label("quota"),
)

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
        given[new_events.name] = as_json(conn, new_events, [EVENTS.row(each) for each in told])
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
