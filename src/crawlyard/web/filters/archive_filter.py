"""Filters in URLs of pages over all jobs, and the words that are looked for in them."""

from typing import Annotated

from fastapi import Depends, Query
from msgspec import Struct

from crawlyard.core.crawl.page_search import MAX_TEXT, words_of
from crawlyard.core.jobs.filter import FilterKey, condition
from crawlyard.core.templates.template import is_id
from crawlyard.store.queries import ArchiveQuery, JobQuery
from crawlyard.web.filters.filtering import Values, WhichPages, of_parameter, words
from crawlyard.web.wire.schedules.schedule_asks import AskedInstant

_MANY = "Several: any of them."


class Sought(Struct, frozen=True):
    """What the URL asks of pages over all jobs."""

    query: ArchiveQuery
    words: tuple[str, ...]  # as `core.crawl.page_search.words_of` has them


def _which_jobs(
    template: Annotated[
        Values, Query(max_length=100, description=f"Made from this template. {_MANY}")
    ] = None,
    schedule: Annotated[
        Values, Query(max_length=100, description=f"Submitted by this schedule. {_MANY}")
    ] = None,
    tag: Annotated[Values, Query(max_length=100, description=f"With this tag. {_MANY}")] = None,
    owner: Annotated[
        Values, Query(max_length=100, description=f"Of a user; `me` is whoever asks. {_MANY}")
    ] = None,
) -> JobQuery:
    given = {
        FilterKey.TEMPLATE: template,
        FilterKey.SCHEDULE: schedule,
        FilterKey.TAG: tag,
        FilterKey.OWNER: owner,
    }
    asked = []
    for key, items in given.items():
        if wanted := words(key.value, items):
            with of_parameter(key.value):
                asked.append(condition(key, wanted))
    return JobQuery(where=tuple(asked))


def _sought(
    pages: WhichPages,
    jobs: Annotated[JobQuery, Depends(_which_jobs)],
    job: Annotated[
        Values, Query(max_length=100, description=f"The whole id of a job. {_MANY}")
    ] = None,
    since: Annotated[
        AskedInstant | None, Query(description="Fetched at this instant, or after it.")
    ] = None,
    until: Annotated[AskedInstant | None, Query(description="Fetched before this instant.")] = None,
    q: Annotated[
        str,
        Query(
            max_length=MAX_TEXT,
            description='Words that are in URL, title or text, all of them; "…" keeps several '
            "together.",
        ),
    ] = "",
) -> Sought:
    ids = frozenset(word.lower() if is_id(word) else "" for word in words("job", job))
    query = ArchiveQuery(jobs=jobs, job_ids=ids, pages=pages, since=since, until=until)
    with of_parameter("q"):
        return Sought(query, words_of(q))


ArchiveFilter = Annotated[Sought, Depends(_sought)]
"""What the URL asks of pages over all jobs."""
