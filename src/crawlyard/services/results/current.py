"""Current pages of a schedule: those of its last good run, and those it left unproven."""

from collections.abc import AsyncGenerator, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from crawlyard.core.access.job_parts import JobPart, sees_job
from crawlyard.core.access.user import Actor
from crawlyard.core.crawl.changes import MOST_CHANGES, ChangeKind, RunChanges
from crawlyard.core.crawl.page import Body
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.errors import Forbidden, Invalid, NotFound
from crawlyard.services.results.comparison import facts_up_to
from crawlyard.services.results.exporting import PageReader, Source
from crawlyard.services.results.records import PageRecord, with_bodies
from crawlyard.store.queries import JobQuery
from crawlyard.store.store import Store

if TYPE_CHECKING:
    from crawlyard.services.services import Services

_CHUNK = 500  # pages at once
_LATEST = 100  # runs, among which a good one is looked for
_CHANGED = frozenset({ChangeKind.NEW, ChangeKind.SEEN_FIRST, ChangeKind.CHANGED, ChangeKind.MOVED})


async def find_pages(
    services: "Services", actor: Actor, schedule: CrawlSchedule, *, changed: bool
) -> Source:
    """Return the current pages of a schedule, ordered by key; with *changed*, only those.

    Changed pages are those that its last good run has new, changed or moved: of a first run, all.

    Raises:
        NotFound: it has no completed run with pages, or the actor may not see them.
        Forbidden: the run is compared with one whose pages the actor may not see.
        Invalid: there are more changes than a comparison lists.
    """
    job, run = await _find_run(services, actor, schedule)
    read: PageReader = partial(_read_current, services.store, job.id)
    if changed and run.base_id is not None:
        comparison = (await services.changes.diff(actor, run.base_id, job.id)).comparison
        if sum(comparison.tally.get(kind, 0) for kind in _CHANGED) > MOST_CHANGES:
            raise Invalid("changed", f"expected at most {MOST_CHANGES:,} changes; export all pages")
        changes = (change for change in comparison.changes if change.kind in _CHANGED)
        page_ids = [change.after for change in changes if change.after is not None]
        read = partial(_read_by_id, services.store, page_ids)
    return Source(job, read)


async def _find_run(
    services: "Services", actor: Actor, schedule: CrawlSchedule
) -> tuple[Job, RunChanges]:
    """Return the last good run, and its comparison with the one before."""
    store = services.store
    await services.changes.settle(schedule.id)
    query = JobQuery(schedule_id=schedule.id, states=frozenset({State.COMPLETED}))
    completed = await store.jobs.find(query, _LATEST)
    compared = await store.changes.runs([standing.job.id for standing in completed])
    for standing in completed:
        job = standing.job
        if job.id not in compared or not standing.shard.usage.pages:
            continue
        if not sees_job(actor, job, JobPart.PAGES):
            break
        if compared[job.id].hidden and not actor.may_see(job.owner):
            raise Forbidden(f"the last run of {schedule.name} follows one that is not shared")
        return job, compared[job.id]
    raise NotFound(f"schedule {schedule.name} has no completed run with pages yet")


async def _read_current(
    store: Store, job_id: str, kinds: Collection[Body]
) -> AsyncGenerator[PageRecord]:
    after: int | None = None
    while True:
        own = await store.changes.facts(job_id, after, _CHUNK)
        unproven = await store.changes.unproven(job_id, after, _CHUNK)
        earlier = [copy.page for copy in unproven]
        ends = [pages[-1].fp for pages in (own, earlier) if len(pages) == _CHUNK]
        after = min(ends) if ends else None
        # of a page that failed in this run, the copy is what was read of it last
        current = facts_up_to(after, own) | facts_up_to(after, earlier)
        ids = [current[fp].id for fp in sorted(current) if current[fp].error is None]
        async for record in _read_by_id(store, ids, kinds):
            yield record
        if after is None:
            return


async def _read_by_id(
    store: Store, page_ids: Sequence[int], kinds: Collection[Body]
) -> AsyncGenerator[PageRecord]:
    for first in range(0, len(page_ids), _CHUNK):
        pages = await store.pages.by_id(page_ids[first : first + _CHUNK])
        for record in await with_bodies(store, pages, kinds):
            yield record
