"""Crawl from Airflow: a deferrable operator starts the crawl, the triggerer waits for it.

Set CRAWLYARD_SERVER and CRAWLYARD_TOKEN for the workers and the triggerer. The triggerer imports
`CrawlTrigger` from this file: keep it in a folder that is on its `sys.path`, such as `plugins`.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, dag, task
from airflow.triggers.base import BaseTrigger, TriggerEvent

import crawlyard
from crawlyard import sync

URL = "https://docs.example.org/"  # change these
MAX_PAGES = 500
LONGEST = timedelta(hours=6)


class CrawlTrigger(BaseTrigger):
    """Trigger that fires when a job has ended; the triggerer runs many in one process."""

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self.job_id = job_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments, to be created again in the triggerer."""
        return "airflow_crawl.CrawlTrigger", {"job_id": self.job_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the end of the job."""
        async with crawlyard.connect() as yard:
            job = await yard.jobs.wait(
                self.job_id, timeout_s=None, states="completed", without_worker=True
            )
        yield TriggerEvent({"job_id": job.id, "state": str(job.state), "outcome": job.outcome})


class CrawlOperator(BaseOperator):
    """Operator that starts a crawl once, and returns the id of the job when it has completed."""

    template_fields = ("url", "unique_key")

    def __init__(self, *, url: str, unique_key: str, **options: Any) -> None:
        super().__init__(**options)
        self.url = url
        self.unique_key = unique_key

    def execute(self, context: Any) -> None:
        """Start the crawl, and free the worker until it has ended."""
        with sync.connect() as yard:
            # a retry gets the job of the first attempt
            job = yard.jobs.create(
                self.url, unique_key=self.unique_key, max_pages=MAX_PAGES, tags=["airflow"]
            )
        self.defer(trigger=CrawlTrigger(job.id), method_name="finish", timeout=LONGEST)

    def finish(self, context: Any, event: dict[str, str]) -> str:
        """Return the id of the job, or fail."""
        if event["state"] != "completed":
            raise RuntimeError(f"job {event['job_id']}: {event['outcome']}")
        return event["job_id"]


@dag(schedule="@daily", start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False)
def docs() -> None:
    """Crawl the documentation every day."""

    @task
    def read_pages(job_id: str) -> int:
        with sync.connect() as yard:
            return sum(page.status == 200 for page in yard.jobs.pages(job_id))

    crawl = CrawlOperator(
        task_id="crawl", url=URL, unique_key="airflow {{ run_id }}",
        retries=3, retry_delay=timedelta(seconds=5),
    )  # fmt: skip
    read_pages(crawl.output)


docs()
