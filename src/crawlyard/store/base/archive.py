"""What is asked of a store about the pages of all jobs together."""

from datetime import datetime
from typing import Protocol

from msgspec import Struct, field

from crawlyard.core.archive import Look
from crawlyard.store.base.jobs import JobQuery, PageQuery


class ArchiveQuery(Struct, frozen=True, kw_only=True):
    """Which pages of which jobs; an empty field asks nothing."""

    jobs: JobQuery = field(default_factory=JobQuery)
    job_ids: frozenset[str] = frozenset()
    pages: PageQuery = field(default_factory=PageQuery)
    since: datetime | None = None  # fetched at this instant, or after it
    until: datetime | None = None  # fetched before this instant
    before: int | None = None  # ids below this one

    @property
    def of_all(self) -> bool:
        """Tell whether pages of every job are looked at, whenever they were fetched."""
        return self == ArchiveQuery(pages=self.pages, before=self.before)


class ArchiveStore(Protocol):
    """The pages of all jobs, the last that was stored in front."""

    async def look(self, query: ArchiveQuery, rows: int) -> Look:
        """Look at the next *rows* pages of the jobs that *query* asks for, newest first.

        The time that it takes grows with *rows* and with the number of these jobs, not
        with that of the pages that there are; pages of other jobs are not looked at.
        """
        ...
