"""Link check of a job: reads its redirects, pages, links and ids, and says what is wrong."""

from collections.abc import Set as AbstractSet
from contextlib import aclosing

from crawlyard.core.access.user import Actor
from crawlyard.core.crawl.link import decoded, decoded_ids
from crawlyard.core.crawl.link_check import (
    MOST_PAGES,
    Finding,
    LinkCheck,
    compared,
    missing_fragments,
)
from crawlyard.core.crawl.page import Body, TargetState
from crawlyard.errors import Invalid
from crawlyard.services.jobs.results import Results
from crawlyard.store.queries import PageQuery
from crawlyard.store.store import Store

_CHUNK = 5_000
_LEADING = (TargetState.REDIRECTED, TargetState.SKIPPED)


class Checking:
    """Checks the links of jobs, also of running ones."""

    def __init__(self, store: Store, results: Results) -> None:
        self._store = store
        self._results = results

    async def job(
        self, actor: Actor, job_id: str, since: str | None = None
    ) -> tuple[LinkCheck, list[Finding]]:
        """Return what was checked in a job, and what is wrong.

        With *since*, findings are marked as new if the check of that job has them not.

        Raises:
            NotFound: there is no such job, or it belongs to another user.
            Invalid: a job has more than `MOST_PAGES`.
        """
        check, found = await self._checked(actor, job_id)
        if since is not None:
            _, before = await self._checked(actor, since)
            found = compared(found, before)
        return check, found

    async def _checked(self, actor: Actor, job_id: str) -> tuple[LinkCheck, list[Finding]]:
        check = LinkCheck()
        async with aclosing(self._results.records(actor, job_id, PageQuery(), ())) as pages:
            async for stored, _ in pages:
                if len(check.pages) >= MOST_PAGES:
                    said = f"expected a job of at most {MOST_PAGES:,} pages, {job_id} has more"
                    raise Invalid("job_id", said)
                check.add_page(stored.page)
        after = 0
        while known := await self._store.frontier.upcoming(job_id.lower(), after, _CHUNK, _LEADING):
            for one in known:
                check.add_known(one)
            after = known[-1].key
        async with aclosing(
            self._results.records(actor, job_id, PageQuery(), [Body.LINKS])
        ) as pages:
            async for stored, bodies in pages:
                if bodies:
                    check.add_links(stored.page.final_url, decoded(bodies[Body.LINKS]))
        return check, check.findings(await self._missing(actor, job_id, check))

    async def _missing(
        self, actor: Actor, job_id: str, check: LinkCheck
    ) -> dict[str, AbstractSet[str]]:
        """Return the fragments that pages have not; a page whose ids are not kept has all."""
        missing: dict[str, AbstractSet[str]] = {}
        if not check.wanted:
            return missing
        records = self._results.records(actor, job_id, PageQuery(), [Body.ANCHORS])
        async with aclosing(records) as pages:
            async for stored, bodies in pages:
                url = stored.page.final_url
                if bodies and url in check.wanted and not stored.page.needs_scripts:
                    ids = decoded_ids(bodies[Body.ANCHORS])
                    missing[url] = missing_fragments(check.wanted[url], ids)
        return missing
