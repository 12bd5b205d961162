"""Link check of a job, from its stored redirects, pages, links and ids."""

import asyncio
from collections import OrderedDict
from collections.abc import Set as AbstractSet
from contextlib import aclosing

from msgspec import Struct

from crawlyard.clock import Clock
from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.access.user import Actor
from crawlyard.core.crawl.link import decode_ids, decode_links
from crawlyard.core.crawl.link_check import (
    MOST_PAGES,
    Finding,
    LinkCheck,
    mark_new,
    missing_fragments,
)
from crawlyard.core.crawl.link_check_answers import CheckOut
from crawlyard.core.crawl.page import Body, TargetState
from crawlyard.core.jobs.job import Job
from crawlyard.errors import Invalid
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.results.records import page_records
from crawlyard.services.results.terms import check_links_kept
from crawlyard.store.queries import PageQuery
from crawlyard.store.store import Store

_CHUNK = 5_000
_REMEMBERED = 4  # reports
_FRESH_S = 60  # in which a report of a job that goes on is not made anew
_NOT_PAGES = (TargetState.WAITING, TargetState.REDIRECTED, TargetState.SKIPPED)


class _Report(Struct, frozen=True):
    """A cached report, the state of the job it describes, and its expiry."""

    told: CheckOut
    of: tuple[int, int]
    until: float


class Checking:
    """Checks the links of jobs, including running ones."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._turn = asyncio.Lock()  # two checks at once would take twice the memory
        self._recent: OrderedDict[str, _Report] = OrderedDict()

    async def report(self, actor: Actor, job_id: str) -> CheckOut:
        """Return the report of `job` with the first links of each finding, for reading in portions.

        For a running job, it may be a minute old.
        """
        standing = await find_job(self._store, actor, job_id, JobPart.PAGES)
        job, of = standing.job, (standing.job.version, standing.shard.usage.done)
        async with self._turn:
            report, now = self._recent.get(job.id), self._clock.monotonic()
            if report is None or (report.of != of and now >= report.until):
                check, findings = await self._check(job)
                answer = CheckOut.of(job, None, check, findings)
                report = _Report(answer.shorten(), of, self._clock.monotonic() + _FRESH_S)
                self._recent[job.id] = report
                if len(self._recent) > _REMEMBERED:
                    self._recent.popitem(last=False)
            self._recent.move_to_end(job.id)
            return report.told

    async def job(self, actor: Actor, job_id: str, since: str | None = None) -> CheckOut:
        """Return the checks done on a job, and their findings.

        With *since*, findings that the check of that job does not have are marked as new.

        Raises:
            NotFound: there is no such job, or it belongs to another user.
            Invalid: a job has more than `MOST_PAGES`, or keeps no links.
        """
        job = (await find_job(self._store, actor, job_id, JobPart.PAGES)).job
        check, findings = await self._check(job)
        if since is not None:
            earlier = (await find_job(self._store, actor, since, JobPart.PAGES)).job
            _, before = await self._check(earlier)
            findings = mark_new(findings, before)
        return CheckOut.of(job, since, check, findings)

    async def _check(self, job: Job) -> tuple[LinkCheck, list[Finding]]:
        check_links_kept(job.spec)
        job_id, check = job.id, LinkCheck(nofollow=job.spec.follow_nofollow)
        # pages matter only if a sitemap may list them
        states = tuple(TargetState) if job.spec.sitemaps else _NOT_PAGES
        async with aclosing(page_records(self._store, job_id, PageQuery(), ())) as pages:
            async for stored, _ in pages:
                if len(check.pages) >= MOST_PAGES:
                    problem = f"expected a job of at most {MOST_PAGES:,} pages, {job_id} has more"
                    raise Invalid("job_id", problem)
                check.add_page(stored.page)
        after = 0
        while urls := await self._store.frontier.upcoming(job_id, after, _CHUNK, states):
            for url in urls:
                check.add_known(url)
            after = urls[-1].key
        async with aclosing(page_records(self._store, job_id, PageQuery(), [Body.LINKS])) as pages:
            async for stored, bodies in pages:
                if bodies:
                    check.add_links(stored.page.final_url, decode_links(bodies[Body.LINKS]))
        check.add_unlinked()
        return check, check.findings(await self._missing(job_id, check))

    async def _missing(self, job_id: str, check: LinkCheck) -> dict[str, AbstractSet[str]]:
        """Return the fragments missing from pages; a page without stored ids has none missing."""
        missing: dict[str, AbstractSet[str]] = {}
        if not check.wanted:
            return missing
        records = page_records(self._store, job_id, PageQuery(), [Body.ANCHORS])
        async with aclosing(records) as pages:
            async for stored, bodies in pages:
                url = stored.page.final_url
                if bodies and url in check.wanted and not stored.page.needs_scripts:
                    ids = decode_ids(bodies[Body.ANCHORS])
                    missing[url] = missing_fragments(check.wanted[url], ids)
        return missing
