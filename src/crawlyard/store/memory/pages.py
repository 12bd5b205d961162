"""`PageStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

from msgspec import Struct

from crawlyard.core.page import (
    Body,
    ErrorGroup,
    ErrorKind,
    Page,
    RuleKind,
    SkippedGroup,
    SkippedURL,
    StoredPage,
    TargetState,
    is_of_host,
    is_of_type,
)
from crawlyard.store.base import PageQuery
from crawlyard.store.memory.shelf import Known, Shelf


class MemoryPages(Struct, frozen=True):
    """`PageStore` in memory."""

    _shelf: Shelf

    async def pages(self, job_id: str, query: PageQuery, limit: int) -> list[StoredPage]:
        record = self._shelf.find(job_id)
        if record is None:
            return []
        after = record.pages_after(query.after)
        fitting = (record.listed(fp) for fp, stored in after if asks_for(query, stored))
        return list(islice(fitting, limit))

    async def bodies(
        self, page_ids: Sequence[int], kinds: Collection[Body]
    ) -> Mapping[tuple[int, Body], bytes]:
        keys = {(page_id, kind) for page_id in page_ids for kind in kinds}
        kept = (r.bodies for r in self._shelf.there())
        return {key: data for bodies in kept for key, data in bodies.items() if key in keys}

    async def errors(self, job_id: str) -> list[ErrorGroup]:
        record = self._shelf.find(job_id)
        groups: dict[ErrorKind, list[Page]] = {}
        for stored in record.pages.values() if record else ():
            if stored.page.error is not None:
                groups.setdefault(stored.page.error, []).append(stored.page)
        found = [_group(kind, pages) for kind, pages in groups.items()]
        return sorted(found, key=lambda g: (-g.count, g.kind))

    async def skipped(
        self, job_id: str, after: int, limit: int, kinds: Collection[RuleKind] = ()
    ) -> list[tuple[int, SkippedURL]]:
        begins = tuple(kinds or ("",))
        kept_out = (
            (k.id, SkippedURL(url=k.target.url, depth=k.target.depth, rule=k.rule))
            for k in self._kept_out(job_id)
            if k.id > after and k.rule.startswith(begins)
        )
        return list(islice(kept_out, limit))

    async def skipped_by(self, job_id: str) -> list[SkippedGroup]:
        groups: dict[RuleKind, list[str]] = {}
        for known in self._kept_out(job_id):
            for kind in RuleKind:
                if known.rule.startswith(kind):
                    groups.setdefault(kind, []).append(known.target.url)
        found = [
            SkippedGroup(kind=kind, count=len(urls), samples=tuple(urls[:5]))
            for kind, urls in groups.items()
        ]
        return sorted(found, key=lambda g: (-g.count, g.kind))

    def _kept_out(self, job_id: str) -> Iterator[Known]:
        record = self._shelf.find(job_id)
        known = record.frontier.values() if record else ()
        return (k for k in known if k.state is TargetState.SKIPPED)


def asks_for(query: PageQuery, stored: StoredPage) -> bool:
    """Tell whether *query* asks for a page record."""
    page, text = stored.page, query.text.lower()
    return (
        stored.id > query.after
        and query.failed in (None, page.error is not None)
        and query.needs_scripts in (None, page.needs_scripts)
        and (not query.kinds or page.error in query.kinds)
        and (not text or text in page.url.lower() or text in page.title.lower())
        and (not query.statuses or _of_status(page.status or 0, query.statuses))
        and (not query.depths or page.depth in query.depths)
        and (query.min_depth is None or page.depth >= query.min_depth)
        and (query.max_depth is None or page.depth <= query.max_depth)
        and (not query.hosts or any(is_of_host(page.url, h) for h in query.hosts))
        and _of_types(page.content_type, query.content_types)
    )


def _of_status(status: int, asked: Collection[int]) -> bool:
    return status in asked or status // 100 in asked


def _of_types(content_type: str, asked: Collection[str]) -> bool:
    return not asked or any(is_of_type(content_type, one) for one in asked)


def _group(kind: ErrorKind, pages: Sequence[Page]) -> ErrorGroup:
    oldest = sorted(pages, key=lambda p: p.fetched_at)  # stable: then in the order stored
    return ErrorGroup(
        kind=kind,
        count=len(pages),
        answered=sum(p.status is not None for p in pages),
        first_at=oldest[0].fetched_at,
        last_at=oldest[-1].fetched_at,
        samples=tuple(p.url for p in oldest[:5]),
    )
