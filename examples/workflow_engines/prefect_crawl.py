"""Crawl from Prefect: one flow starts the crawl, another reads its pages once it has ended.

Set CRAWLYARD_SERVER and CRAWLYARD_TOKEN. `python prefect_crawl.py` serves both flows; start the
first one with `prefect deployment run start-crawl/start-crawl`. No process waits for the crawl:
as long as it runs, `read-pages` schedules its next look and ends.
"""

from datetime import UTC, datetime, timedelta

from prefect import flow, runtime, serve, task
from prefect.deployments import run_deployment

from crawlyard import sync

URL = "https://docs.example.org/"  # change these
MAX_PAGES = 500
LOOK_EVERY = timedelta(seconds=60)


@task(retries=3, retry_delay_seconds=5)
def start(url: str, unique_key: str) -> str:
    """Start a crawl, and return the id of its job; a retry gets that of the first attempt."""
    with sync.connect() as yard:
        job = yard.jobs.create(url, unique_key=unique_key, max_pages=MAX_PAGES, tags=["prefect"])
    return job.id


def look_later(job_id: str, look: int) -> None:
    """Schedule a run of `read-pages`, once for each look, also if this is retried."""
    run_deployment(
        "read-pages/read-pages",
        parameters={"job_id": job_id, "look": look},
        scheduled_time=datetime.now(UTC) + LOOK_EVERY,
        idempotency_key=f"{job_id} {look}",
        timeout=0,  # don't wait for it
        as_subflow=False,
    )


@flow
def start_crawl(url: str = URL) -> str:
    """Start a crawl once for this run."""
    job_id = start(url, f"prefect {runtime.flow_run.root_flow_run_id}")
    look_later(job_id, look=1)
    return job_id


@flow(log_prints=True, retries=3, retry_delay_seconds=5)
def read_pages(job_id: str, look: int) -> int | None:
    """Read the pages of a crawl if it has ended; otherwise look again later."""
    with sync.connect() as yard:
        job = yard.jobs.get(job_id)
        if job.state in {"failed", "cancelled"}:
            raise RuntimeError(f"job {job_id}: {job.outcome}")
        if job.state != "completed":
            look_later(job_id, look + 1)
            return None
        count = sum(page.status == 200 for page in yard.jobs.pages(job_id))
    print(f"job {job_id}: {count} pages")
    return count


if __name__ == "__main__":
    serve(start_crawl.to_deployment("start-crawl"), read_pages.to_deployment("read-pages"))
