"""Crawls that wait for nothing but the site, and the command of a worker."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from crawlyard import JobSpec, Settings, TextMode

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
