"""What the processes of `crawlyard bench` do, and tell of it."""

import resource
import sys
from datetime import timedelta
from pathlib import Path
from statistics import quantiles

from msgspec import Struct

from crawlyard.cli.loop import result_of
from crawlyard.clock import SystemClock
from crawlyard.config import Settings
from crawlyard.core.checkpoint import Asker
from crawlyard.core.spec import JobSpec, TextMode
from crawlyard.core.user import LOCAL
from crawlyard.yard import Yard

AT_ONCE = 32  # requests

_LEASE = timedelta(minutes=10)  # longer than it takes
_KIB = 1 if sys.platform == "darwin" else 1024  # bytes in the unit that getrusage counts in


class Place(Struct, frozen=True):
    """Where a yard is kept."""

    data_dir: Path
    database_url: str

    @property
    def settings(self) -> Settings:
        """Return the settings of the yard; what else they say is as users have it."""
        return Settings(data_dir=self.data_dir, database_url=self.database_url)


class Crawled(Struct, frozen=True):
    """What one crawl brought and took."""

    pages: int
    wall_s: float
    cpu_s: float  # of this process, all its threads
    peak_bytes: int  # resident, from its start on


class Queued(Struct, frozen=True):
    """What submissions and claims took, one after the other."""

    submitting_s: float  # all of them
    claim_p50_ms: float
    claim_p99_ms: float


def crawled(place: Place, url: str) -> Crawled:
    """Crawl the site at *url*, and return what that took from the claim to the end."""
    told: Crawled = result_of(_crawled(place, url))
    return told


def queued(place: Place, url: str, jobs: int) -> Queued:
    """Submit so many jobs and claim them, and return what that took."""
    told: Queued = result_of(_queued(place, url, jobs))
    return told


async def _crawled(place: Place, url: str) -> Crawled:
    clock = SystemClock()
    async with Yard.open(place.settings) as yard:
        job = await yard.jobs.submit(LOCAL, _spec(url))
        worker = yard.worker(only=job.id)  # the engine is loaded here
        began, spent = clock.monotonic(), _cpu_s()
        await worker.run()
        wall_s, cpu_s = clock.monotonic() - began, _cpu_s() - spent
        usage = (await yard.jobs.get(LOCAL, job.id)).shard.usage
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
    return Crawled(usage.pages - usage.errors, wall_s, cpu_s, peak)


async def _queued(place: Place, url: str, jobs: int) -> Queued:
    clock, spec = SystemClock(), _spec(url)
    async with Yard.open(place.settings) as yard:
        began = clock.monotonic()
        for _ in range(jobs):
            await yard.jobs.submit(LOCAL, spec)
        submitting_s = clock.monotonic() - began
        asker, claims = Asker(worker="bench"), []
        for _ in range(jobs):
            began = clock.monotonic()
            await yard.store.leases.claim(asker, clock.now(), _LEASE)
            claims.append(1000 * (clock.monotonic() - began))
    shares = quantiles(claims * 2 if jobs == 1 else claims, n=100, method="inclusive")
    return Queued(submitting_s, shares[49], shares[98])


def _spec(url: str) -> JobSpec:
    return JobSpec(
        urls=(url,),
        name="bench",
        allow_private=True,
        delay=timedelta(0),
        per_host=AT_ONCE,
        concurrency=AT_ONCE,
        text=TextMode.NONE,
    )


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
