"""Duration of bulk actions on many jobs, run as operations."""

import sys
import time
from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.filter import FilterKey, condition
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.spec import JobSpec, Priority
from crawlyard.core.operations.bulk import BulkAction, Chosen, JobAction
from crawlyard.services.jobs.submission import MOST, Submission
from crawlyard.store.db.database import Database
from crawlyard.store.tables.jobs import events, new_events
from crawlyard.yard import Yard

HEAD = "| done to {count:,} jobs | s | jobs/s | s of a core | events |\n|---|---|---|---|---|\n"

_TAG = "bulk"

_ACTIONS: tuple[tuple[str, BulkAction], ...] = (
    ("add a tag", BulkAction(action=JobAction.ADD_TAGS, tags=("docs",))),
    ("set the priority", BulkAction(action=JobAction.SET_PRIORITY, priority=Priority.HIGH)),
    ("pause", BulkAction(action=JobAction.PAUSE)),
    ("resume", BulkAction(action=JobAction.RESUME)),
    ("cancel", BulkAction(action=JobAction.CANCEL, reason="the site is being moved")),
    ("resume after cancelling", BulkAction(action=JobAction.RESUME)),
    ("cancel again", BulkAction(action=JobAction.CANCEL)),
    ("retry, as new jobs", BulkAction(action=JobAction.RETRY)),
    ("delete", BulkAction(action=JobAction.DELETE)),
)
"""In this order, each can be done to all of the same jobs."""


async def act_on_many(yard: Yard, database: Database, count: int) -> list[str]:
    """Submit jobs and do everything to all of them; return a row for each action.

    Raises:
        RuntimeError: an operation did not do all of it.
    """
    submitter, ids = yard.services.submitter, list[str]()
    for start in range(0, count, MOST):
        specs = [
            JobSpec(urls=(f"https://site-{n}.example/",), tags=(_TAG,))
            for n in range(start, min(start + MOST, count))
        ]
        drafts = [await submitter.draft(LOCAL, Submission(spec=spec)) for spec in specs]
        ids += [job.id for job in await submitter.enter_all(drafts) if isinstance(job, Job)]
    return [await _row(yard, database, name, action, ids) for name, action in _ACTIONS]


async def _row(
    yard: Yard, database: Database, name: str, action: BulkAction, ids: Sequence[str]
) -> str:
    # by a filter, as "all that match" does it; of the retries none is meant: they came later
    tagged = condition(FilterKey.TAG, [_TAG])
    first = condition(FilterKey.ORIGIN, ["retry"], negated=True)
    before, began, worked = (
        await database.read(_count_events),
        time.perf_counter(),
        time.process_time(),
    )
    done = await yard.services.bulk.act(LOCAL, action, Chosen(where=(tagged, first)))
    if done.operation is None or done.count != len(ids):
        raise RuntimeError(f"{name}: {len(ids):,} jobs were meant, and there are {done.count:,}")
    await yard.operations.drain()
    took, worked = time.perf_counter() - began, time.process_time() - worked
    after = await yard.operations.get(LOCAL, done.operation.id)
    if (after.done, after.failed) != (len(ids), 0):
        raise RuntimeError(f"{name}: {after.done:,} done, {after.failed:,} failed: {after.detail}")
    event_count = await database.read(_count_events) - before
    sys.stderr.write(f"{took:9.1f} s  {name}\n")
    return f"| {name} | {took:.1f} | {len(ids) / took:,.0f} | {worked:.1f} | {event_count:,} |"


def _count_events(conn: Connection) -> int:
    return sum(conn.scalar(select(func.count()).select_from(t)) or 0 for t in (events, new_events))
