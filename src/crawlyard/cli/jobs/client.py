"""Jobs of an instance, as commands ask for them, wherever it is."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping

from crawlyard.core.answers.fleet.upkeep import FreedOut
from crawlyard.core.answers.jobs.jobs import (
    ErrorGroupOut,
    EventOut,
    JobOut,
    PageOut,
    RetriedOut,
    SkippedOut,
)
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.endpoint import every
from crawlyard.core.jobs.bulk import RetryScope
from crawlyard.core.jobs.spec_json import FIELDS, Form
from crawlyard.core.templates.template import is_id
from crawlyard.errors import Invalid, NotFound
from crawlyard.export.base import Format, Record
from crawlyard.export.plan import Plan
from crawlyard.services.jobs.jobs import Jobs
from crawlyard.services.jobs.terms import SearchTerms
from crawlyard.store.queries import JobQuery, PageQuery

Purge = Callable[[], Awaitable[FreedOut]]


class Client:
    """Asks *jobs*; *purge* frees the space of deleted ones, ``None``: it is freed later."""

    def __init__(self, jobs: Jobs, purge: Purge | None = None) -> None:
        self._purge = purge
        self._jobs = jobs
        self.get = jobs.get
        self.submit: Callable[[Form], Awaitable[JobOut]] = jobs.create
        self.pause = jobs.pause
        self.resume = jobs.resume
        self.cancel = jobs.cancel
        self.retry: Callable[[str], Awaitable[JobOut]] = jobs.retry

    async def find(self, query: JobQuery, limit: int) -> list[JobOut]:
        """Return the jobs that *query* asks for, newest first, at most *limit*."""
        return [job async for job in every(self._jobs.list, q=filter_of(query), limit=limit)]

    async def resolve(self, word: str) -> str:
        """Return the id that *word* means: a whole id, its beginning or end, or "last".

        Raises:
            NotFound: no job is meant.
            Invalid: more than one job is meant.
        """
        if is_id(word):
            return (await self._jobs.get(word.lower())).id
        last = word == "last"
        found = (await self._jobs.list(id="" if last else word.lower(), limit=2)).items
        if not found:
            raise NotFound("there is no job yet" if last else f"there is no job {word}")
        if len(found) > 1 and not last:
            raise Invalid("id", f"more than one job begins or ends with {word!r}; give more of it")
        return found[0].id

    async def retry_failed(self, job_id: str, kinds: Collection[ErrorKind]) -> RetriedOut:
        """Queue the failed URLs of these kinds (none: all) again."""
        return await self._jobs.retry(job_id, scope=RetryScope.FAILED, kinds=tuple(kinds))

    async def retry_now(self, job_id: str) -> JobOut:
        """End a pending job's wait for its next attempt or its start."""
        return await self._jobs.retry(job_id, scope=RetryScope.NOW)

    async def edit(self, job_id: str, changes: Mapping[str, object]) -> JobOut:
        """Change fields of the spec; the values are those of `JobSpec`, by path."""
        patch: dict[str, dict[str, object] | object] = {}
        for path, value in changes.items():
            group, _, name = path.rpartition(".")
            place = patch.setdefault(group, {}) if group else patch
            if isinstance(place, dict):
                place[name] = FIELDS[path].write(value)
        return await self._jobs.edit(job_id, patch)

    async def delete(self, job_id: str) -> FreedOut | None:
        """Delete an ended or paused job with its pages; return the room that this freed.

        ``None``: it is freed later.
        """
        await self._jobs.delete(job_id)
        return None if self._purge is None else await self._purge()

    def pages(self, job_id: str, query: PageQuery) -> AsyncIterator[PageOut]:
        """Yield page records in the order they were stored, without bodies."""
        return every(self._jobs.pages, job_id, **_terms(query))

    async def records(self, job_id: str, query: PageQuery, plan: Plan) -> AsyncIterator[Record]:
        """Yield page records in the order they were stored, as *plan* has them."""
        rest = b""
        async for piece in self.export(job_id, query, Format.JSONL):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                record = json.loads(line)
                yield {name: value for name, value in record.items() if name not in plan.left_out}

    async def export(self, job_id: str, query: PageQuery, form: Format) -> AsyncIterator[bytes]:
        """Yield the pages as one file, in pieces that end anywhere.

        Raises:
            Invalid: it cannot be written where the instance is.
        """
        async for piece in await self._jobs.export(job_id, format_=form, **_terms(query)):
            yield piece

    async def errors(self, job_id: str) -> list[ErrorGroupOut]:
        """Return the failed URLs by kind, the most frequent first."""
        return list((await self._jobs.errors(job_id)).items)

    def skipped(self, job_id: str) -> AsyncIterator[SkippedOut]:
        """Yield the URLs that a rule kept out."""
        return every(self._jobs.skipped, job_id)

    def events(self, job_id: str) -> AsyncIterator[EventOut]:
        """Yield what happened to a job, oldest first."""
        return every(self._jobs.events, job_id)


def _terms(query: PageQuery) -> SearchTerms:
    terms: SearchTerms = {"q": query.text, "kind": tuple(sorted(query.kinds))}
    if query.failed is not None:
        terms["failed"] = query.failed
    if query.needs_scripts is not None:
        terms["needs_scripts"] = query.needs_scripts
    return terms


def filter_of(query: JobQuery) -> str:
    """Return *query* in the filter language."""
    terms = [
        _term("state", sorted(query.states)),
        _term("priority", sorted(query.priorities)),
        *(_term("tag", [tag]) for tag in sorted(query.tags)),  # all of them, not any
        _quoted(query.text) if query.text else "",
    ]
    return " ".join(term for term in terms if term)


def _term(key: str, words: Iterable[str]) -> str:
    values = ",".join(map(_quoted, words))
    return f"{key}:{values}" if values else ""


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
