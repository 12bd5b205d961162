"""Crawled site of a job: its folders, paths to its pages, findings about its links."""

from typing import Annotated

from msgspec import Meta

from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.access.user import Permit
from crawlyard.core.crawl.link_check import FindingKind
from crawlyard.core.crawl.link_check_answers import CheckOut, FindingsOut
from crawlyard.core.crawl.page_answers import FateOut, PathStepOut, SiteMapOut
from crawlyard.core.endpoints.endpoint import Cursor, Limit, Slice, Words, endpoint
from crawlyard.core.parse import none_of
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily
from crawlyard.services.jobs.terms import words_of
from crawlyard.services.noun import Noun
from crawlyard.services.results.terms import Under, URLArgument, canonical_of, place_of

# imported when first used: they load the store
with lazily():
    from crawlyard.services.jobs import lookup
    from crawlyard.services.results import records, url_fate

RESULTS = Permit.RESULTS_READ


class CrawledSite(Noun):
    """Reads the structure of the site that a job crawls, also while it runs.

    A job that the user may not see raises `NotFound`.
    """

    @endpoint("GET /jobs/{job_id}/map", RESULTS, noun="site", group="results", name="site_map")
    async def map(self, job_id: str, *, under: Under = "") -> SiteMapOut:
        """Count the URLs of a job by folder and outcome, the largest folders first.

        Without `under`, by host; if there is only one host, by its folders. At most 60 are listed.
        """
        job = (await lookup.find_job(self._services.store, self._actor, job_id, JobPart.PAGES)).job
        return SiteMapOut.filled(
            await records.folders(self._services.store, job.id, place_of(under))
        )

    @endpoint("GET /jobs/{job_id}/path", RESULTS, noun="site", group="results")
    async def path(self, job_id: str, url: URLArgument) -> Slice[PathStepOut]:
        """List the pages that led to a URL, from the start URL; empty if it was not discovered.

        Of a longer path, the last 20.
        """
        url = canonical_of("url", url)
        job = (await lookup.find_job(self._services.store, self._actor, job_id, JobPart.PAGES)).job
        steps = await records.path_to(self._services.store, job, url)
        return Slice(items=[PathStepOut.filled(step) for step in steps])

    @endpoint("GET /jobs/{job_id}/why", Permit.JOBS_READ, noun="site", group="jobs")
    async def why(self, job_id: str, url: URLArgument) -> FateOut:
        """Return the outcome of a URL: fetched, failed, waiting, excluded by a rule, unknown."""
        standing = await lookup.find_job(self._services.store, self._actor, job_id, JobPart.PAGES)
        return FateOut.of(await url_fate.fate_of(self._services.store, standing.job, url))

    @endpoint("GET /jobs/{job_id}/check", RESULTS, noun="site", group="results")
    async def check(
        self,
        job_id: str,
        *,
        since: Annotated[
            Annotated[str, Meta(max_length=36)] | None,
            Meta(description="The id of an earlier job: say which findings are new."),
        ] = None,
    ) -> CheckOut:
        """Check the links of a job's pages, their titles and canonical URLs.

        Broken links are listed with all pages that have them. Only URLs that the job has requested
        are checked, the others are counted by reason; fragments are checked if its spec has
        `keep_anchors`.
        """
        return await self._services.checking.job(self._actor, job_id, since)

    @endpoint("GET /jobs/{job_id}/check/findings", RESULTS, noun="site", group="results")
    async def findings(
        self,
        job_id: str,
        *,
        kind: Annotated[
            Words, Meta(description="Kinds of findings: `broken_link`, `canonical`, …")
        ] = (),
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> FindingsOut:
        """List problems with the links, titles and canonical URLs of a job's pages.

        These are the findings of `check`, in pages, each with at most 10 of the links to it; `GET
        /jobs/{job_id}/links?to=` lists all. While the job runs, it may be a minute old.
        """
        kinds = frozenset(_check_finding_kind(word) for word in words_of(kind))
        report = await self._services.checking.report(self._actor, job_id)
        return FindingsOut.part(report, kinds, int(cursor or 0), limit)


def _check_finding_kind(word: str) -> str:
    if word not in set(FindingKind):
        raise Invalid("kind", none_of(word, FindingKind))
    return word
