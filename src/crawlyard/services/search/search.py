"""Page search: the pages of all jobs, filtered and searched for words in bounded steps."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.access.user import Actor
from crawlyard.core.crawl.page import Body
from crawlyard.core.search.search import (
    BOUNDS,
    Findings,
    FoundPage,
    IndexUse,
    Match,
    SearchBounds,
    SearchStep,
    excerpt,
    missing,
)
from crawlyard.services.jobs.lookup import visible_query
from crawlyard.store.queries import ArchiveQuery, PageQuery
from crawlyard.store.store import Store

MOST = 500
"""Number of pages that each search of `Archive.records` asks for."""

_ROWS = 1000  # pages in the first look, which takes about 20 ms
_ROWS_READ = 200  # the same for a search for words, which may have to read texts
_MORE = 4  # each look doubles the number of pages, up to this many times the first
_TEXTS = 50  # texts in memory at once
_TEXT_BYTES = 4 << 20  # of page bodies as transferred; above that, fewer texts at once


class _Hunt(Struct):
    """The state of a search."""

    matches: list[FoundPage] = field(default_factory=list)
    looked_at: int = 0
    back_to: datetime | None = None
    further: int | None = None

    def take(self, look: SearchStep) -> None:
        """Add the pages of a look to the counts."""
        self.looked_at += look.looked_at
        self.back_to = look.reached_at or self.back_to
        self.further = look.reached

    def stop_at(self, last: FoundPage, unread: int) -> None:
        """Make the next request continue after *last*; the *unread* pages after it don't count."""
        self.looked_at -= unread
        self.back_to, self.further = last.page.fetched_at, last.id


class Archive:
    """Finds pages in all jobs that the actor may see."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        bounds: SearchBounds = BOUNDS,
        *,
        indexed: bool = True,
    ) -> None:
        self._store = store
        self._clock = clock
        self._bounds = bounds
        self._indexed = indexed
        self._reader = ThreadPoolExecutor(1, "crawlyard-search")

    async def search(
        self,
        actor: Actor,
        query: ArchiveQuery,
        limit: int,
        words: tuple[str, ...] = (),
    ) -> Findings:
        """Return the next pages that match *query*, newest first, at most *limit*.

        Each page must contain all of *words* (see `core.crawl.page_search.words_of`) in its
        URL, title or text. Pages that the index of words has are passed over if they cannot have
        them; the others are read one by one until enough are found or the bounds are reached.
        `Findings.further` says where to continue.
        Conditions of *query* may refer to templates and schedules by name, and to the actor
        as ``me``.
        """
        bounds = self._bounds
        window = replace(
            query, jobs=await visible_query(self._store, actor, query.jobs, JobPart.PAGES)
        )
        end = self._clock.monotonic() + bounds.time.total_seconds()
        match = await self._store.page_index.match(words) if words and self._indexed else None
        hunt = _Hunt()
        rows = first = _rows(query, limit, words)
        while len(hunt.matches) < limit:
            most = bounds.pages - hunt.looked_at
            look = await self._store.archive.look(window, min(rows, most), match)
            rows = min(2 * rows, _MORE * first)
            hunt.take(look)
            await self._pick(hunt, look.pages, limit, words, end)
            spent = hunt.looked_at >= bounds.pages or self._clock.monotonic() >= end
            if hunt.further is None or spent:
                break
            window = replace(window, before=hunt.further)
        cut_short = hunt.further is not None and len(hunt.matches) < limit
        return Findings(
            pages=tuple(hunt.matches),
            looked_at=hunt.looked_at,
            back_to=hunt.back_to,
            further=hunt.further,
            cut_short=cut_short,
            index=self._use(match) if words else None,
            unindexed=match.unindexed if match else 0,
            stored=await self._store.archive.size(window) if cut_short else None,
        )

    def _use(self, match: Match | None) -> IndexUse:
        """Return how a search for words used the index."""
        if not self._indexed:
            return IndexUse.OFF
        if match is None:
            return IndexUse.UNDECIDED
        return IndexUse.BEHIND if match.unindexed else IndexUse.COMPLETE

    async def records(
        self,
        actor: Actor,
        query: ArchiveQuery,
        words: tuple[str, ...] = (),
        kinds: Collection[Body] = (),
    ) -> AsyncGenerator[tuple[FoundPage, Mapping[Body, bytes]]]:
        """Yield all pages that `search` finds, each with its stored bodies of these *kinds*.

        Not bounded in time or number of pages, only in memory: for exports of everything.
        """
        window = query
        while True:
            findings = await self.search(actor, window, MOST, words)
            for part in _parts(findings.pages):
                bodies = await self._bodies(part, kinds)
                for page in part:
                    own = {k: bodies[page.id, k] for k in kinds if (page.id, k) in bodies}
                    yield page, own
            if findings.further is None:
                return
            window = replace(window, before=findings.further)

    async def _pick(
        self,
        hunt: _Hunt,
        pages: Sequence[FoundPage],
        limit: int,
        words: tuple[str, ...],
        end: float,
    ) -> None:
        """Add those of *pages* that have all *words*, until *limit* are found or time is up."""
        examined = 0
        for part in _parts(pages) if words else [pages]:
            fitting = await self._with(part, words)
            room = limit - len(hunt.matches)
            hunt.matches += fitting[:room]
            if len(fitting) > room:
                last = fitting[room - 1].id
                examined += 1 + next(n for n, page in enumerate(part) if page.id == last)
                hunt.stop_at(hunt.matches[-1], len(pages) - examined)
                return
            examined += len(part)
            full = len(hunt.matches) == limit
            if examined < len(pages) and (full or self._clock.monotonic() >= end):
                hunt.stop_at(part[-1], len(pages) - examined)
                return

    async def _with(
        self, pages: Sequence[FoundPage], words: tuple[str, ...]
    ) -> Sequence[FoundPage]:
        """Return those of *pages* that have all *words*, each with an excerpt around them."""
        if not words:
            return pages
        sought = {page.id: missing(words, page.page) for page in pages}
        unread = [page for page in pages if sought[page.id]]
        bodies = await self._bodies(unread, [Body.TEXT])

        def read() -> list[FoundPage]:
            matches: list[FoundPage] = []
            for page in pages:
                text = bodies.get((page.id, Body.TEXT), b"").decode(errors="replace")
                snippet = excerpt(text, words, sought[page.id])
                if snippet is not None:
                    matches.append(replace(page, excerpt=snippet))
            return matches

        return await asyncio.get_running_loop().run_in_executor(self._reader, read)

    async def _bodies(
        self, pages: Sequence[FoundPage], kinds: Collection[Body]
    ) -> Mapping[tuple[int, Body], bytes]:
        if not pages or not kinds:
            return {}
        return await self._store.pages.bodies([page.id for page in pages], kinds)


def _rows(query: ArchiveQuery, limit: int, words: tuple[str, ...]) -> int:
    """Return how many pages the first look takes."""
    if words:
        return _ROWS_READ
    whichever = query.pages == PageQuery() and query.since is None and query.until is None
    return min(limit, _ROWS) if whichever else _ROWS


def _parts(pages: Sequence[FoundPage]) -> Iterator[Sequence[FoundPage]]:
    """Yield *pages* in portions whose texts together fit into memory."""
    part: list[FoundPage] = []
    size = 0
    for page in pages:
        if part and (len(part) >= _TEXTS or size + page.page.bytes > _TEXT_BYTES):
            yield part
            part, size = [], 0
        part.append(page)
        size += page.page.bytes
    if part:
        yield part
