"""Results of a job for one user: pages, links, errors, and changes between runs."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import aclosing
from typing import Annotated, Literal, Unpack

from msgspec import Meta
from msgspec.structs import replace

from crawlyard.core.access.job_parts import RESPONSES, JobPart, sees_responses
from crawlyard.core.access.user import Permit
from crawlyard.core.crawl.change_answers import ChangeOut, DiffOut, PageDiffOut
from crawlyard.core.crawl.changes import LISTED
from crawlyard.core.crawl.link import MAX_LINKS
from crawlyard.core.crawl.page import Body, ErrorKind, RuleKind, StoredPage, TargetState
from crawlyard.core.crawl.page_answers import (
    ErrorsOut,
    LinkOut,
    NeighboursOut,
    SkippedGroupOut,
    SkippedOut,
    StoredPageOut,
    WaitingOut,
)
from crawlyard.core.endpoints.endpoint import Cursor, Limit, Slice, Words, endpoint, make_slice
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.spec import MAX_PATTERN
from crawlyard.errors import Invalid, NotFound
from crawlyard.export.base import Format
from crawlyard.export.jsonl import dumps
from crawlyard.lazy import lazily
from crawlyard.services.jobs.terms import kind_of, words_of
from crawlyard.services.noun import Noun
from crawlyard.services.results.terms import (
    ChunkSize,
    PageId,
    SearchTerms,
    URLArgument,
    canonical_of,
    check_links_kept,
    link_query,
    search_query,
)
from crawlyard.store.queries import PageQuery

# they load the parser and the store
with lazily():
    from crawlyard.services.jobs import lookup
    from crawlyard.services.results import exporting, records

RESULTS = Permit.RESULTS_READ

IgnoredText = Annotated[
    str,
    Meta(
        max_length=MAX_PATTERN,
        description="`re:` and a regular expression: lines that match do not count.",
        examples=["re:^Generated at"],
    ),
]


class Results(Noun):
    """Reads the results of a job, also while it runs.

    A job that the user may not see raises `NotFound`.
    """

    @endpoint("GET /jobs/{job_id}/pages", RESULTS, noun="results")
    async def pages(
        self,
        job_id: str,
        *,
        include: Annotated[Words, Meta(description="`text`: with the text of each page.")] = (),
        limit: Limit = 50,
        cursor: Cursor = None,
        **terms: Unpack[SearchTerms],
    ) -> Slice[StoredPageOut]:
        """List the pages of a job in the order they were fetched; also while it runs."""
        kinds = _parse_include(include)
        return await self._list(job_id, search_query(terms), limit, cursor, kinds)

    @endpoint("GET /jobs/{job_id}/pages/{page_id}", RESULTS, noun="results")
    async def page(self, job_id: str, page_id: PageId) -> StoredPageOut:
        """Return a page with its response headers, or one part of it.

        HTML is returned as stored, for a frame with `sandbox` in a page of this server whose own
        policy has `frame-src 'self'`: links followed in it then lead nowhere.
        """
        stored, bodies = await self._page(job_id, page_id, Body.HEADERS)
        return StoredPageOut.stored(job_id, stored, **exporting.readable(bodies))

    @endpoint("GET /jobs/{job_id}/pages/{page_id}", RESULTS, "same", noun="results")
    async def part(
        self,
        job_id: str,
        page_id: PageId,
        part: Annotated[
            Body,
            Meta(
                description="One part of it in place of the record: text as plain text, headers "
                "and links as JSON, html and rendered as documents that do nothing and load "
                "nothing, for a frame of this server's pages."
            ),
        ],
    ) -> str:
        """Return a stored part of a page: its text, html, headers or links.

        For a rendered page, `html` is the response, `rendered` the result of its scripts.
        """
        _, bodies = await self._page(job_id, page_id, part, Body.HEADERS)
        values = exporting.readable(bodies)
        name = "html" if part is Body.RENDERED else part.value
        if name not in values:
            raise NotFound(
                f"page {page_id} has no stored {part}: its job does not keep it, or its owner "
                "does not share it"
            )
        value = values[name]
        return value if isinstance(value, str) else dumps(value, indent=2)

    @endpoint("GET /jobs/{job_id}/pages/{page_id}/screenshot", RESULTS, noun="results")
    async def screenshot(self, job_id: str, page_id: PageId) -> AsyncIterator[bytes]:
        """Return the screenshot of a rendered page, PNG or WebP as set in its job."""
        _, bodies = await self._page(job_id, page_id, Body.SCREENSHOT)
        if Body.SCREENSHOT not in bodies:
            raise NotFound(
                f"page {page_id} has no screenshot: only Chromium takes them, if enabled, and "
                "other users see them only if the owner shares them"
            )
        return exporting.in_one(bodies[Body.SCREENSHOT])

    @endpoint("GET /jobs/{job_id}/pages/{page_id}/neighbours", RESULTS, noun="results")
    async def neighbours(
        self, job_id: str, page_id: PageId, **terms: Unpack[SearchTerms]
    ) -> NeighboursOut:
        """Return the ids of the pages before and after a page in the filtered list of pages."""
        job = await self._job(job_id)
        query = search_query(terms)
        pages = await self._services.store.pages.neighbours(job.id, page_id, query)
        return NeighboursOut.filled(pages)

    @endpoint("GET /jobs/{job_id}/links", RESULTS, noun="results")
    async def links(
        self,
        job_id: str,
        *,
        from_: Annotated[URLArgument | None, Meta(description="Only links on this page.")] = None,
        to: Annotated[URLArgument | None, Meta(description="Only links to this URL.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[LinkOut]:
        """List the links of a job's pages, in the order they were fetched; also while it runs."""
        target = None if to is None else canonical_of("to", to)
        query, store = link_query(from_), self._services.store
        job = await self._job(job_id)
        check_links_kept(job.spec)
        links = []
        async with aclosing(
            records.link_records(store, job.id, query, to=target, after=int(cursor or 0))
        ) as rows:
            async for link in rows:
                links.append(link)
                if len(links) > limit:
                    break
        targets = await records.link_targets(store, job, {link.target for _, link in links})
        return make_slice(
            links,
            limit,
            lambda link: LinkOut.with_target(
                link[1], link[0] // MAX_LINKS, targets[link[1].target]
            ),
            lambda link: link[0],
        )

    @endpoint("GET /jobs/{job_id}/errors", RESULTS, noun="results")
    async def errors(
        self,
        job_id: str,
        *,
        referrers: Annotated[
            bool, Meta(description="Name the pages that link to each sample, at most five.")
        ] = False,
        by_status: Annotated[
            bool, Meta(description="Tell the statuses of one kind apart, such as 403 and 404.")
        ] = False,
    ) -> ErrorsOut:
        """Return the failed URLs of a job by kind; those that robots.txt forbids are separate."""
        job, store = await self._job(job_id), self._services.store
        groups = await store.pages.errors(job.id, by_status=by_status)
        if referrers:
            groups = await records.with_referrers(store, job.id, groups)
        skipped = await store.pages.count_skipped(job.id)
        robots = next((group for group in skipped if group.kind is RuleKind.ROBOTS), None)
        return ErrorsOut.of(groups, robots)

    @endpoint("GET /jobs/{job_id}/errors/{kind}/pages", RESULTS, noun="results")
    async def failed(
        self, job_id: str, kind: str, *, limit: Limit = 50, cursor: Cursor = None
    ) -> Slice[StoredPageOut]:
        """List the pages that failed with one kind of error."""
        query = PageQuery(kinds=frozenset({kind_of("kind", kind, ErrorKind)}))
        return await self._list(job_id, query, limit, cursor)

    @endpoint("GET /jobs/{job_id}/skipped", RESULTS, noun="results")
    async def skipped(
        self,
        job_id: str,
        *,
        rule: Annotated[Words, Meta(description="Kinds of rules: `robots`, `scope`, …")] = (),
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[SkippedOut]:
        """List the URLs that a rule excluded, in the order they were discovered."""
        kinds = [kind_of("rule", word, RuleKind) for word in words_of(rule)]
        job = await self._job(job_id)
        urls = await self._services.store.pages.list_skipped(
            job.id, int(cursor or 0), limit + 1, kinds
        )
        return make_slice(urls, limit, lambda url: SkippedOut.filled(url[1]), lambda url: url[0])

    @endpoint("GET /jobs/{job_id}/skipped/rules", RESULTS, noun="results")
    async def skipped_rules(self, job_id: str) -> Slice[SkippedGroupOut]:
        """Count the URLs that rules excluded, by kind of rule, the most frequent first."""
        job = await self._job(job_id)
        groups = await self._services.store.pages.count_skipped(job.id)
        return Slice(items=[SkippedGroupOut.filled(group) for group in groups])

    @endpoint("GET /jobs/{job_id}/frontier", RESULTS, noun="results")
    async def frontier(
        self, job_id: str, *, limit: Limit = 50, cursor: Cursor = None
    ) -> Slice[WaitingOut]:
        """List the URLs that wait to be fetched, in the order they were discovered."""
        job = await self._job(job_id)
        urls = await self._services.store.frontier.upcoming(
            job.id, int(cursor or 0), limit + 1, [TargetState.WAITING]
        )
        return make_slice(urls, limit, WaitingOut.filled, lambda url: url.key)

    @endpoint("GET /jobs/{job_id}/export", RESULTS, "file", noun="results")
    async def export(
        self,
        job_id: str,
        *,
        format_: Annotated[
            Format | None, Meta(description="Else as `Accept` says, else `jsonl`.")
        ] = None,
        chunks: Annotated[
            ChunkSize | None,
            Meta(
                description="Records of at most so many words of text below one heading, in "
                "place of pages; no WARC, no ZIP. Pages with an error have none."
            ),
        ] = None,
        links: Annotated[
            bool,
            Meta(description="The links of these pages in place of the pages; no WARC, no ZIP."),
        ] = False,
        gzip: Annotated[bool, Meta(description="JSON Lines or CSV as a gzip file.")] = False,
        **terms: Unpack[SearchTerms],
    ) -> AsyncIterator[bytes]:
        """Stream the pages of a job as a file, also while it runs.

        The filters are those of the list of pages. WARC has the stored HTML; Markdown is a ZIP with
        the text of each page as a file.
        """
        job = await self._job(job_id)
        store, query, form = self._services.store, search_query(terms), format_ or Format.JSONL
        if links:
            if chunks is not None:
                raise Invalid("chunks", "expected chunks or links, not both")
            output = exporting.export_links(store, job, query, form)
            return exporting.compressed(output, form, gzip=gzip)
        if chunks is not None and query.failed is None:
            query = replace(query, failed=False)
        return exporting.stream(
            exporting.pages_of(store, job, query),
            form,
            chunks=chunks,
            gzip=gzip,
            html=sees_responses(self._actor, job),
        )

    @endpoint("GET /jobs/{job_id}/diff/{other}", RESULTS, noun="results")
    async def diff(
        self,
        job_id: str,
        other: str,
        *,
        only: Annotated[Words, Meta(description="Kinds of changes: `changed`, `gone`, …")] = (),
        ignore_text: IgnoredText = "",
        sort: Annotated[
            Literal["url", "-share"],
            Meta(description="`-share`: most changed first, of at most 2,000 changed pages."),
        ] = "url",
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> DiffOut:
        """List and count the changes from a job to a later one.

        Pages are compared by their text. A page is `gone` only if that is proven: it answers 404 or
        410, or the later job was completed and none of its pages links to it any more. It is
        `broken` if it answers with another error. If neither is certain, it is `unknown`, and
        `detail` has the reason.
        """
        kinds = frozenset(kind_of("only", word, LISTED) for word in words_of(only))
        changes = self._services.changes
        diff = await changes.diff(self._actor, job_id, other, ignore_text)
        comparison = diff.comparison
        ranked = await changes.rank(diff) if sort == "-share" else comparison.changes
        listed = [change for change in ranked if not kinds or change.kind in kinds]
        first = int(cursor or 0)
        portion = listed[first : first + limit]
        amounts = await changes.amounts(portion, diff.ignored)
        more = len(listed) > first + limit
        return DiffOut(
            items=[ChangeOut.of(change, amounts.get(change.after or 0)) for change in portion],
            next_cursor=str(first + limit) if more else None,
            has_more=more,
            earlier=job_id,
            later=other,
            counts=comparison.tally,
        )

    @endpoint("GET /jobs/{job_id}/diff/{other}/page", RESULTS, noun="results")
    async def page_diff(
        self, job_id: str, other: str, url: URLArgument, *, ignore_text: IgnoredText = ""
    ) -> PageDiffOut:
        """Return the differences in the text of a page from a job to a later one."""
        diff = await self._services.changes.page(self._actor, job_id, other, url, ignore_text)
        return PageDiffOut.of(
            diff.change, diff.amount, text=diff.text, hunks=diff.hunks, lines=diff.lines
        )

    async def _job(self, job_id: str) -> Job:
        standing = await lookup.find_job(self._services.store, self._actor, job_id, JobPart.PAGES)
        return standing.job

    async def _page(
        self, job_id: str, page_id: int, *kinds: Body
    ) -> tuple[StoredPage, Mapping[Body, bytes]]:
        job = await self._job(job_id)
        visible_kinds = kinds
        if not sees_responses(self._actor, job):
            visible_kinds = tuple(kind for kind in kinds if kind not in RESPONSES)
        return await records.page_record(self._services.store, job.id, page_id, visible_kinds)

    async def _list(
        self,
        job_id: str,
        query: PageQuery,
        limit: int,
        cursor: str | None,
        kinds: Collection[Body] = (),
    ) -> Slice[StoredPageOut]:
        job, query = await self._job(job_id), replace(query, after=int(cursor or 0))
        pages = await records.some_records(self._services.store, job.id, query, limit + 1, kinds)
        return make_slice(
            pages,
            limit,
            lambda page: StoredPageOut.stored(job_id, page[0], **exporting.readable(page[1])),
            lambda page: page[0].id,
        )


def _parse_include(words: Words) -> Collection[Body]:
    for word in words_of(words):
        if word != Body.TEXT:
            raise Invalid("include", f"expected text, got {word[:100]!r}")
    return [Body.TEXT] if words_of(words) else ()
