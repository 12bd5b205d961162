"""What there is to know about a job: how it goes, its settings, events and log, its results."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Annotated, Literal, Unpack

from msgspec import Meta
from msgspec.structs import replace

from crawlyard.core.access.user import Permit
from crawlyard.core.crawl.change_answers import ChangeOut, DiffOut, PageDiffOut
from crawlyard.core.crawl.changes import LISTED
from crawlyard.core.crawl.link import MAX_LINKS
from crawlyard.core.crawl.link_check_answers import CheckOut
from crawlyard.core.crawl.page import Body, ErrorKind, RuleKind
from crawlyard.core.crawl.page_answers import (
    ErrorsOut,
    FateOut,
    LinkOut,
    SkippedGroupOut,
    SkippedOut,
    StoredPageOut,
    WaitingOut,
)
from crawlyard.core.endpoints.endpoint import (
    Cursor,
    Header,
    IfMatch,
    Limit,
    Slice,
    Words,
    endpoint,
    reply,
    sliced,
)
from crawlyard.core.jobs.answers import EventOut, JobOut
from crawlyard.core.jobs.checkpoint import Standing
from crawlyard.core.jobs.detail_answers import (
    AttemptOut,
    ConfigOut,
    ExclusionOut,
    ExpandedJobOut,
    JobProgressOut,
    JobTiesOut,
    ShardOut,
)
from crawlyard.core.jobs.filter import FilterKey, condition
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.job_log import Level, LevelWord
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.log_answers import CourseOut, LineOut
from crawlyard.core.jobs.progress import progress_of_standing
from crawlyard.core.jobs.spec import MAX_PATTERN
from crawlyard.core.templates.answers import TemplateOut
from crawlyard.errors import Invalid, NotFound
from crawlyard.export.base import Format
from crawlyard.export.jsonl import dumps
from crawlyard.lazy import lazily
from crawlyard.services.jobs.job_site import AskedURL, JobSite, PageId
from crawlyard.services.jobs.terms import (
    SearchTerms,
    canonical_of,
    kind_of,
    link_query,
    search_query,
    words_of,
)
from crawlyard.services.noun import expanded_by
from crawlyard.services.schedules.answers import schedule_answer
from crawlyard.services.schedules.lookup import find_schedule
from crawlyard.services.templates.lookup import find_template
from crawlyard.store.queries import PageQuery

# it loads the parser
with lazily():
    from crawlyard.services.jobs import exporting

READ, WRITE, RESULTS = Permit.JOBS_READ, Permit.JOBS_WRITE, Permit.RESULTS_READ

ChunkSize = Annotated[int, Meta(ge=50, le=100_000)]

LONGEST_WAIT_S = 60.0
_MOST_LINE = 2**31 - 1


_TIES = {"template": Permit.TEMPLATES_READ, "schedule": Permit.SCHEDULES_READ}
"""What a job can be expanded with, and what that takes."""


AtLeast = Annotated[LevelWord, Meta(description="At least this.")]
After = Annotated[int, Meta(ge=0, le=_MOST_LINE, description="Lines above this *n*.")]
LastId = Annotated[
    Annotated[int, Meta(ge=0, le=_MOST_LINE)] | None,
    Header("Last-Event-ID"),
    Meta(description="The same, from a browser."),
]
Pattern = Annotated[str, Meta(min_length=1, max_length=MAX_PATTERN, examples=["*/print/*"])]
IgnoredText = Annotated[
    str,
    Meta(
        max_length=MAX_PATTERN,
        description="`re:` and a regular expression: lines that match do not count.",
        examples=["re:^Generated at"],
    ),
]


class JobLooks(JobSite):
    """Tells about one job, and what it has brought, also while it runs."""

    @endpoint("GET /jobs/{job_id}", READ)
    async def get(
        self,
        job_id: str,
        *,
        expand: Annotated[
            Words,
            Meta(description="Adds `expanded` with what is named: `template`, `schedule`."),
        ] = (),
    ) -> ExpandedJobOut:
        """Return a job, and how far it has come."""
        standing = await self._services.jobs.get(self._actor, job_id)
        shown = (await self._shown([standing]))[0]
        ties = await self._ties(standing.job, expand)
        return ExpandedJobOut.with_ties(shown, ties)

    @endpoint("GET /jobs/{job_id}/progress", READ)
    async def progress(self, job_id: str) -> JobProgressOut:
        """Return how far a job has come: small, and 304 while nothing has changed."""
        standing = await self._services.jobs.get(self._actor, job_id)
        return JobProgressOut.now(standing, progress_of_standing(standing))

    @endpoint("GET /jobs/{job_id}/wait", READ)
    async def _wait(
        self,
        job_id: str,
        *,
        timeout_s: Annotated[
            float, Meta(ge=0, le=LONGEST_WAIT_S, description="Seconds, at most.")
        ] = 30.0,
        states: Annotated[
            Words, Meta(description="Answer once it is in one of them, or has ended.")
        ] = (),
    ) -> JobOut:
        """Wait until a job has ended or its state has changed, and return it as it then is.

        After `timeout_s`, it is returned as it is.
        """
        words = _states(words_of(states))
        standing = await self._services.waiting.until(
            self._actor,
            job_id,
            frozenset(State(word) for word in words),
            timedelta(seconds=timeout_s),
            reply().gone,
        )
        return (await self._shown([standing]))[0]

    @endpoint("GET /jobs/{job_id}/config", READ)
    async def config(self, job_id: str) -> ConfigOut:
        """Return the settings of a job in force, where each comes from, and its template's."""
        return await self._services.configs.of(self._actor, job_id)

    @endpoint("GET /jobs/{job_id}/attempts", READ)
    async def attempts(self, job_id: str) -> Slice[AttemptOut]:
        """List each time that a worker had the job, the first in front."""
        found = await self._services.results.attempts(self._actor, job_id)
        pages = (await self._services.jobs.get(self._actor, job_id)).shard.usage.pages
        return Slice(items=AttemptOut.listed(found, pages))

    @endpoint("GET /jobs/{job_id}/shards", READ)
    async def shards(self, job_id: str) -> Slice[ShardOut]:
        """List the parts that a job is spread over, by number; none if one worker has it all."""
        found = await self._services.results.shards(self._actor, job_id)
        return Slice(items=[ShardOut.of(number, shard) for number, shard in found.items()])

    @endpoint("GET /jobs/{job_id}/events", READ)
    async def events(
        self, job_id: str, *, limit: Limit = 50, cursor: Cursor = None
    ) -> Slice[EventOut]:
        """List what has happened to a job, oldest first."""
        found = await self._services.results.events(
            self._actor, job_id, int(cursor or 0), limit + 1
        )
        return sliced(found, limit, EventOut.of, lambda event: event.seq)

    @endpoint("GET /jobs/{job_id}/log", READ)
    async def log(
        self,
        job_id: str,
        *,
        level: AtLeast = LevelWord.INFO,
        q: Annotated[str, Meta(max_length=200, description="A part of message or URL.")] = "",
        after: After = 0,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[LineOut]:
        """List lines of a job's log, the oldest first; the newest 2,000 are kept."""
        job = (await self._services.jobs.get(self._actor, job_id)).job
        found = await self._services.store.journal.lines(
            job.id, Level[level.name], int(cursor or after), limit + 1, q
        )
        return sliced(found, limit, LineOut.filled, lambda line: line.n)

    @endpoint("GET /jobs/{job_id}/log/stream", READ)
    async def log_stream(
        self,
        job_id: str,
        *,
        level: AtLeast = LevelWord.INFO,
        after: After = 0,
        last_event_id: LastId = None,
    ) -> AsyncGenerator[LineOut]:
        """Follow what a job says, as server-sent events, until it has ended.

        `job.log` brings up to 100 lines, and has the *n* of the last one as its id: whoever
        comes again with `Last-Event-ID` (or `after`) misses no line and hears none twice.
        After `resync`, lines that were missed are not kept any more. `end` says that the job
        has ended and all of its log was told: close the stream then, else a browser comes
        again.
        """
        begin = after if last_event_id is None else last_event_id
        told = self._services.tailing.follow(
            self._actor, job_id, least=Level[level.name], after=begin
        )
        async for line in told:
            yield LineOut.filled(line)

    @endpoint("GET /jobs/{job_id}/metrics", READ)
    async def metrics(self, job_id: str) -> CourseOut:
        """Return how a job went: rate, answers by class, latency, bytes and queue over time."""
        job = (await self._services.jobs.get(self._actor, job_id)).job
        return CourseOut.filled(await self._services.store.journal.course(job.id))

    @endpoint("GET /jobs/{job_id}/why", READ)
    async def why(self, job_id: str, url: AskedURL) -> FateOut:
        """Say what became of a URL: fetched, failed, waiting, kept out by a rule, never found."""
        return FateOut.of(await self._services.why.url(self._actor, job_id, url))

    @endpoint(
        "POST /jobs/{job_id}/exclusions",
        WRITE,
        status=202,
        example={"pattern": "*/print/*", "dry_run": True},
    )
    async def exclude(
        self,
        job_id: str,
        pattern: Pattern,
        *,
        dry_run: Annotated[
            bool, Meta(description="Only count the URLs that would be skipped.")
        ] = False,
        version: IfMatch = None,
    ) -> ExclusionOut:
        """Exclude URLs from a job that has not ended; return how many waiting ones will be skipped.

        A dry run only counts; it and a pattern that the job has already are answered with 200.
        """
        return await self._services.exclusions.add(
            self._actor, job_id, pattern, dry_run=dry_run, version=version
        )

    @endpoint("GET /jobs/{job_id}/pages", RESULTS, group="results", name="pages")
    async def list_pages(
        self,
        job_id: str,
        *,
        include: Annotated[Words, Meta(description="`text`: with the text of each page.")] = (),
        limit: Limit = 50,
        cursor: Cursor = None,
        **terms: Unpack[SearchTerms],
    ) -> Slice[StoredPageOut]:
        """List the pages of a job in the order they came; also while it runs."""
        query = search_query(terms)
        return await self._listed(job_id, query, limit, cursor, _included(include))

    @endpoint("GET /jobs/{job_id}/pages/{page_id}", RESULTS, group="results")
    async def page(self, job_id: str, page_id: PageId) -> StoredPageOut:
        """Return a page with its response headers, or one part of it.

        HTML comes as it is kept, for a frame with `sandbox` in a page of this server whose own
        policy says `frame-src 'self'`: then a link that is followed in it leads nowhere.
        """
        stored, kept = await self._services.results.page(
            self._actor, job_id, page_id, [Body.HEADERS]
        )
        return StoredPageOut.stored(job_id, stored, **exporting.readable(kept))

    @endpoint("GET /jobs/{job_id}/pages/{page_id}", RESULTS, "same", group="results")
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
        """Return what is kept of a page: its text, html, headers or links.

        Of a page whose scripts were run, `html` is what was sent, `rendered` what came of it.
        """
        _, kept = await self._services.results.page(
            self._actor, job_id, page_id, [part, Body.HEADERS]
        )
        told = exporting.readable(kept)
        name = "html" if part is Body.RENDERED else part.value
        if name not in told:
            said = f"nothing is kept of page {page_id} as {part}: the spec of its job says so"
            raise NotFound(said)
        text = told[name]
        return text if isinstance(text, str) else dumps(text, indent=2)

    @endpoint("GET /jobs/{job_id}/pages/{page_id}/screenshot", RESULTS, group="results")
    async def screenshot(self, job_id: str, page_id: PageId) -> AsyncIterator[bytes]:
        """Return the picture of a rendered page, PNG or WebP as its job asked."""
        _, kept = await self._services.results.page(self._actor, job_id, page_id, [Body.SCREENSHOT])
        if Body.SCREENSHOT not in kept:
            said = f"no picture is kept of page {page_id}: only Chromium draws, if asked to"
            raise NotFound(said)
        return exporting.in_one(kept[Body.SCREENSHOT])

    @endpoint("GET /jobs/{job_id}/links", RESULTS, group="results")
    async def links(
        self,
        job_id: str,
        *,
        from_: Annotated[AskedURL | None, Meta(description="Only links on this page.")] = None,
        to: Annotated[AskedURL | None, Meta(description="Only links to this URL.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[LinkOut]:
        """List the links of a job's pages, in the order they came; also while it runs."""
        target = None if to is None else canonical_of("to", to)
        found = self._services.results.links(
            self._actor, job_id, link_query(from_), to=target, after=int(cursor or 0)
        )
        some = []
        async with aclosing(found):
            async for one in found:
                some.append(one)
                if len(some) > limit:
                    break
        targets = await self._services.results.targets(
            self._actor, job_id, {link.target for _, link in some}
        )
        return sliced(
            some,
            limit,
            lambda one: LinkOut.led(one[1], one[0] // MAX_LINKS, targets[one[1].target]),
            lambda one: one[0],
        )

    @endpoint("GET /jobs/{job_id}/check", RESULTS, group="results")
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

        Broken links come with all pages that link to them. Only URLs that the job has requested
        are checked, the others are counted by reason; fragments if its spec says `keep_anchors`.
        """
        return await self._services.checking.job(self._actor, job_id, since)

    @endpoint("GET /jobs/{job_id}/errors", RESULTS, group="results")
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
        """Return the failed URLs of a job by kinds; what robots.txt forbids is told apart."""
        groups = await self._services.results.errors(self._actor, job_id, by_status=by_status)
        if referrers:
            groups = await self._services.results.with_referrers(self._actor, job_id, groups)
        skipped = await self._services.results.skipped_by(self._actor, job_id)
        robots = next((group for group in skipped if group.kind is RuleKind.ROBOTS), None)
        return ErrorsOut.of(groups, robots)

    @endpoint("GET /jobs/{job_id}/errors/{kind}/pages", RESULTS, group="results")
    async def failed(
        self, job_id: str, kind: str, *, limit: Limit = 50, cursor: Cursor = None
    ) -> Slice[StoredPageOut]:
        """List the pages that failed in one way."""
        query = PageQuery(kinds=frozenset({kind_of("kind", kind, ErrorKind)}))
        return await self._listed(job_id, query, limit, cursor)

    @endpoint("GET /jobs/{job_id}/skipped", RESULTS, group="results")
    async def skipped(
        self,
        job_id: str,
        *,
        rule: Annotated[Words, Meta(description="Kinds of rules: `robots`, `scope`, …")] = (),
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[SkippedOut]:
        """List the URLs that a rule kept out, in the order they were found."""
        kinds = [kind_of("rule", word, RuleKind) for word in words_of(rule)]
        found = await self._services.results.some_skipped(
            self._actor, job_id, kinds, int(cursor or 0), limit + 1
        )
        return sliced(found, limit, lambda one: SkippedOut.filled(one[1]), lambda one: one[0])

    @endpoint("GET /jobs/{job_id}/skipped/rules", RESULTS, group="results")
    async def skipped_rules(self, job_id: str) -> Slice[SkippedGroupOut]:
        """Count the URLs that rules kept out, by kinds of rules, the most frequent first."""
        found = await self._services.results.skipped_by(self._actor, job_id)
        return Slice(items=[SkippedGroupOut.filled(group) for group in found])

    @endpoint("GET /jobs/{job_id}/frontier", RESULTS, group="results")
    async def frontier(
        self, job_id: str, *, limit: Limit = 50, cursor: Cursor = None
    ) -> Slice[WaitingOut]:
        """List the URLs that wait to be fetched, in the order they were found."""
        found = await self._services.results.upcoming(
            self._actor, job_id, int(cursor or 0), limit + 1
        )
        return sliced(found, limit, WaitingOut.filled, lambda known: known.key)

    @endpoint("GET /jobs/{job_id}/export", RESULTS, "file", group="results")
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
                "place of pages: JSON Lines or CSV."
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

        The filters are those of the list of pages. WARC has what was kept of HTML, Markdown is a
        ZIP with the text of each page as a file.
        """
        job = (await self._services.jobs.get(self._actor, job_id)).job
        return exporting.stream(
            self._services.results,
            self._actor,
            job,
            search_query(terms),
            format_ or Format.JSONL,
            chunks=chunks,
            links=links,
            gzip=gzip,
        )

    @endpoint("GET /jobs/{job_id}/diff/{other}", RESULTS, group="results")
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
        """List what changed from a job to another, later one, and count all that did.

        Pages are compared by their text. One is `gone` only if that is proven: it answers 404 or
        410, or the later job came to its end and no page of it links there any more. It is
        `broken` if it answers with another error. What is not known for sure is `unknown`;
        `detail` says why.
        """
        kinds = frozenset(kind_of("only", word, LISTED) for word in words_of(only))
        changes = self._services.changes
        diff = await changes.diff(self._actor, job_id, other, ignore_text)
        found = diff.comparison
        every = await changes.ranked(diff) if sort == "-share" else found.found
        asked = [c for c in every if not kinds or c.kind in kinds]
        first = int(cursor or 0)
        shown = asked[first : first + limit]
        amounts = await changes.amounts(shown, diff.ignored)
        more = len(asked) > first + limit
        return DiffOut(
            items=[ChangeOut.of(change, amounts.get(change.after or 0)) for change in shown],
            next_cursor=str(first + limit) if more else None,
            has_more=more,
            earlier=job_id,
            later=other,
            counts=found.tally,
        )

    @endpoint("GET /jobs/{job_id}/diff/{other}/page", RESULTS, group="results")
    async def page_diff(
        self, job_id: str, other: str, url: AskedURL, *, ignore_text: IgnoredText = ""
    ) -> PageDiffOut:
        """Return what changed in the text of a page from a job to another, later one."""
        found = await self._services.changes.page(self._actor, job_id, other, url, ignore_text)
        return PageDiffOut.of(
            found.change, found.amount, text=found.text, hunks=found.hunks, lines=found.lines
        )

    async def _listed(
        self,
        job_id: str,
        query: PageQuery,
        limit: int,
        cursor: str | None,
        kinds: Collection[Body] = (),
    ) -> Slice[StoredPageOut]:
        asked = replace(query, after=int(cursor or 0))
        found = await self._services.results.some(self._actor, job_id, asked, limit + 1, kinds)
        return sliced(
            found,
            limit,
            lambda one: StoredPageOut.stored(job_id, one[0], **exporting.readable(one[1])),
            lambda one: one[0].id,
        )

    async def _ties(self, job: Job, expand: Words) -> JobTiesOut | None:
        """Return what *job* belongs to, as far as it is named and visible; ``None``: no names."""
        names = expanded_by(expand, _TIES, self._permits)
        if not names:
            return None
        origin, template, schedule = job.origin, None, None
        services = self._services
        with suppress(NotFound):
            if "template" in names and origin.template_id is not None:
                found = await find_template(
                    services.store, self._actor, origin.template_id, origin.template_version
                )
                template = TemplateOut.of(found)
        with suppress(NotFound):
            if "schedule" in names and origin.schedule_id is not None:
                its = await find_schedule(services.store, self._actor, origin.schedule_id)
                schedule = await schedule_answer(services.store, its)
        return JobTiesOut(template=template, schedule=schedule)

    async def _shown(self, standings: Sequence[Standing]) -> list[JobOut]:
        """Return jobs as they are shown, in their order."""
        waits, now = await self._services.why.waits(standings), self._services.clock.now()
        return [
            JobOut.of(one, progress_of_standing(one), now, waits.get(one.job.id, ()))
            for one in standings
        ]

    async def _now(self, job: Job) -> JobOut:
        """Return a job that was just changed, with how far it has come."""
        return (await self._shown([await self._services.jobs.get(self._actor, job.id)]))[0]


def _states(words: Sequence[str]) -> Sequence[str]:
    try:
        states = condition(FilterKey.STATE, words).words
    except Invalid as error:
        raise Invalid("states", error.message) from None
    return [kind_of("states", word, State) for word in states]  # no job waits to be "stopped"


def _included(words: Words) -> Collection[Body]:
    for word in words_of(words):
        if word != Body.TEXT:
            raise Invalid("include", f"expected text, got {word[:100]!r}")
    return [Body.TEXT] if words_of(words) else ()
