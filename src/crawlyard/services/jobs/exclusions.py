"""Exclusions: patterns added to a job that has not ended, with a dry run first."""

from msgspec.structs import replace

from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.access.user import Actor
from crawlyard.core.crawl.page import TargetState
from crawlyard.core.endpoints.endpoint import reply
from crawlyard.core.jobs.detail_answers import ExclusionOut
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import LIFECYCLE, STATE_WORDS
from crawlyard.core.jobs.spec import Scope
from crawlyard.engine.scope import Boundary
from crawlyard.errors import Conflict, IllegalMove, Invalid, Version, check_version
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.jobs.moves import JobWriter
from crawlyard.services.jobs.verdicts import check_may_change
from crawlyard.services.races import TRIES
from crawlyard.store.store import Store

MOST_SAMPLES = 10

_PORTION = 2_000  # URLs checked per read, which takes some milliseconds


async def exclude(
    writer: JobWriter,
    actor: Actor,
    job_id: str,
    pattern: str,
    *,
    dry_run: bool,
    version: Version = None,
) -> ExclusionOut:
    """Exclude URLs that match *pattern* from a job; count the waiting ones.

    Raises:
        NotFound, Forbidden: as the names say.
        Invalid: *pattern* is not a valid pattern, or the job has too many.
        IllegalMove: the job has ended.
        Stale: the job is not at *version*.
    """
    for _ in range(TRIES):
        job = (await find_job(writer.store, actor, job_id, JobPart.STATE)).job
        _check(actor, job)
        boundary = _judge(job, pattern)
        check_version(f"job {job_id}", job.version, version)
        count, samples = await _waiting(writer.store, job.id, boundary)
        changed = not dry_run and pattern not in job.spec.exclude
        if changed:
            patterns = (*job.spec.exclude, pattern)
            try:
                job = await writer.edit(actor, job_id, {"exclude": patterns}, job.version)
            except Conflict:
                continue
        reply().unchanged, reply().dry_run = not changed, dry_run
        return ExclusionOut(
            job_id=job.id,
            version=job.version,
            pattern=pattern,
            dry_run=dry_run,
            pending_removed=count,
            samples=samples,
            exclude=job.spec.exclude,
        )
    raise Conflict(f"job {job_id} keeps changing; try again")


async def _waiting(store: Store, job_id: str, boundary: Boundary) -> tuple[int, tuple[str, ...]]:
    """Return how many waiting URLs a boundary excludes, and the first of them."""
    count, after = 0, 0
    samples: list[str] = []
    while True:
        urls = await store.frontier.upcoming(job_id, after, _PORTION, (TargetState.WAITING,))
        for url in urls:
            if boundary.verdict_via(url.via, url.url, 0) is not None:
                count += 1
                samples += [url.url] if len(samples) < MOST_SAMPLES else []
        if len(urls) < _PORTION:
            return count, tuple(samples)
        after = urls[-1].key


def _check(actor: Actor, job: Job) -> None:
    check_may_change(actor, job)
    if job.state.ended:
        message = f"cannot exclude URLs from a job that is {STATE_WORDS[job.state]}"
        raise IllegalMove(message, allowed=tuple(LIFECYCLE[job.state]))


def _judge(job: Job, pattern: str) -> Boundary:
    """Return a boundary that excludes only what *pattern* matches."""
    alone = replace(job.spec, scope=Scope.ANY, include=(), exclude=(pattern,), max_depth=None)
    try:
        return Boundary(alone, ())
    except Invalid as error:
        raise Invalid("pattern", error.message) from None
