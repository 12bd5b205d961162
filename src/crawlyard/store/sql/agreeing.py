"""Whether the sums are those of the jobs that there are, and making them so."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    cast,
    column,
    func,
    literal,
    select,
    true,
    union_all,
)

from crawlyard.core.filter import FilterKey
from crawlyard.store.sql import terms
from crawlyard.store.sql.bulk import insert_new
from crawlyard.store.sql.database import is_postgres
from crawlyard.store.sql.tallies import GROUP
from crawlyard.store.tables.base import CleanText
from crawlyard.store.tables.jobs import PRESENT, job_tags, jobs
from crawlyard.store.tables.tallies import tallies, tally_steps, term_tallies

# "CYtl": any number will do that nothing else on the database locks
_AGREE_LOCK = 0x4359746C

_ALL = ""  # in place of a term: of all jobs


def agrees(conn: Connection) -> bool:
    """Tell whether the sums with their steps are those of the jobs; a second for a million."""
    return not _missed(conn)


def agree(conn: Connection) -> int:
    """Add the steps by which the sums miss the jobs that there are; return how many sums.

    There are none but those of a program that keeps no counts: an older one, in the moments
    of an upgrade, or somebody's own SQL.
    """
    if is_postgres(conn):  # two at once would add them twice
        conn.execute(select(func.pg_advisory_xact_lock(_AGREE_LOCK)))
    missed = _missed(conn)
    steps: list[dict[str, Any]] = []
    for term, *group, count in missed:
        place = dict(zip(GROUP, group, strict=True))
        fits = "" if term == _ALL else terms.listed([term])
        steps.append(place | {"terms": fits, "jobs": int(count)})
        if fits:  # what counts for a term counts for all as well
            steps.append(place | {"terms": "", "jobs": -int(count)})
    insert_new(conn, tally_steps, steps)
    return len(missed)


def _missed(conn: Connection) -> Sequence[tuple[Any, ...]]:
    """Return by how much the sums that are kept miss the jobs that there are."""
    there = (
        select(*_group(jobs), terms.ORIGIN.label("origin"), func.count().label("jobs"))
        .where(PRESENT)
        .group_by(*_group(jobs), terms.ORIGIN)
        .cte("present")
    )
    each = _each_term(conn)
    term, said = tally_steps.join(each, true()), each.c.value
    parts = (
        select(literal(_ALL, CleanText).label("term"), *_group(there), there.c.jobs),
        select(literal(f"{FilterKey.ORIGIN}:") + there.c.origin, *_group(there), there.c.jobs),
        _tagged(),
        select(literal(_ALL, CleanText), *_group(tallies), -tallies.c.jobs),
        select(literal(_ALL, CleanText), *_group(tally_steps), -tally_steps.c.jobs),
        select(term_tallies.c.term, *_group(term_tallies), -term_tallies.c.jobs),
        select(said, *_group(tally_steps), -tally_steps.c.jobs).select_from(term).where(said != ""),
    )
    # one statement sees one state of the tables, whoever writes meanwhile
    both = union_all(*parts).subquery("both_of_them")
    key, count = (both.c.term, *_group(both)), func.sum(both.c.jobs)
    asked = select(*key, count).group_by(*key).having(count != 0).order_by(*key)
    return [tuple(row) for row in conn.execute(asked)]


def _tagged() -> Select[Any]:
    """Return how many jobs have each tag by which they are counted."""
    group = (job_tags.c.tag, *_group(jobs))
    return (
        select(literal(f"{FilterKey.TAG}:") + job_tags.c.tag, *group[1:], func.count())
        .select_from(job_tags.join(jobs, jobs.c.no == job_tags.c.job_no))
        .where(PRESENT, func.length(job_tags.c.tag) <= terms.LONGEST_TAG)
        .group_by(*group)
    )


def _each_term(conn: Connection) -> Any:
    """Return the terms of each step, an empty one among them."""
    array = literal('[""', CleanText) + tally_steps.c.terms + literal("]", CleanText)
    if is_postgres(conn):
        found = func.json_array_elements_text(cast(array, JSON)).table_valued(column("value"))
        return found.render_derived()
    return func.json_each(array).table_valued(column("value"))


def _group(of: FromClause) -> tuple[ColumnElement[Any], ...]:
    return tuple(of.c[name] for name in GROUP)
