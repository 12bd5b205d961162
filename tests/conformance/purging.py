"""Helpers for tests of the upkeep."""

import os

from msgspec.structs import replace

from crawlyard.core.crawl.page import Body
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.checkpoint import Claim
from crawlyard.core.jobs.job import Job
from crawlyard.core.purge_result import PurgeResult
from crawlyard.store.store import Store
from tests.builders import a_batch, a_target, done, its_event
from tests.conformance.steps import claimed, recorded


async def deleted(store: Store, job: Job) -> None:
    await store.jobs.delete(job.id, job.version, its_event(job, EventName.DELETED))


async def purged(store: Store, rows: int = 1000) -> list[PurgeResult]:
    """Purge to the end and return what each step freed."""
    steps = []
    while freed := await store.upkeep.purge(rows):
        steps.append(freed)
    return steps


async def with_pages(store: Store, count: int, size: int = 100) -> Claim:
    """Return the claim of a job that has that many pages, each with an HTML of *size* bytes."""
    claim = await claimed(store)
    lease = claim.lease
    for first in range(0, count, 200):
        targets = [a_target(f"{lease.job_no}/{n}") for n in range(first, min(first + 200, count))]
        pages = [done(t, {Body.HTML: os.urandom(size)}) for t in targets]
        lease = (await recorded(store, lease, a_batch(targets, pages))).lease
    return replace(claim, lease=lease)
