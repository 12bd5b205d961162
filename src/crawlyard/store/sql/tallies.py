"""How many jobs there are of each user, state and priority: counted when they change.

And by tag and origin. To count a million jobs takes half a second, along an index a tenth, by
their tags a second; the sums are read in two milliseconds.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Integer,
    Select,
    String,
    Subquery,
    Table,
    bindparam,
    delete,
    func,
    insert,
    not_,
    select,
    union_all,
)

from crawlyard.core.filter import Condition, FilterKey, Source
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.priority import Priority
from crawlyard.store.base import EVERY_JOB, JobQuery
from crawlyard.store.sql import terms
from crawlyard.store.sql.bulk import Rows, delete_first, insert_new, put_rows, rows_of
from crawlyard.store.tables.jobs import PRESENT, job_tags, jobs
from crawlyard.store.tables.tallies import tallies, tally_steps, term_tallies

AT_ONCE = 2_000
"""Steps that are summed up by one transaction: about 10 ms."""

_SUMS_AT_ONCE = 5_000
"""To which these add at most: where each job has tags of its own, about 20 ms."""

Group = tuple[str, str, int, str]
"""An owner, a state, a priority, and the terms of jobs as a step has them."""

GROUP = ("owner", "state", "priority")
STEP = (*GROUP, "terms", "jobs")
"""The columns of a step."""

_SUM = (*GROUP, "jobs")
_SUM_OF_TERM = ("term", *_SUM)

_BEFORE = (
    select(jobs.c.owner, jobs.c.state, jobs.c.priority, terms.ORIGIN.label("origin"))
    .add_columns(job_tags.c.tag)
    .select_from(jobs.outerjoin(job_tags, job_tags.c.job_no == jobs.c.no))
    .where(
        jobs.c.id == bindparam("its_id", type_=String),
        jobs.c.version == bindparam("before", type_=Integer),
        PRESENT,
    )
)

_SQL: Mapping[FilterKey, Callable[[Subquery, Sequence[str]], ColumnElement[bool]]] = {
    FilterKey.OWNER: lambda of, words: of.c.owner.in_(words),
    FilterKey.STATE: lambda of, words: of.c.state.in_(words),
    FilterKey.PRIORITY: lambda of, words: of.c.priority.in_([int(Priority.of(w)) for w in words]),
    FilterKey.PRIORITY_GTE: lambda of, words: (
        of.c.priority >= min((int(Priority.of(w)) for w in words), default=len(Priority))
    ),
}


def came(new: Iterable[Job]) -> Rows:
    """Return the steps by which new jobs are counted."""
    return _steps(Counter(map(_group, new)))


def moved(before: Group | None, job: Job) -> Rows:
    """Return the steps by which a job counts as what it is now, and no more as it was *before*."""
    now = _group(job)
    return [] if before is None or before == now else _steps({before: -1, now: 1})


def went(conn: Connection, job: Job) -> None:
    """Count a job no more."""
    insert_new(conn, tally_steps, _steps({_group(job): -1}))


def counting() -> Insert:
    """Return the part of a statement of Postgres that adds steps, given by `as_json`."""
    rows = rows_of(tally_steps, [tally_steps.c[name] for name in STEP])
    return insert(tally_steps).from_select(STEP, select(rows))


def counted_as(conn: Connection, job: Job, before: Job | None) -> Group | None:
    """Return what the version before *job* is counted as; ``None``: it is not the stored one.

    *before* is that version, if it was read in this transaction.
    """
    if before is not None:
        return _group(before)
    rows = conn.execute(_BEFORE, {"its_id": job.id, "before": job.version - 1}).all()
    if not rows:
        return None
    row, tags = rows[0], tuple(each.tag for each in rows if each.tag is not None)
    return row.owner, row.state, row.priority, terms.written(Source(row.origin), tags)


def sums(conn: Connection, query: JobQuery) -> Mapping[tuple[State, Priority], int] | None:
    """Return how many jobs of *query* are in each state and priority, zeros left out.

    ``None``: it asks for more than owners, states and priorities, and a tag or an origin.
    """
    counted = _counted(query)
    if counted is None:
        return None
    rows = conn.execute(
        select(counted.c.state, counted.c.priority, func.sum(counted.c.jobs))
        .where(*_conditions(counted, query))
        .group_by(counted.c.state, counted.c.priority)
    )
    return {(State(s), Priority(p)): int(count) for s, p, count in rows if count}


def has_many_steps(conn: Connection) -> bool:
    """Tell whether a transaction's worth of steps waits to be summed up."""
    first = select(tally_steps.c.no).order_by(tally_steps.c.no).offset(AT_ONCE - 1).limit(1)
    return conn.execute(first).first() is not None


def sum_up(conn: Connection) -> bool:
    """Add the first steps to the sums; tell whether there may be more of them."""
    # two at once: the second takes others, or none
    first = select(tally_steps).order_by(tally_steps.c.no).limit(AT_ONCE)
    rows = conn.execute(first.with_for_update(skip_locked=True)).all()
    steps, taken, room = Counter[Group](), list[int](), _SUMS_AT_ONCE
    for row in rows:
        group: Group = (row.owner, row.state, row.priority, row.terms)
        if group not in steps:
            if room < 0:
                break
            room -= 1 + len(terms.read(row.terms))
        steps[group] += row.jobs
        taken.append(row.no)
    _add(conn, steps)
    if taken:
        conn.execute(delete(tally_steps).where(tally_steps.c.no.in_(taken)))
    return len(taken) < len(rows) or len(rows) == AT_ONCE


def _add(conn: Connection, steps: Mapping[Group, int]) -> None:
    changes, of_terms = Counter[tuple[Any, ...]](), Counter[tuple[Any, ...]]()
    for (*group, listed), count in steps.items():
        changes[tuple(group)] += count
        for term in terms.read(listed):
            of_terms[term, *group] += count
    put_rows(conn, tallies, _rows(_SUM, changes), adding=True)
    put_rows(conn, term_tallies, _rows(_SUM_OF_TERM, of_terms), adding=True)


def drop_zeros(conn: Connection, rows: int) -> int:
    """Delete up to *rows* sums of terms that no job fits any more; return how many.

    There is no end to the tags that jobs may once have had.
    """
    return delete_first(conn, tuple(term_tallies.primary_key), term_tallies.c.jobs == 0, rows)


def _steps(changes: Mapping[Group, int]) -> Rows:
    return _rows(STEP, changes)


def _rows(names: Sequence[str], changes: Mapping[Any, int]) -> list[dict[str, Any]]:
    """Return rows in the order of their keys: whoever adds to sums locks them in it."""
    return [
        dict(zip(names, (*group, count), strict=True))
        for group, count in sorted(changes.items())
        if count
    ]


def _group(job: Job) -> Group:
    return job.owner, job.state.value, int(job.spec.priority), terms.terms_of(job)


def _counted(query: JobQuery) -> Subquery | None:
    """Return the sums and steps that count the jobs of *query*, if there are such."""
    others = [one.key for one in query.where if one.key not in terms.COUNTED]
    of_terms = [Condition(key=FilterKey.TAG, words=(tag,)) for tag in query.tags]
    of_terms += [one for one in query.where if one.key in terms.COUNTED]
    if len(of_terms) > 1 or not _SQL.keys() >= set(others) or _rest(query) != EVERY_JOB:
        return None
    parts = _everything()
    for one in of_terms:
        fitting = terms.asked(one)
        if fitting is None:
            return None
        parts = _fitting(fitting, sign=-1 if one.negated else 1)
        if one.negated:
            parts += _everything()
    # one statement sees one state of the tables, whoever writes meanwhile
    return union_all(*parts).subquery("counted")


def _everything() -> list[Select[Any]]:
    return [_of(tallies), _of(tally_steps)]


def _fitting(which: Sequence[str], sign: int) -> list[Select[Any]]:
    """Return what counts the jobs that fit one of the terms *which*."""
    sums_of = _of(term_tallies, sign).where(term_tallies.c.term.in_(which))
    return [sums_of, _of(tally_steps, sign).where(terms.steps_with(which))]


def _of(table: Table, sign: int = 1) -> Select[Any]:
    count: ColumnElement[int] = table.c.jobs if sign > 0 else -table.c.jobs
    return select(*(table.c[name] for name in GROUP), count.label("jobs"))


def _conditions(counted: Subquery, query: JobQuery) -> list[ColumnElement[bool]]:
    """Return what *query* asks of owners, states and priorities."""
    found = [_condition(counted, one) for one in query.where if one.key in _SQL]
    if query.owner is not None:
        found.append(counted.c.owner == query.owner)
    if query.states:
        found.append(counted.c.state.in_([state.value for state in query.states]))
    if query.priorities:
        found.append(counted.c.priority.in_([int(priority) for priority in query.priorities]))
    return found


def _rest(query: JobQuery) -> JobQuery:
    """Return what *query* asks beside what is counted; no count has an order."""
    none: frozenset[Any] = frozenset()
    counted = {"owner": None, "states": none, "priorities": none, "tags": none, "where": ()}
    return replace(query, **counted, oldest_first=False)


def _condition(counted: Subquery, asked: Condition) -> ColumnElement[bool]:
    found = _SQL[asked.key](counted, asked.words)
    return not_(found) if asked.negated else found
