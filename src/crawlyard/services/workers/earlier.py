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

_MAX_FPS = 200  # fingerprints of targets in one query

_log = logging.getLogger(__name__)


async def find_earlier_run(store: Store, job: Job) -> tuple["EarlierRun | None", str]:
    """Return the run that *job* is based on, or a sentence with the reason why there is none."""
    base_id = job.spec.since
    if base_id is None:
        return await _find_compared_run(store, job), ""
    if why := await _why_unusable(store, job, base_id, follow=True):
        return None, f"every page is fetched: job {base_id} {why}"
    return EarlierRun(store.pages, base_id), ""


async def _find_compared_run(store: Store, job: Job) -> "EarlierRun | None":
    """Return the previous run of the job's schedule, to compare pages with it.

    ``None`` if *job* has no schedule, or its runs need no comparison.
    """
    schedule_id, spec = job.origin.schedule_id, job.spec
    if schedule_id is None or (spec.full_every == 1 and not spec.confirm_changes):
        return None
    base_id = await store.ticks.base(schedule_id, None)
    if base_id is None or await _why_unusable(store, job, base_id):
        return None
    return EarlierRun(store.pages, base_id, compare_only=True)


async def _why_unusable(store: Store, job: Job, base_id: str, *, follow: bool = False) -> str:
    """Return why pages of the job *base_id* cannot be used for *job*, "" if they can.

    To *follow* their links, these must be stored.
    """
    try:
        base = (await store.jobs.get(base_id)).job
    except NotFound:
        return "does not exist any more"
    if base.owner != job.owner:
        return "belongs to another user"
    if base.damaged:
        return "is damaged"
    if follow and not base.spec.keep_links:
        return "did not store links (keep_links=false)"
    setting = difference(job.spec, base.spec)
    return f"had another setting of {setting}" if setting else ""


class EarlierRun:
    """Pages of an earlier run; concurrent lookups share one query.

    With *compare_only*, every page is fetched in full, and then compared.
    """

    def __init__(self, pages: PageStore, job_id: str, *, compare_only: bool = False) -> None:
        self._pages = pages
        self._job_id = job_id
        self.compare_only = compare_only
        self._pending: dict[int, asyncio.Future[Prior | None]] = {}  # by fingerprint
        self._reader: asyncio.Task[None] | None = None

    async def lastmods(self) -> Mapping[str, LastmodRecord]:
        """Return the reliability of dates in sitemaps up to that run, by host."""
        return await self._pages.lastmods(self._job_id)

    async def find_page(self, fp: int) -> Prior | None:
        """Return the page of a target, ``None`` if there is none or it cannot be read now."""
        future = self._pending.get(fp)
        if future is None:
            future = self._pending[fp] = asyncio.get_running_loop().create_future()
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_pending())
        return await future

    async def _read_pending(self) -> None:
        while self._pending:
            fps = list(self._pending)[:_MAX_FPS]
            futures = {fp: self._pending.pop(fp) for fp in fps}
            try:
                pages = await self._read(fps)
            except StoreUnavailable:
                pages = {}  # then they are fetched as if there were no earlier run
            except Exception:  # noqa: BLE001 - likewise: the crawl goes on without it
                _log.exception("pages of job %s cannot be read", self._job_id)
                pages = {}
            for fp, future in futures.items():
                if not future.done():  # the visit may have been cancelled
                    future.set_result(pages.get(fp))

    async def _read(self, fps: list[int]) -> Mapping[int, Prior]:
        pages = await self._pages.of_targets(self._job_id, fps)
        ids = [stored.id for stored, _ in pages.values()]
        bodies = await self._pages.bodies(ids, [Body.LINKS]) if ids else {}
        return {
            fp: Prior(
                page=stored.page,
                body_of=body_key,
                links=decode_links(bodies.get((stored.id, Body.LINKS), b"[]")),
            )
            for fp, (stored, body_key) in pages.items()
        }
