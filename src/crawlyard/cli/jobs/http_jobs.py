"""Jobs of a yard that is asked over HTTP."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import aclosing

from crawlyard.client import AsyncClient
from crawlyard.core.answers.base import as_dict
from crawlyard.core.answers.jobs.jobs import ErrorGroupOut, EventOut, JobOut, PageOut, SkippedOut
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.spec_json import FIELDS, Form
from crawlyard.core.templates.template import is_id
from crawlyard.errors import Invalid, NotFound
from crawlyard.export.base import Format, Record
from crawlyard.export.plan import Plan
from crawlyard.store.queries import JobQuery, PageQuery

_PORTION = 500  # events that are asked for at once


class HttpClient:
    """Asks the jobs of a server; each method is a request or two."""

    def __init__(self, client: AsyncClient) -> None:
        self._jobs = client.jobs
        self._events = client.events

    async def get(self, job_id: str) -> JobOut:
        """Return one job."""
        return await self._jobs.get(job_id)

    async def find(self, query: JobQuery, limit: int) -> list[JobOut]:
        """Return the jobs that *query* asks for, newest first, at most *limit*."""
        return [job async for job in self._jobs.list(q=filter_of(query), limit=limit)]

    async def resolve(self, word: str) -> str:
        """Return the id that *word* means."""
        if word == "last":
            found = [job async for job in self._jobs.list(limit=1)]
            if not found:
                raise NotFound("there is no job yet")
            return found[0].id
        if is_id(word):
            return (await self._jobs.get(word.lower())).id
        found = [job async for job in self._jobs.list(id=word.lower(), limit=2)]
        if not found:
            raise NotFound(f"there is no job {word}")
        if len(found) > 1:
            raise Invalid("id", f"more than one job begins or ends with {word!r}; give more of it")
        return found[0].id

    async def submit(self, form: Form) -> JobOut:
        """Make a job that is due now."""
        return await self._jobs.create(form)

    async def pause(self, job_id: str, why: str = "") -> JobOut:
        """Hold a job and keep its frontier."""
        return await self._jobs.pause(job_id, why)

    async def resume(self, job_id: str) -> JobOut:
        """Queue a job again where it stands."""
        return await self._jobs.resume(job_id)

    async def cancel(self, job_id: str, why: str = "") -> JobOut:
        """End a job; its pages are kept."""
        return await self._jobs.cancel(job_id, why)

    async def retry(self, job_id: str) -> JobOut:
        """Make a new job with the spec of an ended one, and return the new one."""
        return await self._jobs.retry(job_id)

    async def retry_failed(self, job_id: str, kinds: Collection[ErrorKind]) -> tuple[JobOut, int]:
        """Queue the failed URLs of these kinds (none: all) again; return how many they are."""
        groups = await self.errors(job_id)
        count = sum(group.count for group in groups if not kinds or group.kind in set(kinds))
        return await self._jobs.retry(job_id, scope="failed", kinds=sorted(kinds)), count

    async def retry_now(self, job_id: str) -> JobOut:
        """End a pending job's wait."""
        return await self._jobs.retry(job_id, scope="now")

    async def edit(self, job_id: str, changes: Mapping[str, object]) -> JobOut:
        """Change fields of the spec."""
        patch: dict[str, object] = {}
        for name, value in changes.items():
            group, _, inner = name.rpartition(".")
            within = patch.setdefault(group, {}) if group else patch
            if isinstance(within, dict):
                within[inner] = FIELDS[name].write(value)
        return await self._jobs.edit(job_id, patch)

    async def delete(self, job_id: str) -> None:
        """Delete an ended or paused job with its pages; the server frees its space later."""
        await self._jobs.delete(job_id)

    async def pages(self, job_id: str, query: PageQuery) -> AsyncIterator[PageOut]:
        """Yield page records in the order they were stored."""
        kinds = sorted(query.kinds) or None
        listed = self._jobs.pages(
            job_id,
            failed=query.failed,
            needs_scripts=query.needs_scripts,
            kind=kinds,
            q=query.text,
        )
        async with aclosing(listed) as found:
            async for page in found:
                yield page

    async def records(self, job_id: str, query: PageQuery, plan: Plan) -> AsyncIterator[Record]:
        """Yield page records in the order they were stored, as *plan* has them."""
        kinds = sorted(query.kinds) or None
        ask = self._jobs.records if plan.kept else self._jobs.pages
        fields = set(PageOut.__struct_fields__).difference(plan.left_out)
        pages = ask(job_id, failed=query.failed, kind=kinds, q=query.text)
        async with aclosing(pages) as found:
            async for page in found:
                yield as_dict(page, fields)

    async def export(self, job_id: str, query: PageQuery, form: Format) -> AsyncIterator[bytes]:
        """Yield the pages as one file, in pieces that end anywhere."""
        kinds = sorted(query.kinds) or None
        whole = self._jobs.export(
            job_id, format=form.value, failed=query.failed, kind=kinds, q=query.text
        )
        async with aclosing(whole) as found:
            async for portion in found:
                yield portion

    async def errors(self, job_id: str) -> list[ErrorGroupOut]:
        """Return the failed URLs by kind, the most frequent first."""
        return list((await self._jobs.errors(job_id)).items)

    async def skipped(self, job_id: str) -> AsyncIterator[SkippedOut]:
        """Yield the URLs that a rule kept out."""
        async with aclosing(self._jobs.skipped(job_id)) as found:
            async for skipped in found:
                yield skipped

    async def events(self, job_id: str, after: int = 0) -> list[EventOut]:
        """Return what happened after the event of seq *after*, oldest first, in portions."""
        asked = self._events.list(subject=job_id, after=after, sort="seq", limit=_PORTION)
        return [event async for event in asked]


def filter_of(query: JobQuery) -> str:
    """Return *query* in the filter language of the API."""
    terms = [
        _term("state", sorted(query.states)),
        _term("priority", [str(priority) for priority in sorted(query.priorities)]),
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
