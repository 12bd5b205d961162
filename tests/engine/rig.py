"""A whole yard in memory, to crawl sites that a test serves."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from crawlyard import LOCAL, Job, JobSpec, Page, Settings, State, Usage, Yard
from crawlyard.core.crawl.page import SkippedURL, Target
from crawlyard.core.jobs.checkpoint import Asker, Batch
from crawlyard.core.jobs.progress import Progress
from crawlyard.engine.urls import fingerprint, host_of
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.results.records import page_records
from crawlyard.services.workers.order_watch import watch_orders
from crawlyard.services.workers.run import JobRun, WorkerContext
from crawlyard.store.queries import PageQuery
from crawlyard.yard import IN_MEMORY
from tests.jobs import submit


@dataclass
class Outcome:
    job: Job
    usage: Usage
    pages: list[Page] = field(default_factory=list)
    skipped: list[SkippedURL] = field(default_factory=list)

    @property
    def stored(self) -> Counter[str]:
        """Number of page records by URL."""
        return Counter(page.final_url for page in self.pages)

    @property
    def ok(self) -> set[str]:
        """URLs that were stored without an error."""
        return {page.final_url for page in self.pages if page.error is None}

    @property
    def errors(self) -> dict[str, str]:
        """Kind of error by failed URL."""
        return {page.final_url: page.error.kind.value for page in self.pages if page.error}

    @property
    def rules(self) -> dict[str, str]:
        """Rule by skipped URL."""
        return {skipped.url: skipped.rule for skipped in self.skipped}


def a_spec(*urls: str, **changes: Any) -> JobSpec:
    """Return a spec without politeness, for a site of ours; none of its pages is rendered."""
    fields: dict[str, Any] = {
        "urls": urls,
        "allow_private": True,
        "delay_s": 0,
        "per_host": 16,
        "url_retries": 0,
        "render": "never",
    }
    return JobSpec(**fields | changes)


@asynccontextmanager
async def opened(
    tmp_path: Path, *, database_url: str = IN_MEMORY, **settings: Any
) -> AsyncIterator[Yard]:
    """Open a yard in memory, or on the given database, with its data in *tmp_path*."""
    chosen = Settings(data_dir=tmp_path / "data", database_url=database_url, **settings)
    async with Yard.open(chosen) as yard:
        yield yard


async def outcome(yard: Yard, job_id: str) -> Outcome:
    """Return what a job has come to so far."""
    standing = await find_job(yard.store, LOCAL, job_id)
    return Outcome(
        standing.job,
        standing.shard.usage,
        [stored.page async for stored, _ in page_records(yard.store, job_id, PageQuery())],
        [skipped for _, skipped in await yard.store.pages.list_skipped(job_id, 0, 100_000)],
    )


async def crawled(yard: Yard, spec: JobSpec) -> Outcome:
    """Submit a job, run it to its end and return what came of it."""
    job = await submit(yard, spec)
    await run(yard, job.id)
    return await outcome(yard, job.id)


async def run(yard: Yard, job_id: str) -> None:
    """Run one job until a worker has no more to do for it."""
    await yard.worker(only=job_id).run()


async def published(yard: Yard, job_id: str, *, done: int) -> Progress:
    """Return the progress of a job once *done* of its URLs are finished and recorded."""
    async with asyncio.timeout(120):
        while True:
            latest = await yard.progress.latest(job_id)
            if latest is not None and latest.done >= done:
                return latest
            if (await find_job(yard.store, LOCAL, job_id)).job.state.ended:
                message = f"the job ended before {done} were done"
                raise AssertionError(message)
            await asyncio.sleep(0)


async def until_state(yard: Yard, job_id: str, state: State) -> None:
    """Return once a job is in *state*."""
    async with asyncio.timeout(120):
        while (await find_job(yard.store, LOCAL, job_id)).job.state is not state:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def begun(yard: Yard, *seeds: str) -> None:
    """Let another worker begin the one job that waits, record *seeds* alone, and let it go."""
    now, lease = yard.clock.now(), timedelta(seconds=10)
    claim = await yard.store.leases.claim(Asker("before"), now, lease)
    assert claim is not None
    targets = tuple(Target(url, fingerprint(url), host_of(url)) for url in seeds)
    batch = Batch(found=targets, usage=Usage(discovered=len(targets)))
    await yard.store.frontier.record([(claim.lease, batch)], now, lease)
    job, event = claim.job.yield_slot(now, actor="worker:before")
    await yard.store.leases.settle(claim.lease, job, event)


@asynccontextmanager
async def watched(run: JobRun, shop: WorkerContext) -> AsyncIterator[None]:
    """Read the orders of a run during the block, as its worker does."""
    watching = asyncio.create_task(watch_orders(shop, lambda: [run]))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
