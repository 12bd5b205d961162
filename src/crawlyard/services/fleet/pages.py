"""Pages over all jobs, as one user finds and exports them."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Literal, Unpack

from msgspec import Meta

from crawlyard.core.access.user import Permit
from crawlyard.core.answers.fleet.archive import FoundPageOut, FoundPagesOut, SearchedOut
from crawlyard.core.crawl.page_search import MAX_TEXT
from crawlyard.core.crawl.page_search import words_of as sought
from crawlyard.core.endpoint import Cursor, Limit, endpoint
from crawlyard.core.jobs.filter import FilterKey, condition
from crawlyard.core.templates.template import is_id
from crawlyard.export.base import Format
from crawlyard.lazy import lazily
from crawlyard.services.jobs.terms import ArchiveTerms, page_query, words_of
from crawlyard.services.noun import Noun
from crawlyard.store.queries import ArchiveQuery, JobQuery

if TYPE_CHECKING:
    from crawlyard.services.fleet import page_export
else:  # it loads the parser
    page_export = lazily("crawlyard.services.fleet.page_export")

READ = Permit.RESULTS_READ

Query = Annotated[
    str,
    Meta(
        max_length=MAX_TEXT,
        description='Words that are in URL, title or text, all of them; "…" keeps several '
        "together.",
    ),
]


class Pages(Noun):
    """Finds pages of all jobs that the user may see."""

    @endpoint("GET /pages", READ, group="results")
    async def find(
        self,
        q: Query = "",
        *,
        limit: Limit = 50,
        cursor: Cursor = None,
        **terms: Unpack[ArchiveTerms],
    ) -> FoundPagesOut:
        """List the pages of all jobs that you may see, the last that was stored first.

        Nothing is indexed for `q`, nor for most filters: an answer looks at 20,000 pages, or for
        0.4 s, and brings what it has found by then, be it nothing. `searched` says how far it
        has looked, and `next_cursor` goes on from there.
        """
        query = _query(terms, None if cursor is None else int(cursor))
        found = await self._services.archive.search(self._actor, query, limit, sought(q))
        return FoundPagesOut(
            items=[FoundPageOut.found(page) for page in found.pages],
            next_cursor=None if found.further is None else str(found.further),
            has_more=found.further is not None,
            searched=SearchedOut.of(found),
        )

    @endpoint("GET /pages/export", READ, "file", group="results", name="find_all")
    async def export(
        self,
        q: Query = "",
        *,
        format_: Annotated[
            Literal["jsonl", "csv", "parquet"] | None,
            Meta(description="Else as `Accept` says, else `jsonl`."),
        ] = None,
        text: Annotated[
            bool, Meta(description="With the text of each page, where it is kept.")
        ] = False,
        **terms: Unpack[ArchiveTerms],
    ) -> AsyncIterator[bytes]:
        """Stream the pages of all jobs that you may see as JSON Lines, CSV or Parquet.

        The filters are those of the list; all that is stored is looked at, however long it takes.
        """
        form, words = Format(format_ or Format.JSONL), sought(q)
        return page_export.exported(
            self._services.archive, self._actor, _query(terms), words, form, text=text
        )


def _query(terms: ArchiveTerms, before: int | None = None) -> ArchiveQuery:
    """Return the query of *terms*.

    Raises:
        Invalid: a value is not what its parameter takes; the error names the parameter.
    """
    of_jobs = {
        FilterKey.TEMPLATE: terms.get("template"),
        FilterKey.SCHEDULE: terms.get("schedule"),
        FilterKey.TAG: terms.get("tag"),
        FilterKey.OWNER: terms.get("owner"),
    }
    asked = [condition(key, words) for key, one in of_jobs.items() if (words := words_of(one))]
    ids = (word.lower() if is_id(word) else "" for word in words_of(terms.get("job")))
    return ArchiveQuery(
        jobs=JobQuery(where=tuple(asked)),
        job_ids=frozenset(ids),
        pages=page_query(terms),
        since=terms.get("since"),
        until=terms.get("until"),
        before=before,
    )
