"""`ArchiveStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Iterator

from msgspec import Struct

from crawlyard.core.archive import FoundPage, Look
from crawlyard.core.page import StoredPage
from crawlyard.store.base import ArchiveQuery
from crawlyard.store.memory.jobs import fits_query
from crawlyard.store.memory.pages import asks_for
from crawlyard.store.memory.shelf import Record, Shelf


class MemoryArchive(Struct, frozen=True):
    """`ArchiveStore` in memory."""

    _shelf: Shelf

    async def look(self, query: ArchiveQuery, rows: int) -> Look:
        every = sorted(self._pages(query), key=lambda found: found.id, reverse=True)
        looked = every[:rows]
        return Look(
            pages=tuple(found for found in looked if _fits(query, found)),
            looked_at=len(looked),
            reached=looked[-1].id if len(every) > rows else None,
            reached_at=looked[-1].page.fetched_at if looked else None,
        )

    def _pages(self, query: ArchiveQuery) -> Iterator[FoundPage]:
        for record in self._shelf.there():
            named = not query.job_ids or record.job.id in query.job_ids
            if named and fits_query(query.jobs, record.job):
                yield from _of(record, query.before)


def _of(record: Record, before: int | None) -> Iterator[FoundPage]:
    for fp, stored in record.pages.items():
        if before is None or stored.id < before:
            page = record.listed(fp).page
            name = record.job.spec.name
            yield FoundPage(id=stored.id, job_id=record.job.id, job_name=name, page=page)


def _fits(query: ArchiveQuery, found: FoundPage) -> bool:
    at = found.page.fetched_at
    return (
        (query.since is None or at >= query.since)
        and (query.until is None or at < query.until)
        and asks_for(query.pages, StoredPage(id=found.id, page=found.page))
    )
