"""Crawl from Dagster: an asset starts the crawl, a sensor notices its end and requests the rest.

Set CRAWLYARD_SERVER and CRAWLYARD_TOKEN. Load it with `dagster dev -f dagster_crawl.py`.
"""

from collections.abc import Iterator

import dagster as dg

from crawlyard import sync

URL = "https://docs.example.org/"  # change these
MAX_PAGES = 500
DAILY = dg.DailyPartitionsDefinition("2026-01-01")
KEY = "dagster docs "  # with the day, the unique key of the crawl


@dg.asset(partitions_def=DAILY, retry_policy=dg.RetryPolicy(max_retries=3, delay=5))
def crawl(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Crawl of a day, started: the run ends while the crawl goes on."""
    with sync.connect() as yard:
        # a retry, or another run for the same day, gets the job of the first one
        job = yard.jobs.create(
            URL, unique_key=KEY + context.partition_key, max_pages=MAX_PAGES, tags=["dagster"]
        )
    return dg.MaterializeResult(metadata={"job_id": job.id})


class Crawl(dg.Config):
    """Crawl whose pages are read."""

    job_id: str


@dg.asset(partitions_def=DAILY, deps=[crawl])
def pages(context: dg.AssetExecutionContext, config: Crawl) -> dg.MaterializeResult:
    """Pages of a day."""
    with sync.connect() as yard:
        count = sum(page.status == 200 for page in yard.jobs.pages(config.job_id))
    return dg.MaterializeResult(metadata={"pages": count})


read_pages = dg.define_asset_job("read_pages", [pages], partitions_def=DAILY)


@dg.sensor(job=read_pages, minimum_interval_seconds=30)
def crawl_completed() -> Iterator[dg.RunRequest]:
    """Request a run for each crawl that has completed; the run key allows one for each job."""
    with sync.connect() as yard:
        jobs = yard.jobs.list(tag="dagster", state="completed", sort="-ended_at").items
    for job in jobs:
        yield dg.RunRequest(
            run_key=job.id,
            run_config={"ops": {"pages": {"config": {"job_id": job.id}}}},
            partition_key=str(job.spec.unique_key).removeprefix(KEY),
        )


defs = dg.Definitions(assets=[crawl, pages], jobs=[read_pages], sensors=[crawl_completed])
