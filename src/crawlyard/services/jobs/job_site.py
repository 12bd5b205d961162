"""The site that a job has crawled: its folders, the ways to its pages, what is wrong with links."""

from typing import Annotated, Unpack

from msgspec import Meta

from crawlyard.core.access.user import Permit
from crawlyard.core.crawl.link_check import FindingKind
from crawlyard.core.crawl.link_check_answers import FindingsOut
from crawlyard.core.crawl.page_answers import NeighboursOut, PathStepOut, SiteMapOut
from crawlyard.core.endpoints.endpoint import Cursor, Limit, Slice, Words, endpoint
from crawlyard.core.jobs.spec import MAX_URL
from crawlyard.core.parse import none_of
from crawlyard.errors import Invalid
from crawlyard.services.jobs.terms import (
    SearchTerms,
    Under,
    canonical_of,
    place_of,
    search_query,
    words_of,
)
from crawlyard.services.noun import Noun

RESULTS = Permit.RESULTS_READ

PageId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
AskedURL = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_URL,
        description="An absolute http or https URL.",
        examples=["https://docs.example.org/a"],
    ),
]


class JobSite(Noun):
    """Tells about the site that a job has crawled, also while it runs."""

    @endpoint("GET /jobs/{job_id}/map", RESULTS, group="results")
    async def site_map(self, job_id: str, *, under: Under = "") -> SiteMapOut:
        """Count the URLs of a job by folder, and by what happened to them; the largest in front.

        Without `under`, by host; if there is one host alone, by its folders. At most 60 are listed.
        """
        found = await self._services.results.site_map(self._actor, job_id, place_of(under))
        return SiteMapOut.filled(found)

    @endpoint("GET /jobs/{job_id}/path", RESULTS, group="results")
    async def path(self, job_id: str, url: AskedURL) -> Slice[PathStepOut]:
        """List the pages that led to a URL, from the start URL to itself; none: it was not found.

        Of a longer path, the last 20.
        """
        way = await self._services.results.way_to(self._actor, job_id, canonical_of("url", url))
        return Slice(items=[PathStepOut.filled(step) for step in way])

    @endpoint("GET /jobs/{job_id}/pages/{page_id}/neighbours", RESULTS, group="results")
    async def neighbours(
        self, job_id: str, page_id: PageId, **terms: Unpack[SearchTerms]
    ) -> NeighboursOut:
        """Return the ids of the pages before and after one, in the list of pages with a filter."""
        found = await self._services.results.neighbours(
            self._actor, job_id, page_id, search_query(terms)
        )
        return NeighboursOut.filled(found)

    @endpoint("GET /jobs/{job_id}/check/findings", RESULTS, group="results")
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
        """List what is wrong with the links, titles and canonical URLs of a job's pages.

        It is what `check` tells, in parts, each finding with at most 10 of the links to it;
        `GET /jobs/{job_id}/links?to=` lists all. While the job runs, it may be a minute old.
        """
        kinds = frozenset(_finding_kind(word) for word in words_of(kind))
        report = await self._services.checking.report(self._actor, job_id)
        return FindingsOut.part(report, kinds, int(cursor or 0), limit)


def _finding_kind(word: str) -> str:
    if word not in set(FindingKind):
        raise Invalid("kind", none_of(word, FindingKind))
    return word
