"""Explanations: what a job is waiting for, and what happened or would happen to a URL."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor
from crawlyard.core.crawl.page import KnownURL, TargetState, UrlOutcome, UrlOutcomeKind
from crawlyard.core.jobs.checkpoint import Standing
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.spec import JobSpec, Strategy
from crawlyard.core.jobs.waiting import Surroundings, Wait, pending_waits, running_waits
from crawlyard.core.quantity import counted
from crawlyard.core.words import error_words
from crawlyard.engine.discovery import NAMED_BY_ROBOTS
from crawlyard.engine.scope import Boundary
from crawlyard.engine.urls import canonical, fingerprint
from crawlyard.services.jobs.manager import JobManager
from crawlyard.services.workers.reporting import ALIVE
from crawlyard.store.store import Store

MOST_PLACES = 1_000
"""How many places of the queue are counted for a list of jobs."""

MOST_AHEAD = 10_000
"""How many jobs ahead are counted for a single job."""

_REDIRECT = "redirect to "


class Why:
    """Explains waits and URLs. Jobs that the actor may not see raise `NotFound`."""

    def __init__(self, store: Store, jobs: JobManager, clock: Clock) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock

    async def waits(
        self, standings: Sequence[Standing], *, new: bool = False
    ) -> Mapping[str, tuple[Wait, ...]]:
        """Return what jobs wait for, by job id; jobs that wait for nothing are left out.

        Takes three reads, however many jobs there are. For a single pending job, more places
        in the queue are counted. A *new* job, which is the only one, is not stored yet.
        """
        now = self._clock.now()
        live = [one for one in standings if one.job.state in (State.PENDING, State.RUNNING)]
        if not live:
            return {}
        reports = await self._store.workers.find()
        alive = tuple(report for report in reports if now - report.beat_at <= ALIVE)
        pending = [one for one in live if one.job.state is State.PENDING]
        counted = MOST_AHEAD if len(pending) == 1 else MOST_PLACES
        among = Surroundings(workers=alive, counted=counted)
        held_back = await self._store.queue.held_back(now) if pending else {}
        places = await self._places(pending, held_back, now, new=new)
        told: dict[str, tuple[Wait, ...]] = {}
        for one in live:
            job, until = one.job, one.shard.lease_until
            if job.state is State.RUNNING:
                found = running_waits(job, now, alive)
            else:
                held = one.shard.worker is not None and until is not None and until > now
                quota, place = held_back.get(job.owner), places.get(job.id)
                found = pending_waits(job, now, quota, place, is_held=held, among=among)
            if found:
                told[job.id] = found
        return told

    async def url(self, actor: Actor, job_id: str, url: str) -> UrlOutcome:
        """Return what happened to *url* in a job, or what would happen.

        Raises:
            NotFound: there is no such job, or it belongs to another user.
            Invalid: *url* is not an http or https URL.
        """
        standing = await self._jobs.get(actor, job_id)
        job_id, url = standing.job.id, canonical(url)
        known = await self._store.frontier.find(job_id, fingerprint(url))
        if known is None:
            return await self._never_found(standing, url)
        match known.state:
            case TargetState.DONE | TargetState.FAILED:
                return await self._answered(job_id, known)
            case TargetState.WAITING:
                return await self._waiting(standing.job, known)
            case _:
                return _kept_out(known)

    async def _places(
        self,
        pending: Sequence[Standing],
        held_back: Mapping[str, str],
        now: datetime,
        *,
        new: bool,
    ) -> dict[str, int]:
        """Return the number of jobs ahead of each job that may start now, as far as counted."""
        able = [s.job for s in pending if s.job.due_at <= now and s.job.owner not in held_back]
        if len(able) == 1:
            (job,) = able
            most = MOST_AHEAD + 1
            count = await self._store.queue.ahead(job, now, most, held_back, new=new)
            return {job.id: count} if count <= MOST_AHEAD else {}
        if not able:
            return {}
        front = await self._store.queue.front(now, MOST_PLACES, held_back)
        return {job_id: place for place, job_id in enumerate(front)}

    async def _answered(self, job_id: str, known: KnownURL) -> UrlOutcome:
        page = await self._store.inquiries.page_of(job_id, fingerprint(known.url))
        failed = known.state is TargetState.FAILED
        status = page.page.status if page is not None else None
        error = page.page.error if page is not None else None
        if failed and error is not None:
            reason = error_words(error.kind, status)
            detail = f"it failed: {reason}{error.detail and f' ({error.detail})'}"
        else:
            detail = f"it was fetched and answered {status}"
        kind = UrlOutcomeKind.FAILED if failed else UrlOutcomeKind.FETCHED
        return UrlOutcome(url=known.url, kind=kind, detail=detail, known=known, page=page)

    async def _waiting(self, job: Job, known: KnownURL) -> UrlOutcome:
        boundary = boundary_of(job.spec, await self._store.inquiries.roots(job.id))
        rule = boundary.verdict_as(known.via, known.url, known.depth)
        if rule is not None:
            detail = f"it is waiting and will be skipped ({rule})"
            return UrlOutcome(
                url=known.url, kind=UrlOutcomeKind.WAITING, detail=detail, known=known, rule=rule
            )
        deep = job.spec.strategy is Strategy.DEPTH_FIRST
        before = await self._store.inquiries.before(job.id, known, depth_first=deep)
        ahead = counted(before, "URL is", "URLs are")
        detail = f"{ahead} ahead of it" if before else "it is next in line"
        return UrlOutcome(
            url=known.url,
            kind=UrlOutcomeKind.WAITING,
            detail=f"it waits: {detail}",
            known=known,
            position=before + 1,
        )

    async def _never_found(self, standing: Standing, url: str) -> UrlOutcome:
        job = standing.job
        rule = boundary_of(job.spec, await self._store.inquiries.roots(job.id)).verdict(url, 0)
        if rule is not None:
            detail = f"no page named it; it would be kept out ({rule})"
        elif job.state.ended:
            detail = "no page that was fetched named it, though it is in scope"
        else:
            detail = "no page that was fetched so far names it, though it is in scope"
        if rule is None and job.spec.max_depth is not None:
            detail += f" (up to depth {job.spec.max_depth})"
        return UrlOutcome(url=url, kind=UrlOutcomeKind.NEVER_FOUND, detail=detail, rule=rule or "")


def boundary_of(spec: JobSpec, roots: Sequence[str] = ()) -> Boundary:
    """Return the boundary of a crawl; *roots* are the URLs its seeds were redirected to."""
    seeds = [canonical(url) for url in spec.urls]
    sitemaps = [canonical(url) for url in spec.sitemaps if url != NAMED_BY_ROBOTS]
    boundary = Boundary(spec, seeds or sitemaps)
    for root in roots:
        boundary.add_seed(root)
    return boundary


def _kept_out(known: KnownURL) -> UrlOutcome:
    to, rule = None, known.rule
    if known.rule.startswith(_REDIRECT):
        # a canonical URL contains no space
        to, _, rule = known.rule.removeprefix(_REDIRECT).partition(": ")
    if known.state is TargetState.REDIRECTED:
        kind, detail = UrlOutcomeKind.REDIRECTED, f"it led to {to}"
    else:
        kind = UrlOutcomeKind.SKIPPED
        detail = f"it was not kept: {known.rule}"
    return UrlOutcome(
        url=known.url, kind=kind, detail=detail, known=known, redirected_to=to, rule=rule
    )
