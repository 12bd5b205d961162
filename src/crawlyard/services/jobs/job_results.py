"""What a job has brought: its pages, errors, and the URLs that were skipped or still wait."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Unpack

from msgspec import Meta
from msgspec.structs import replace

from crawlyard.core.access.user import Permit
from crawlyard.core.answers.jobs.pages import (
    ErrorsOut,
    SkippedGroupOut,
    SkippedOut,
    StoredPageOut,
    WaitingOut,
)
from crawlyard.core.crawl.page import Body, RuleKind
from crawlyard.core.endpoint import Cursor, Limit, Slice, Words, endpoint, sliced
from crawlyard.errors import Invalid, NotFound
from crawlyard.export.base import Format
from crawlyard.export.jsonl import dumps
from crawlyard.lazy import lazily
from crawlyard.services.jobs.job_looks import JobLooks
from crawlyard.services.jobs.terms import SearchTerms, error_kind, page_query, words_of
from crawlyard.store.queries import PageQuery

if TYPE_CHECKING:
    from crawlyard.services.jobs import exporting
else:  # it loads the parser
    exporting = lazily("crawlyard.services.jobs.exporting")

READ = Permit.RESULTS_READ

PageId = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class JobResults(JobLooks):
    """Reads what jobs have brought, also while they run."""

    @endpoint("GET /jobs/{job_id}/pages", READ, group="results")
    async def pages(
        self,
        job_id: str,
        *,
        limit: Limit = 50,
        cursor: Cursor = None,
        **terms: Unpack[SearchTerms],
    ) -> Slice[StoredPageOut]:
        """List the pages of a job in the order they came; also while it runs."""
        return await self._listed(job_id, page_query(terms, terms.get("q", "")), limit, cursor)

    @endpoint("GET /jobs/{job_id}/pages/{page_id}", READ, group="results")
    async def page(self, job_id: str, page_id: PageId) -> StoredPageOut:
        """Return a page with its response headers, or one part of it.

        HTML comes as it is kept, for a frame with `sandbox` in a page of this server whose own
        policy says `frame-src 'self'`: then a link that is followed in it leads nowhere.
        """
        stored, kept = await self._services.results.page(
            self._actor, job_id, page_id, [Body.HEADERS]
        )
        return StoredPageOut.stored(job_id, stored, **exporting.readable(kept))

    @endpoint("GET /jobs/{job_id}/pages/{page_id}", READ, "same", group="results")
    async def part(
        self,
        job_id: str,
        page_id: PageId,
        part: Annotated[
            Body,
            Meta(
                description="One part of it in place of the record: text and headers as plain "
                "text, html as a document that does nothing and loads nothing, for a frame of "
                "this server's pages."
            ),
        ],
    ) -> str:
        """Return what is kept of a page: its text, html or headers."""
        _, kept = await self._services.results.page(
            self._actor, job_id, page_id, [part, Body.HEADERS]
        )
        told = exporting.readable(kept)
        if part.value not in told:
            said = f"nothing is kept of page {page_id} as {part}: the spec of its job says so"
            raise NotFound(said)
        text = told[part.value]
        return text if isinstance(text, str) else dumps(text, indent=2)

    @endpoint("GET /jobs/{job_id}/errors", READ, group="results")
    async def errors(self, job_id: str) -> ErrorsOut:
        """Return the failed URLs of a job by kinds; what robots.txt forbids is told apart."""
        groups = await self._services.results.errors(self._actor, job_id)
        skipped = await self._services.results.skipped_by(self._actor, job_id)
        robots = next((group for group in skipped if group.kind is RuleKind.ROBOTS), None)
        return ErrorsOut.of(groups, robots)

    @endpoint("GET /jobs/{job_id}/errors/{kind}/pages", READ, group="results")
    async def failed(
        self, job_id: str, kind: str, *, limit: Limit = 50, cursor: Cursor = None
    ) -> Slice[StoredPageOut]:
        """List the pages that failed in one way."""
        query = PageQuery(kinds=frozenset({error_kind("kind", kind)}))
        return await self._listed(job_id, query, limit, cursor)

    @endpoint("GET /jobs/{job_id}/skipped", READ, group="results")
    async def skipped(
        self,
        job_id: str,
        *,
        rule: Annotated[Words, Meta(description="Kinds of rules: `robots`, `scope`, …")] = (),
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[SkippedOut]:
        """List the URLs that a rule kept out, in the order they were found."""
        kinds = [_rule_kind(word) for word in words_of(rule)]
        found = await self._services.results.some_skipped(
            self._actor, job_id, kinds, int(cursor or 0), limit + 1
        )
        return sliced(found, limit, lambda one: SkippedOut.filled(one[1]), lambda one: one[0])

    @endpoint("GET /jobs/{job_id}/skipped/rules", READ, group="results")
    async def skipped_rules(self, job_id: str) -> Slice[SkippedGroupOut]:
        """Count the URLs that rules kept out, by kinds of rules, the most frequent first."""
        found = await self._services.results.skipped_by(self._actor, job_id)
        return Slice(items=[SkippedGroupOut.filled(group) for group in found])

    @endpoint("GET /jobs/{job_id}/frontier", READ, group="results")
    async def frontier(
        self, job_id: str, *, limit: Limit = 50, cursor: Cursor = None
    ) -> Slice[WaitingOut]:
        """List the URLs that wait to be fetched, in the order they were found."""
        found = await self._services.results.upcoming(
            self._actor, job_id, int(cursor or 0), limit + 1
        )
        return sliced(found, limit, WaitingOut.of, lambda known: known.key)

    @endpoint("GET /jobs/{job_id}/export", READ, "file", group="results")
    async def export(
        self,
        job_id: str,
        *,
        format_: Annotated[
            Format | None, Meta(description="Else as `Accept` says, else `jsonl`.")
        ] = None,
        **terms: Unpack[SearchTerms],
    ) -> AsyncIterator[bytes]:
        """Stream the pages of a job as JSON Lines, CSV, Parquet or WARC; also while it runs.

        The filters are those of the list of pages. WARC has what was kept of HTML.
        """
        job = (await self._services.jobs.get(self._actor, job_id)).job
        query = page_query(terms, terms.get("q", ""))
        form = format_ or Format.JSONL
        return exporting.exported(self._services.results, self._actor, job, query, form)

    async def _listed(
        self, job_id: str, query: PageQuery, limit: int, cursor: str | None
    ) -> Slice[StoredPageOut]:
        asked = replace(query, after=int(cursor or 0))
        found = await self._services.results.some(self._actor, job_id, asked, limit + 1)
        return sliced(
            found,
            limit,
            lambda stored: StoredPageOut.stored(job_id, stored),
            lambda stored: stored.id,
        )


def _rule_kind(word: str) -> RuleKind:
    if word not in set(RuleKind):
        raise Invalid("rule", f"expected one of {', '.join(RuleKind)}, got {word[:100]!r}")
    return RuleKind(word)
