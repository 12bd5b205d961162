"""Crawls that wait for nothing but the site, and worker processes that run them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from crawlyard import LOCAL, JobSpec, Settings, TextMode, Yard
from crawlyard.core.jobs.job import Job

_WORK = ("work", "--jobs", "1", "--no-scheduler", "--no-webhooks", "--no-janitor")


def a_spec(url: str, at_once: int, **more: Any) -> JobSpec:
    """Return a job that crawls a site from *url* without a delay, so many requests at once."""
    return JobSpec(
        urls=(url,),
        concurrency=at_once,
        per_host=at_once,
        delay_s=0,
        text=TextMode.NONE,
        allow_private=True,
        **more,
    )


def command() -> tuple[str, ...]:
    """Return what runs a worker with one job at a time, and nothing else."""
    return (sys.executable, "-m", "crawlyard", *_WORK)


def environment(settings: Settings) -> Mapping[str, str]:
    """Return the environment of a worker on a store."""
    place = {"CRAWLYARD_DATA_DIR": str(settings.data_dir)}
    url = settings.database_url
    return os.environ | place | ({"CRAWLYARD_DATABASE_URL": url} if url else {})


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[int]:
    """Run a worker process until the end of the block; give its process id."""
    process = await asyncio.create_subprocess_exec(
        *command(),
        env=environment(settings),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


async def ready(yard: Yard, workers: int) -> None:
    """Return once so many workers are there."""
    while len(await yard.store.workers.find()) < workers:  # noqa: ASYNC110 - other processes
        await asyncio.sleep(0.05)


async def ended(yard: Yard, job_id: str) -> Job:
    """Return a job once it has ended."""
    while not (job := (await yard.jobs.get(LOCAL, job_id)).job).state.ended:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return job
