"""Lists of jobs that are grouped, or sorted by something other than their age."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    func,
    null,
    or_,
    select,
    type_coerce,
    union,
)

from crawlyard.core.jobs.lifecycle import ENDED as ENDED_STATES
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.order import (
    SORTED_MOST,
    STATE_GROUPS,
    GroupKey,
    JobOrder,
    Place,
    SortKey,
    in_order,
)
from crawlyard.core.quantity import count_noun
from crawlyard.errors import Invalid
from crawlyard.store.jobs.where import conditions, first_keys, select_numbers
from crawlyard.store.queries import JobQuery
from crawlyard.store.tables.jobs import (
    ENDED,
    HELD,
    PRESENT,
    RUNNING,
    STANDING,
    job_hosts,
    jobs,
    shards,
)

_VALUES: Mapping[SortKey, ColumnElement[Any]] = {
    SortKey.CREATED_AT: jobs.c.id,
    SortKey.STARTED_AT: type_coerce(jobs.c.started_at, BigInteger),
    SortKey.ENDED_AT: type_coerce(jobs.c.ended_at, BigInteger),
    SortKey.DURATION: shards.c.duration_s,
    SortKey.PAGES: shards.c.pages,
    SortKey.NAME: func.nullif(func.lower(jobs.c.name), ""),
}

_GROUPS: Mapping[GroupKey, ColumnElement[Any]] = {
    GroupKey.OWNER: jobs.c.owner,
    GroupKey.SCHEDULE: jobs.c.schedule_id,
    GroupKey.HOST: select(func.min(job_hosts.c.host))
    .where(job_hosts.c.job_no == jobs.c.no)
    .scalar_subquery(),
}


def sort_jobs(
    conn: Connection, query: JobQuery, order: JobOrder, limit: int, after: str | None
) -> dict[str, str]:
    """Return the ids of the first jobs of *query* in *order*, each with its position.

    With *after*, only jobs behind that position.

    Raises:
        Invalid: no index has the order, and too many jobs match to sort them.
    """
    parts = STATE_GROUPS if order.group is GroupKey.STATE else (frozenset[Any](),)
    first, *place = _read(after)
    positions: dict[str, str] = {}
    for number, states in enumerate(parts[first:], first):
        part = replace(query, states=states)
        behind: Place | None = tuple(place) if place and number == first else None
        for place_of_job in _places(conn, part, order, limit - len(positions), behind):
            positions[place_of_job[-1]] = json.dumps([number, *place_of_job])
        if len(positions) == limit:
            break
    return positions


def _read(after: str | None) -> list[Any]:
    """Decode a cursor: the number of a part, and a position in it if there is one."""
    if after is None:
        return [0]
    if not after.startswith("["):
        return [0, None, None, after]  # an id, of the cursors before there were orders
    place: list[Any] = json.loads(after)
    return place


def _places(
    conn: Connection, query: JobQuery, order: JobOrder, limit: int, after: Place | None
) -> Sequence[Place]:
    if order.group is GroupKey.OWNER:
        return _by_owner(conn, query, order, limit, after)
    if order.group in (None, GroupKey.STATE):
        if order.by is SortKey.CREATED_AT:
            return _by_age(conn, query, limit, after, descending=order.descending)
        if order.by in _LONG and _is_long(conn, query):
            return _LONG[order.by](conn, query, limit, after, descending=order.descending)
    return _sort_places(conn, query, order, limit, after)


def _by_owner(
    conn: Connection, query: JobQuery, order: JobOrder, limit: int, after: Place | None
) -> list[Place]:
    """Return the places of the jobs of one owner after the other."""
    ungrouped = replace(order, group=None)
    places: list[Place] = []
    owner = after[0] if after else _next_owner(conn, query, None)
    after = after and (None, *after[1:])
    while owner is not None and len(places) < limit:
        own = replace(query, owner=owner)
        of_owner = _places(conn, own, ungrouped, limit - len(places), after)
        places += [(owner, value, job_id) for _, value, job_id in of_owner]
        owner, after = _next_owner(conn, query, owner), None
    return places


def _next_owner(conn: Connection, query: JobQuery, owner: str | None) -> str | None:
    """Return the owner after *owner*, or the first; maybe no job of theirs matches *query*."""
    if query.owner is not None:
        return query.owner if owner is None else None
    later = [jobs.c.owner > owner] if owner is not None else []
    first: str | None = conn.scalar(select(func.min(jobs.c.owner)).where(*later))
    return first


def _is_long(conn: Connection, query: JobQuery) -> bool:
    """Return whether more jobs match than are sorted."""
    matching = select(first_keys(conn, query, SORTED_MOST + 1).subquery()).limit(SORTED_MOST + 1)
    count = conn.scalar(select(func.count()).select_from(matching.subquery()))
    return (count or 0) > SORTED_MOST


def _by_end(
    conn: Connection, query: JobQuery, limit: int, after: Place | None, *, descending: bool
) -> list[Place]:
    """Return the places of ended jobs in the order of an index, then of the other jobs."""
    places: list[Place] = []
    if after is None or after[1] is not None:
        ended_at = _VALUES[SortKey.ENDED_AT]
        ended = select(ended_at, jobs.c.id).where(ENDED, *conditions(query))
        places = _along(conn, ended, "jobs_ended", limit, after, descending=descending)
        after = None
    states = (query.states or frozenset(State)) - ENDED_STATES
    if len(places) < limit and states:
        unended = replace(query, states=states)
        places += _by_age(conn, unended, limit - len(places), after, descending=True)
    return places


def _by_pages(
    conn: Connection, query: JobQuery, limit: int, after: Place | None, *, descending: bool
) -> Sequence[Place]:
    """Return the positions of jobs in the order of an index, including those that workers have."""
    # First, and as a list: a job that a worker takes or ends meanwhile is in one of the two parts.
    at_work = select_numbers(conn, conn.scalars(_AT_WORK).all())
    settled = select(jobs.c.settled_pages, jobs.c.id).where(PRESENT, *conditions(query))
    settled = settled.where(jobs.c.no.not_in(at_work))
    places = _along(conn, settled, "jobs_settled_pages", limit, after, descending=descending)
    pages = _VALUES[SortKey.PAGES]
    live = select(pages, jobs.c.id).select_from(STANDING).where(jobs.c.no.in_(at_work))
    rows = conn.execute(live.where(PRESENT, *conditions(query)))
    places += [(None, *row) for row in rows]
    return list(islice(in_order(places, descending=descending, after=after), limit))


_AT_WORK = union(select(shards.c.job_no).where(HELD), select(jobs.c.no).where(RUNNING))
"""Keys of the jobs whose pages may change: running, or with a worker that is about to stop."""

_LONG: Mapping[SortKey, Callable[..., Sequence[Place]]] = {
    SortKey.ENDED_AT: _by_end,
    SortKey.PAGES: _by_pages,
}
"""Listing functions for more jobs than are sorted, by sort keys that an index covers."""


def _along(
    conn: Connection,
    query: Select[Any],
    index: str,
    limit: int,
    after: Place | None,
    *,
    descending: bool,
) -> list[Place]:
    """Return the first places of a *query* for values and ids, in the order of an *index*."""
    value, job_id = query.selected_columns
    if after is not None:
        beyond = value < after[1] if descending else value > after[1]
        at_or_beyond = value <= after[1] if descending else value >= after[1]
        query = query.where(at_or_beyond, or_(beyond, job_id < after[2]))
    # SQLite would read all jobs of an owner or a state, and sort them
    query = query.with_hint(jobs, f"INDEXED BY {index}", "sqlite")
    order = value.desc() if descending else value.asc()
    rows = conn.execute(query.order_by(order, job_id.desc()).limit(limit))
    return [(None, *row) for row in rows]


def _by_age(
    conn: Connection, query: JobQuery, limit: int, after: Place | None, *, descending: bool
) -> list[Place]:
    edge = after and after[-1]
    if descending:
        query, by = replace(query, before=edge), jobs.c.id.desc()
    else:
        query, by = replace(query, after=edge, oldest_first=True), jobs.c.id.asc()
    matching = jobs.c.no.in_(first_keys(conn, query, limit))
    ids = conn.scalars(select(jobs.c.id).where(matching).order_by(by).limit(limit))
    return [(None, None, job_id) for job_id in ids]


def _sort_places(
    conn: Connection, query: JobQuery, order: JobOrder, limit: int, after: Place | None
) -> Sequence[Place]:
    group = null() if order.group in (None, GroupKey.STATE) else _GROUPS[order.group]
    matching = jobs.c.no.in_(first_keys(conn, query, SORTED_MOST + 1))
    columns = group.label("group_"), _VALUES[order.by].label("value"), jobs.c.id
    selected = select(*columns).select_from(STANDING).where(PRESENT, matching, shards.c.shard == 0)
    rows = [
        (row.group_, row.value, row.id) for row in conn.execute(selected.limit(SORTED_MOST + 1))
    ]
    if len(rows) > SORTED_MOST:
        raise Invalid(
            "sort" if order.by is not SortKey.CREATED_AT else "group",
            f"more than {count_noun(SORTED_MOST, 'job')} match, too many to sort them by that: "
            "filter further, or sort by created_at, ended_at or pages",
        )
    return list(islice(in_order(rows, descending=order.descending, after=after), limit))
