"""Lists of jobs that are grouped, or sorted by what no index has."""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from msgspec.structs import replace
from sqlalchemy import BigInteger, ColumnElement, Connection, func, null, select, type_coerce

from crawlyard.core.jobs.order import (
    SORTED_MOST,
    STATE_GROUPS,
    GroupKey,
    JobOrder,
    Place,
    SortKey,
    in_order,
)
from crawlyard.core.quantity import counted
from crawlyard.errors import Invalid
from crawlyard.store.jobs.job_rows import STANDING
from crawlyard.store.jobs.where import picked
from crawlyard.store.queries import JobQuery
from crawlyard.store.tables.jobs import PRESENT, job_hosts, jobs, shards

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


def ordered(
    conn: Connection, query: JobQuery, order: JobOrder, limit: int, after: str | None
) -> dict[str, str]:
    """Return the ids of the first jobs of *query* in *order*, each with its position.

    Those of a list come behind the position *after*.

    Raises:
        Invalid: no index has the order, and too many jobs match to sort them.
    """
    parts = STATE_GROUPS if order.group is GroupKey.STATE else (frozenset[Any](),)
    first, *place = _read(after)
    found: dict[str, str] = {}
    for number, states in enumerate(parts[first:], first):
        part = replace(query, states=states)
        behind: Place | None = tuple(place) if place and number == first else None
        looked = _by_age if order.indexed else _sorted
        for one in looked(conn, part, order, limit - len(found), behind):
            found[one[-1]] = json.dumps([number, *one])
        if len(found) == limit:
            break
    return found


def _read(after: str | None) -> list[Any]:
    """Return the number of a part, and a place in it if there is one."""
    if after is None:
        return [0]
    if not after.startswith("["):
        return [0, None, None, after]  # an id, of the cursors before there were orders
    place: list[Any] = json.loads(after)
    return place


def _by_age(
    conn: Connection, query: JobQuery, order: JobOrder, limit: int, after: Place | None
) -> list[Place]:
    edge = after and after[-1]
    if order.descending:
        query, by = replace(query, before=edge), jobs.c.id.desc()
    else:
        query, by = replace(query, after=edge, oldest_first=True), jobs.c.id.asc()
    these = jobs.c.no.in_(picked(conn, query, limit))
    ids = conn.scalars(select(jobs.c.id).where(these).order_by(by).limit(limit))
    return [(None, None, job_id) for job_id in ids]


def _sorted(
    conn: Connection, query: JobQuery, order: JobOrder, limit: int, after: Place | None
) -> Sequence[Place]:
    group = null() if order.group in (None, GroupKey.STATE) else _GROUPS[order.group]
    these = jobs.c.no.in_(picked(conn, query, SORTED_MOST + 1))
    columns = group.label("group_"), _VALUES[order.by].label("value"), jobs.c.id
    asked = select(*columns).select_from(STANDING).where(PRESENT, these, shards.c.shard == 0)
    rows = [(row.group_, row.value, row.id) for row in conn.execute(asked.limit(SORTED_MOST + 1))]
    if len(rows) > SORTED_MOST:
        raise Invalid(
            "sort" if order.by is not SortKey.CREATED_AT else "group",
            f"more than {counted(SORTED_MOST, 'job')} match, too many to sort them by that: "
            "filter further, or sort by created_at",
        )
    return list(islice(in_order(rows, descending=order.descending, after=after), limit))
