"""Crawl from Temporal: a workflow starts the crawl, and waits for it with timers.

Set CRAWLYARD_SERVER and CRAWLYARD_TOKEN for the worker. `python temporal_crawl.py` runs a worker;
start a workflow with
`temporal workflow start --type CrawlSite --task-queue crawls --input '"URL"'`.
"""

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    import crawlyard

TEMPORAL = "127.0.0.1:7233"  # change these
QUEUE = "crawls"
MAX_PAGES = 500
FIRST_LOOK = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=5)
TIMEOUT = timedelta(minutes=1)  # of one attempt of an activity


@activity.defn
async def start_crawl(url: str) -> str:
    """Start a crawl, and return the id of its job; a retry gets that of the first attempt."""
    async with crawlyard.connect() as yard:
        job = await yard.jobs.create(
            url,
            unique_key=f"temporal {activity.info().workflow_run_id}",
            max_pages=MAX_PAGES,
            tags=["temporal"],
        )
    return job.id


@activity.defn
async def state_of(job_id: str) -> str:
    """Return the state of a job."""
    async with crawlyard.connect() as yard:
        return str((await yard.jobs.get(job_id)).state)


@activity.defn
async def count_pages(job_id: str) -> int:
    """Read the pages of a job; results of activities are small, so store the rows elsewhere."""
    async with crawlyard.connect() as yard:
        return len([page async for page in yard.jobs.pages(job_id) if page.status == 200])


@workflow.defn
class CrawlSite:
    """Workflow that crawls a site, and returns the number of its pages."""

    @workflow.run
    async def run(self, url: str) -> int:
        """Start the crawl, wait for its end and read its pages."""
        job_id = await workflow.execute_activity(start_crawl, url, start_to_close_timeout=TIMEOUT)
        state, pause = "", FIRST_LOOK
        while state not in {"completed", "failed", "cancelled"}:
            await workflow.sleep(pause)  # a timer of the server: no worker is held
            pause = min(2 * pause, LONGEST_PAUSE)
            state = await workflow.execute_activity(
                state_of, job_id, start_to_close_timeout=TIMEOUT
            )
        return await workflow.execute_activity(count_pages, job_id, start_to_close_timeout=TIMEOUT)


async def main() -> None:
    """Run a worker."""
    client = await Client.connect(TEMPORAL)
    activities = [start_crawl, state_of, count_pages]
    await Worker(client, task_queue=QUEUE, workflows=[CrawlSite], activities=activities).run()


if __name__ == "__main__":
    asyncio.run(main())
