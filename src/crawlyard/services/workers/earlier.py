"""Earlier run: the pages of the job that a run is compared with, for conditional requests."""

import asyncio
import logging
from collections.abc import Mapping

from crawlyard.core.crawl.lastmod import LastmodRecord
from crawlyard.core.crawl.link import decode_links
from crawlyard.core.crawl.page import Body
from crawlyard.core.jobs.job import Job
from crawlyard.engine.conditional import Prior, difference
from crawlyard.errors import NotFound, StoreUnavailable
from crawlyard.store.crawl.pages import PageStore
from crawlyard.store.store import Store

_MOST = 200  # targets that one query looks for

_log = logging.getLogger(__name__)


async def earlier_run(store: Store, job: Job) -> tuple["EarlierRun | None", str]:
    """Return the run that *job* is based on, or a sentence with the reason why there is none."""
    since = job.spec.since
    if since is None:
        return await _find_compared_run(store, job), ""
    if why := await _unlike(store, job, since):
        return None, f"every page is fetched: job {since} {why}"
    return EarlierRun(store.pages, since), ""


async def _find_compared_run(store: Store, job: Job) -> "EarlierRun | None":
    """Return the run before one of a schedule that fetches all, to compare it with."""
    schedule_id, spec = job.origin.schedule_id, job.spec
    if schedule_id is None or (spec.full_every == 1 and not spec.confirm_changes):
        return None
    since = await store.ticks.base(schedule_id, None)
    if since is None or await _unlike(store, job, since):
        return None
    return EarlierRun(store.pages, since, whole=True)


async def _unlike(store: Store, job: Job, since: str) -> str:
    """Return why pages of the job *since* cannot be used for *job*, "" if they can."""
    try:
        before = (await store.jobs.get(since)).job
    except NotFound:
        return "does not exist any more"
    if before.owner != job.owner:
        return "belongs to another user"
    if before.damaged:
        return "is damaged"
    name = difference(job.spec, before.spec)
    return f"had another setting of {name}" if name else ""


class EarlierRun:
    """Pages of an earlier run; concurrent lookups share one query.

    With *whole*, pages are only compared: every page is fetched in full.
    """

    def __init__(self, pages: PageStore, job_id: str, *, whole: bool = False) -> None:
        self._pages = pages
        self._job_id = job_id
        self.whole = whole
        self._pending: dict[int, asyncio.Future[Prior | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def lastmods(self) -> Mapping[str, LastmodRecord]:
        """Return the reliability of dates in sitemaps up to that run, by host."""
        return await self._pages.lastmods(self._job_id)

    async def of(self, fp: int) -> Prior | None:
        """Return the page of a target, ``None`` if there is none or it cannot be read now."""
        answer = self._pending.get(fp)
        if answer is None:
            answer = self._pending[fp] = asyncio.get_running_loop().create_future()
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        return await answer

    async def _read_all(self) -> None:
        while self._pending:
            fps = list(self._pending)[:_MOST]
            answers = {fp: self._pending.pop(fp) for fp in fps}
            try:
                pages = await self._read(fps)
            except StoreUnavailable:
                pages = {}  # then they are fetched as if there were no earlier run
            except Exception:  # noqa: BLE001 - likewise: the crawl goes on without it
                _log.exception("pages of job %s cannot be read", self._job_id)
                pages = {}
            for fp, answer in answers.items():
                if not answer.done():  # the visit may have been cancelled
                    answer.set_result(pages.get(fp))

    async def _read(self, fps: list[int]) -> Mapping[int, Prior]:
        pages = await self._pages.of_targets(self._job_id, fps)
        ids = [stored.id for stored, _ in pages.values()]
        bodies = await self._pages.bodies(ids, [Body.LINKS]) if ids else {}
        return {
            fp: Prior(
                page=stored.page,
                body_of=key,
                links=decode_links(bodies.get((stored.id, Body.LINKS), b"[]")),
            )
            for fp, (stored, key) in pages.items()
        }
