"""Groups of jobs: their totals, and the event at their end."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from crawlyard.core.events.event import Event
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.operations.group import JobGroup, group_ended_by
from crawlyard.store.db.database import StorePart, is_postgres, reads
from crawlyard.store.jobs.unique_keys import advisory_key
from crawlyard.store.tables.jobs import PRESENT, STANDING, jobs, shards

_TOTALS = ("pages", "errors", "bytes", "discovered", "done")


class GroupStore(StorePart):
    """Reads groups of jobs."""

    @reads
    def get(self, conn: Connection, group_id: str) -> JobGroup | None:
        """Return a group, ``None`` if it has no jobs that are not deleted."""
        return _group(conn, group_id)


def end_groups(conn: Connection, events: Sequence[Event]) -> list[Event]:
    """Return an event for each group that ends by *events*.

    The rows of the jobs are written. Of two transactions that end the last two jobs of a group,
    the second waits for the first and sees its job ended: exactly one transaction ends the group.
    """
    last = {group_id: event for event in events if (group_id := group_ended_by(event))}
    ended: list[Event] = []
    for group_id in sorted(last):  # in order, to avoid deadlocks
        if is_postgres(conn):  # on SQLite, a transaction that writes is alone
            conn.execute(select(func.pg_advisory_xact_lock(advisory_key(("group", group_id)))))
        group = _group(conn, group_id)
        if group is not None and group.ended:
            ended.append(group.completed(last[group_id]))
    return ended


_QUERY = select(
    jobs.c.owner,
    jobs.c.state,
    func.count().label("jobs"),
    func.min(jobs.c.created_at, type_=jobs.c.created_at.type).label("created_at"),
    func.max(jobs.c.ended_at, type_=jobs.c.ended_at.type).label("ended_at"),
    *(func.sum(shards.c[name]).label(name) for name in _TOTALS),
).group_by(jobs.c.owner, jobs.c.state)


def _group(conn: Connection, group_id: str) -> JobGroup | None:
    query = _QUERY.select_from(STANDING).where(PRESENT, jobs.c.group_id == group_id)
    rows = conn.execute(query).mappings().all()
    if not rows:
        return None
    return JobGroup(
        id=group_id,
        owner=rows[0]["owner"],
        states={State(row["state"]): row["jobs"] for row in rows},
        created_at=min(row["created_at"] for row in rows),
        ended_at=max((row["ended_at"] for row in rows if row["ended_at"]), default=None),
        **{name: int(sum(row[name] for row in rows)) for name in _TOTALS},
    )
