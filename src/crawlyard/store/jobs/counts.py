"""Job counts by owner, state and priority, maintained as jobs change.

Each change appends steps (+1 or -1); the steps are summed up later. Counting a million jobs takes
half a second, along an index a tenth of a second; reading the sums takes two milliseconds.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Insert,
    Integer,
    String,
    Subquery,
    bindparam,
    func,
    insert,
    not_,
    select,
    union_all,
)

from crawlyard.core.jobs.filter import Condition, FilterKey
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.db.bulk_rows import Rows, insert_new, rows_of
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.sums import AT_ONCE, add_up
from crawlyard.store.queries import JobQuery
from crawlyard.store.tables.jobs import PRESENT, jobs
from crawlyard.store.tables.tallies import tallies, tally_steps

# "CYtl". Any number works that no other advisory lock on the database uses.
_AGREE_LOCK = 0x4359746C

Group = tuple[str, str, int]
"""An owner, a state and a priority."""

_STEP = ("owner", "state", "priority", "jobs")

_BEFORE = select(jobs.c.owner, jobs.c.state, jobs.c.priority).where(
    jobs.c.id == bindparam("its_id", type_=String),
    jobs.c.version == bindparam("before", type_=Integer),
    PRESENT,
)

_SQL: Mapping[FilterKey, Callable[[Subquery, Sequence[str]], ColumnElement[bool]]] = {
    FilterKey.OWNER: lambda of, words: of.c.owner.in_(words),
    FilterKey.STATE: lambda of, words: of.c.state.in_(words),
    FilterKey.PRIORITY: lambda of, words: of.c.priority.in_([Priority.of(w).rank for w in words]),
    FilterKey.PRIORITY_GTE: lambda of, words: (
        of.c.priority >= min((Priority.of(w).rank for w in words), default=len(Priority))
    ),
}


def steps_of_new(new: Iterable[Job]) -> Rows:
    """Return the steps that count new jobs."""
    return _rows(Counter(map(_group, new)))


def steps_of_move(before: Group | None, job: Job) -> Rows:
    """Return the steps that move a job from its group *before* to its current one.

    *before* is ``None`` if the stored version is another one: then there are no steps.
    """
    now = _group(job)
    return [] if before is None or before == now else _rows({before: -1, now: 1})


def steps_of_moves(pairs: Iterable[tuple[Job, Job]]) -> Rows:
    """Return the steps for (old, new) pairs of jobs, few steps for many jobs."""
    steps = Counter[Group]()
    for before, job in pairs:
        steps[_group(before)] -= 1
        steps[_group(job)] += 1
    return _rows(steps)


def remove_from_counts(conn: Connection, removed: Iterable[Job]) -> None:
    """Add the steps that subtract deleted jobs."""
    counts = Counter(map(_group, removed))
    insert_new(conn, tally_steps, _rows({group: -count for group, count in counts.items()}))


def counting() -> Insert:
    """Return the part of a Postgres statement that adds steps; `as_json` makes its parameter."""
    rows = rows_of(tally_steps, [tally_steps.c[name] for name in _STEP])
    return insert(tally_steps).from_select(_STEP, select(rows))


def find_stored_group(conn: Connection, job: Job, before: Job | None) -> Group | None:
    """Return the group of the version before *job*, ``None`` if that version isn't the stored one.

    *before* is that version, if it was read in this transaction.
    """
    if before is not None:
        return _group(before)
    row = conn.execute(_BEFORE, {"its_id": job.id, "before": job.version - 1}).first()
    return None if row is None else (row.owner, row.state, row.priority)


def sums(conn: Connection, query: JobQuery) -> Mapping[tuple[State, Priority], int]:
    """Return the number of jobs of *query* by state and priority, read from the maintained counts.

    Use it only if `JobQuery.counts_are_kept`.
    """
    # a single statement, so that both tables are read in the same state
    parts = (select(*_columns(table), table.c.jobs) for table in (tallies, tally_steps))
    counted = union_all(*parts).subquery("counted")
    rows = conn.execute(
        select(counted.c.state, counted.c.priority, func.sum(counted.c.jobs))
        .where(*_conditions(counted, query))
        .group_by(counted.c.state, counted.c.priority)
    )
    return {(State(s), Priority.from_rank(p)): int(count) for s, p, count in rows if count}


def has_many_steps(conn: Connection) -> bool:
    """Return whether at least `AT_ONCE` steps wait to be summed up."""
    first = select(tally_steps.c.no).order_by(tally_steps.c.no).offset(AT_ONCE - 1).limit(1)
    return conn.execute(first).first() is not None


def sum_up(conn: Connection) -> bool:
    """Add the first `AT_ONCE` steps to the sums; return whether there may be more."""
    return add_up(conn, tally_steps, tallies, AT_ONCE)


def is_consistent(conn: Connection) -> bool:
    """Return whether the sums match the stored jobs; takes half a second for a million jobs."""
    return not _differences(conn)


def repair(conn: Connection) -> None:
    """Add the steps that make the sums match the jobs again, after manual changes by SQL."""
    if is_postgres(conn):  # two concurrent calls would add the steps twice
        conn.execute(select(func.pg_advisory_xact_lock(_AGREE_LOCK)))
    insert_new(conn, tally_steps, _rows(_differences(conn)))


def _differences(conn: Connection) -> Mapping[Group, int]:
    """Return the difference between the stored jobs and the maintained sums, by group."""
    there = select(*_columns(jobs), func.count().label("jobs")).where(PRESENT)
    parts = (
        there.group_by(*_columns(jobs)),
        select(*_columns(tallies), -tallies.c.jobs),
        select(*_columns(tally_steps), -tally_steps.c.jobs),
    )
    differences = union_all(*parts).subquery("both_of_them")
    count = func.sum(differences.c.jobs)
    query = select(*_columns(differences), count.label("missed")).group_by(*_columns(differences))
    rows = conn.execute(query.having(count != 0))
    return {(row.owner, row.state, row.priority): int(row.missed) for row in rows}


def _rows(changes: Mapping[Group, int]) -> list[dict[str, Any]]:
    return [
        dict(zip(_STEP, (*group, count), strict=True))
        for group, count in sorted(changes.items())
        if count
    ]


def _group(job: Job) -> Group:
    return job.owner, job.state.value, job.spec.priority.rank


def _columns(of: FromClause) -> tuple[ColumnElement[Any], ...]:
    return of.c.owner, of.c.state, of.c.priority


def _conditions(counted: Subquery, query: JobQuery) -> list[ColumnElement[bool]]:
    filters = [_condition(counted, condition) for condition in query.where]
    if query.owner is not None:
        filters.append(counted.c.owner == query.owner)
    if query.states:
        filters.append(counted.c.state.in_([state.value for state in query.states]))
    if query.priorities:
        filters.append(counted.c.priority.in_([priority.rank for priority in query.priorities]))
    return filters


def _condition(counted: Subquery, condition: Condition) -> ColumnElement[bool]:
    expression = _SQL[condition.key](counted, condition.words)
    return not_(expression) if condition.negated else expression
