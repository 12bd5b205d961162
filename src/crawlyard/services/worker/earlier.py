"""Earlier run: the pages of the job that a run is compared with, for conditional requests."""

import asyncio
import logging
from collections.abc import Mapping

from crawlyard.core.crawl.lastmod import LastmodRecord
from crawlyard.core.crawl.link import decoded
from crawlyard.core.crawl.page import Body
from crawlyard.core.jobs.job import Job
from crawlyard.engine.conditional import Prior, difference
from crawlyard.errors import NotFound, StoreUnavailable
from crawlyard.store.crawl.pages import PageStore
from crawlyard.store.store import Store

_MOST = 200  # targets that one query looks for

_log = logging.getLogger(__name__)


async def earlier_run(store: Store, job: Job) -> tuple["EarlierRun | None", str]:
    """Return the run that *job* is based on, or why its pages are fetched, in a sentence.

    A run of a schedule that fetches all pages is only compared with the one before it.
    """
    since, schedule_id, whole = job.spec.since, job.origin.schedule_id, False
    compares = job.spec.confirm_changes
    if since is None and schedule_id is not None and (compares or job.spec.full_every != 1):
        since, whole = await store.ticks.base(schedule_id, None), True
    if since is None:
        return None, ""
    before, why = await _job_of(store, job, since)
    if before is not None and (name := difference(job.spec, before.spec)):
        why = f"had another setting of {name}"
    told = f"every page is fetched: job {since} {why}" if why and not whole else ""
    if before is None or (why and not compares):
        return None, told
    return EarlierRun(store.pages, since, whole=whole, usable=not why), told


async def _job_of(store: Store, job: Job, since: str) -> tuple[Job | None, str]:
    """Return the job *since* if its pages may be read for *job*, or why not."""
    try:
        before = (await store.jobs.get(since)).job
    except NotFound:
        return None, "does not exist any more"
    if before.owner != job.owner:
        return None, "belongs to another user"
    return (None, "is damaged") if before.damaged else (before, "")


class EarlierRun:
    """Pages of an earlier run; those that are asked for at once are read by one query.

    With *whole*, every page is sent again. Unless it is *usable*, pages are only compared with.
    """

    def __init__(self, pages: PageStore, job_id: str, *, whole: bool, usable: bool) -> None:
        self._pages = pages
        self._job_id = job_id
        self.whole = whole
        self._usable = usable
        self._asked: dict[int, asyncio.Future[Prior | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def lastmods(self) -> Mapping[str, LastmodRecord]:
        """Return how dates in sitemaps proved up to that run, by host."""
        return await self._pages.lastmods(self._job_id)

    async def of(self, fp: int) -> Prior | None:
        """Return the page of a target, ``None`` if there is none or it cannot be read now."""
        answer = self._asked.get(fp)
        if answer is None:
            answer = self._asked[fp] = asyncio.get_running_loop().create_future()
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        return await answer

    async def _read_all(self) -> None:
        while self._asked:
            fps = list(self._asked)[:_MOST]
            asked = {fp: self._asked.pop(fp) for fp in fps}
            try:
                found = await self._read(fps)
            except StoreUnavailable:
                found = {}  # then they are fetched as if there were no earlier run
            except Exception:  # noqa: BLE001 - likewise: the crawl goes on without it
                _log.exception("pages of job %s cannot be read", self._job_id)
                found = {}
            for fp, answer in asked.items():
                if not answer.done():  # the visit may have been cancelled
                    answer.set_result(found.get(fp))

    async def _read(self, fps: list[int]) -> Mapping[int, Prior]:
        pages = await self._pages.of_targets(self._job_id, fps)
        ids = [stored.id for stored, _ in pages.values()]
        wanted = ids if self._usable else []
        bodies = await self._pages.bodies(wanted, [Body.LINKS]) if wanted else {}
        return {
            fp: Prior(
                page=stored.page,
                body_of=key,
                links=decoded(bodies.get((stored.id, Body.LINKS), b"[]")),
                usable=self._usable,
            )
            for fp, (stored, key) in pages.items()
        }
