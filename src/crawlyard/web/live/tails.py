"""Tails: the latest pages of the jobs that somebody follows one by one."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from crawlyard.core.access.user import Permit
from crawlyard.core.crawl.page import StoredPage
from crawlyard.core.endpoints.stream_messages import JobPagesOut, LatestPageOut
from crawlyard.store.crawl.pages import PageStore
from crawlyard.web.live.sse import Frame, frame
from crawlyard.web.live.stream import Stream

MOST = 8
"""Pages of a tail."""


class _Tail(Struct, frozen=True):
    pages: Sequence[StoredPage] = ()  # the newest first
    told: Frame | None = None

    @property
    def newest(self) -> int:
        return self.pages[0].id if self.pages else 0


class Tails:
    """Sends those who follow one job its latest pages, when there are new ones.

    They are read from the store, as the worker may be another process: one bounded read for each
    job that is followed. A page that a retry has deleted since stays in its place.
    """

    def __init__(self, pages: PageStore) -> None:
        self._pages = pages
        self._tails: dict[str, _Tail] = {}

    async def tell(self, streams: Collection[Stream], fresh: Collection[Stream]) -> None:
        """Look at the jobs that *streams* follow; the *fresh* are told in any case."""
        followers = _followers(streams)
        self._tails = {job: tail for job, tail in self._tails.items() if job in followers}
        for job_id, following in followers.items():
            known = self._tails.get(job_id, _Tail())
            tail = self._tails[job_id] = await self._grown(job_id, known)
            if tail.told is None:
                continue
            for stream in following:
                if tail is not known or stream in fresh:
                    stream.put(tail.told)

    async def _grown(self, job_id: str, tail: _Tail) -> _Tail:
        found = await self._pages.latest(job_id, tail.newest, MOST)
        if not found:
            return tail
        pages = [*found, *tail.pages][:MOST]
        shape = JobPagesOut(job_id=job_id, pages=[LatestPageOut.of(page) for page in pages])
        return _Tail(pages, frame("job.pages", shape))


def _followers(streams: Collection[Stream]) -> Mapping[str, Sequence[Stream]]:
    """Return the streams of each job that is followed, of those who may read its pages."""
    found: dict[str, list[Stream]] = defaultdict(list)
    for stream in streams:
        if stream.wish.job is not None and Permit.RESULTS_READ in stream.caller.permits:
            found[stream.wish.job].append(stream)
    return found
