"""How many jobs there are of each user, state and priority: counted when they change.

To count a million jobs takes half a second, along an index a tenth; the sums are read in
two milliseconds.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Insert,
    Integer,
    String,
    bindparam,
    delete,
    func,
    insert,
    not_,
    select,
    union_all,
)

from crawlyard.core.filter import Condition, FilterKey
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.priority import Priority
from crawlyard.store.base import EVERY_JOB, JobQuery
from crawlyard.store.sql.bulk import Rows, insert_new, put_rows
from crawlyard.store.tables.jobs import PRESENT, jobs
from crawlyard.store.tables.tallies import tallies, tally_steps

AT_ONCE = 2_000
"""Steps that are summed up by one transaction: about 10 ms."""

Group = tuple[str, str, int]
"""An owner, a state and a priority."""

STEP = ("owner", "state", "priority", "jobs")
"""The columns of a step, and of a sum."""

_ALL = union_all(
    select(*(tallies.c[name] for name in STEP)),
    select(*(tally_steps.c[name] for name in STEP)),
).subquery("counted")

_THERE = union_all(
    select(jobs.c.owner, jobs.c.state, jobs.c.priority, func.count().label("jobs"))
    .where(PRESENT)
    .group_by(jobs.c.owner, jobs.c.state, jobs.c.priority),
    select(*(_ALL.c[name] if name != "jobs" else -_ALL.c.jobs for name in STEP)),
).subquery("there")

# one statement sees one state of the tables, whoever writes meanwhile
_AGREE = insert(tally_steps).from_select(
    list(STEP),
    select(_THERE.c.owner, _THERE.c.state, _THERE.c.priority, func.sum(_THERE.c.jobs))
    .group_by(_THERE.c.owner, _THERE.c.state, _THERE.c.priority)
    .having(func.sum(_THERE.c.jobs) != 0),
)

_BEFORE = select(jobs.c.owner, jobs.c.state, jobs.c.priority).where(
    jobs.c.id == bindparam("its_id", type_=String),
    jobs.c.version == bindparam("before", type_=Integer),
    PRESENT,
)

_SQL: Mapping[FilterKey, Callable[[Sequence[str]], ColumnElement[bool]]] = {
    FilterKey.OWNER: _ALL.c.owner.in_,
    FilterKey.STATE: _ALL.c.state.in_,
    FilterKey.PRIORITY: lambda words: _ALL.c.priority.in_([int(Priority.of(w)) for w in words]),
    FilterKey.PRIORITY_GTE: lambda words: (
        _ALL.c.priority >= min((int(Priority.of(w)) for w in words), default=len(Priority))
    ),
}


def came(conn: Connection, new: Iterable[Job]) -> None:
    """Count new jobs."""
    _step(conn, Counter(map(_group, new)))


def came_from(new: FromClause) -> Insert:
    """Return the statement that counts *new*, rows of jobs."""
    group = (new.c.owner, new.c.state, new.c.priority)
    return insert(tally_steps).from_select(
        list(STEP), select(*group, func.count()).group_by(*group)
    )


def went(conn: Connection, job: Mapping[Any, Any]) -> None:
    """Count a job no more; *job* is its row."""
    _step(conn, {(job["owner"], job["state"], job["priority"]): -1})


def counted_as(conn: Connection, job: Job, before: Job | None) -> Group | None:
    """Return what the version before *job* is counted as; ``None``: it is not the stored one.

    *before* is that version, if it was read in this transaction.
    """
    if before is not None:
        return _group(before)
    row = conn.execute(_BEFORE, {"its_id": job.id, "before": job.version - 1}).first()
    return None if row is None else (row.owner, row.state, row.priority)


def moved(before: Group | None, job: Job) -> Rows:
    """Return the steps by which a job counts as what it is now, and no more as it was *before*."""
    now = _group(job)
    return [] if before is None or before == now else _rows({before: -1, now: 1})


def sums(conn: Connection, query: JobQuery) -> Mapping[tuple[State, Priority], int] | None:
    """Return how many jobs of *query* are in each state and priority, zeros left out.

    ``None``: it asks for more than owners, states and priorities.
    """
    asked = _asked(query)
    if asked is None:
        return None
    rows = conn.execute(
        select(_ALL.c.state, _ALL.c.priority, func.sum(_ALL.c.jobs))
        .where(*asked)
        .group_by(_ALL.c.state, _ALL.c.priority)
    )
    return {(State(s), Priority(p)): int(count) for s, p, count in rows if count}


def has_many_steps(conn: Connection) -> bool:
    """Tell whether a transaction's worth of steps waits to be summed up."""
    first = select(tally_steps.c.no).order_by(tally_steps.c.no).offset(AT_ONCE - 1).limit(1)
    return conn.execute(first).first() is not None


def sum_up(conn: Connection) -> int:
    """Add the first steps to the sums; return how many these were, at most `AT_ONCE`."""
    # two at once: the second takes others, or none
    first = select(tally_steps).order_by(tally_steps.c.no).limit(AT_ONCE)
    rows = conn.execute(first.with_for_update(skip_locked=True)).all()
    changes: Counter[Group] = Counter()
    for row in rows:
        changes[row.owner, row.state, row.priority] += row.jobs
    put_rows(conn, tallies, _rows({group: n for group, n in changes.items() if n}), adding=True)
    if rows:
        conn.execute(delete(tally_steps).where(tally_steps.c.no.in_([row.no for row in rows])))
    return len(rows)


def agree(conn: Connection) -> int:
    """Add the steps by which the sums miss the jobs that there are; return how many groups.

    There are none but those of a program that keeps no counts: an older one, in the moments
    of an upgrade, or somebody's own SQL.
    """
    return conn.execute(_AGREE, execution_options={"preserve_rowcount": True}).rowcount


def _step(conn: Connection, changes: Mapping[Group, int]) -> None:
    insert_new(conn, tally_steps, _rows(changes))


def _rows(changes: Mapping[Group, int]) -> list[dict[str, Any]]:
    """Return rows in the order of their keys: whoever adds to sums locks them in it."""
    return [
        dict(zip(STEP, (*group, count), strict=True)) for group, count in sorted(changes.items())
    ]


def _group(job: Job) -> Group:
    return job.owner, job.state.value, int(job.spec.priority)


def _asked(query: JobQuery) -> list[ColumnElement[bool]] | None:
    """Return the conditions on groups that *query* asks for, if it asks for no others."""
    if any(one.key not in _SQL for one in query.where):
        return None
    if _rest(query) != EVERY_JOB:
        return None
    found = [_condition(one) for one in query.where]
    if query.owner is not None:
        found.append(_ALL.c.owner == query.owner)
    if query.states:
        found.append(_ALL.c.state.in_([state.value for state in query.states]))
    if query.priorities:
        found.append(_ALL.c.priority.in_([int(priority) for priority in query.priorities]))
    return found


def _rest(query: JobQuery) -> JobQuery:
    """Return what *query* asks beside owners, states and priorities; no count has an order."""
    none: frozenset[Any] = frozenset()
    return replace(query, owner=None, states=none, priorities=none, where=(), oldest_first=False)


def _condition(asked: Condition) -> ColumnElement[bool]:
    found = _SQL[asked.key](asked.words)
    return not_(found) if asked.negated else found
