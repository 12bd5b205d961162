"""Pages over all jobs: search and export, for one user."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Literal, Unpack

from msgspec import Meta

from crawlyard.core.access.user import Permit
from crawlyard.core.answer import as_dict
from crawlyard.core.crawl.page import Body
from crawlyard.core.endpoints.endpoint import Cursor, Limit, endpoint
from crawlyard.core.jobs.filter import FilterKey, condition
from crawlyard.core.search.answers import FoundPageOut, FoundPagesOut, SearchedOut
from crawlyard.core.search.search import MAX_TEXT
from crawlyard.core.search.search import words_of as sought
from crawlyard.core.templates.template import is_id
from crawlyard.export.base import Format, Record, chunks
from crawlyard.export.csv import Csv
from crawlyard.export.jsonl import JsonLines, dumps
from crawlyard.export.plan import check_installed
from crawlyard.lazy import lazily
from crawlyard.services.jobs.terms import words_of
from crawlyard.services.noun import Noun
from crawlyard.services.results.terms import ArchiveTerms, page_query
from crawlyard.store.queries import ArchiveQuery, JobQuery

# only needed for exports: an extra, and the parser
with lazily():
    from crawlyard.export import parquet
    from crawlyard.services.results import exporting

READ = Permit.RESULTS_READ

_COLUMNS = ("job_id", "job_name", "extracted_json")
_LEFT_OUT = frozenset({"object", "parts", "html", "headers"})

Query = Annotated[
    str,
    Meta(
        max_length=MAX_TEXT,
        description='Words that are in URL, title or text, all of them; "…" keeps several '
        "together.",
    ),
]


class Pages(Noun):
    """Searches and exports pages of all jobs that the user may see."""

    @endpoint("GET /pages", READ, group="results")
    async def find(
        self,
        q: Query = "",
        *,
        limit: Limit = 50,
        cursor: Cursor = None,
        **terms: Unpack[ArchiveTerms],
    ) -> FoundPagesOut:
        """List the pages of all jobs that you may see, newest first.

        Words are looked up in an index. Pages that are not indexed yet are read one by one, as are
        all pages if the index is off or the words are too common for it, and most filters are not
        indexed: a response examines 20,000 pages, or for 0.4 s, and has the matches until then,
        possibly none. `searched` has how far it looked and the use of the index; `next_cursor`
        continues from there.
        """
        query = _query(terms, None if cursor is None else int(cursor))
        findings = await self._services.archive.search(self._actor, query, limit, sought(q))
        return FoundPagesOut(
            items=[FoundPageOut.of_page(page) for page in findings.pages],
            next_cursor=None if findings.further is None else str(findings.further),
            has_more=findings.further is not None,
            searched=SearchedOut.of(findings),
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

        The filters are those of the list; all stored pages are examined, however long it takes.
        """
        form = Format(format_ or Format.JSONL)
        check_installed(form)
        records = self._records(_query(terms), sought(q), form, text=text)
        if form is Format.PARQUET:
            return parquet.chunks(records, parquet.Parquet(text=text, before=_COLUMNS))
        flat = form is Format.CSV
        return chunks(records, Csv(text=text, leading_columns=_COLUMNS) if flat else JsonLines())

    async def _records(
        self, query: ArchiveQuery, words: tuple[str, ...], form: Format, *, text: bool
    ) -> AsyncGenerator[Record]:
        kinds = [Body.TEXT] if text else []
        records = self._services.archive.records(self._actor, query, words, kinds)
        async with aclosing(records) as pages:
            async for page, bodies in pages:
                shape = FoundPageOut.of_page(page, **exporting.readable(bodies))
                record = as_dict(shape, without=_LEFT_OUT)
                if form is not Format.JSONL:  # extracted fields have other names in each job
                    record["extracted_json"] = dumps(record["extracted"])
                yield record


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
    conditions = [
        condition(key, words) for key, text in of_jobs.items() if (words := words_of(text))
    ]
    ids = (word.lower() if is_id(word) else "" for word in words_of(terms.get("job")))
    return ArchiveQuery(
        jobs=JobQuery(where=tuple(conditions)),
        job_ids=frozenset(ids),
        pages=page_query(terms),
        since=terms.get("since"),
        until=terms.get("until"),
        before=before,
    )
