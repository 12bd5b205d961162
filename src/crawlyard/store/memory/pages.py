"""`PageStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from crawlyard.core.page import (
    Body,
    ErrorGroup,
    ErrorKind,
    Page,
    SkippedURL,
    StoredPage,
    TargetState,
)
from crawlyard.store.base import PageQuery
from crawlyard.store.memory.shelf import Shelf


@dataclass(frozen=True, slots=True)
class MemoryPages:
    """`PageStore` in memory."""

    _shelf: Shelf

    async def pages(self, job_id: str, query: PageQuery, limit: int) -> list[StoredPage]:
        record = self._shelf.find(job_id)
        if record is None:
            return []
        fitting = (record.listed(fp) for fp, s in record.pages.items() if _asked(query, s))
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

    async def skipped(self, job_id: str, after: int, limit: int) -> list[tuple[int, SkippedURL]]:
        record = self._shelf.find(job_id)
        kept_out = (
            (k.id, SkippedURL(url=k.target.url, depth=k.target.depth, rule=k.rule))
            for k in (record.frontier.values() if record else ())
            if k.state is TargetState.SKIPPED and k.id > after
        )
        return list(islice(kept_out, limit))


def _asked(query: PageQuery, stored: StoredPage) -> bool:
    page, text = stored.page, query.text.lower()
    return (
        stored.id > query.after
        and query.failed in (None, page.error is not None)
        and (not query.kinds or page.error in query.kinds)
        and (text in page.url.lower() or text in page.title.lower())
    )


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
