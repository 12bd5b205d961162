"""Latest pages of jobs that streams follow individually."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from crawlyard.core.access.user import Permit
from crawlyard.core.crawl.page import StoredPage
from crawlyard.core.endpoints.stream_messages import JobPagesOut, LatestPageOut
from crawlyard.store.crawl.pages import PageStore
from crawlyard.web.live.sse import Frame, frame
from crawlyard.web.live.stream import Stream

MAX_PAGES = 8
"""Limit of latest pages of a job."""


class _Tail(Struct, frozen=True):
    pages: Sequence[StoredPage] = ()  # the newest first
    message: Frame | None = None

    @property
    def newest(self) -> int:
        return self.pages[0].id if self.pages else 0


class LatestPages:
    """Sends the latest pages of a job to its followers, when there are new ones.

    They are read from the store, as the worker may be another process: one bounded read per
    followed job. A page that a retry has since deleted stays in the list.
    """

    def __init__(self, pages: PageStore) -> None:
        self._pages = pages
        self._latest_pages: dict[str, _Tail] = {}

    async def publish(self, streams: Collection[Stream], fresh: Collection[Stream]) -> None:
        """Send new pages of the jobs that *streams* follow, and all latest ones to *fresh*."""
        followers = _followers(streams)
        self._latest_pages = {
            job: tail for job, tail in self._latest_pages.items() if job in followers
        }
        for job_id, following in followers.items():
            previous = self._latest_pages.get(job_id, _Tail())
            tail = self._latest_pages[job_id] = await self._read_new(job_id, previous)
            if tail.message is None:
                continue
            for stream in following:
                if tail is not previous or stream in fresh:
                    stream.enqueue(tail.message)

    async def _read_new(self, job_id: str, tail: _Tail) -> _Tail:
        new_pages = await self._pages.latest(job_id, tail.newest, MAX_PAGES)
        if not new_pages:
            return tail
        pages = [*new_pages, *tail.pages][:MAX_PAGES]
        shape = JobPagesOut(job_id=job_id, pages=[LatestPageOut.of(page) for page in pages])
        return _Tail(pages, frame("job.pages", shape))


def _followers(streams: Collection[Stream]) -> Mapping[str, Sequence[Stream]]:
    """Return the streams that follow a job and may read its pages, by job id."""
    followers: dict[str, list[Stream]] = defaultdict(list)
    for stream in streams:
        if stream.subscription.job is not None and Permit.RESULTS_READ in stream.caller.permits:
            followers[stream.subscription.job].append(stream)
    return followers
