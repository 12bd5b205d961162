"""What jobs say, told to those who follow their logs.

A client is sent lines when it has taken those before: where it reads slowly, nothing of
them waits here. What is new is looked for once for all, and read once for all who follow
the same log from the same place.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

from msgspec import Struct, field

from crawlyard.about import VERSION
from crawlyard.clock import Clock
from crawlyard.core.endpoints.stream_messages import LogEndedOut, LogHelloOut, LogLinesOut
from crawlyard.core.jobs.job_log import Level, LogEnd
from crawlyard.core.jobs.log_answers import LineOut
from crawlyard.errors import StoreUnavailable
from crawlyard.services.jobs.follow import stretch
from crawlyard.store.crawl.journal import JournalStore
from crawlyard.web.live.sse import beginning, frame
from crawlyard.web.live.stream import LogWish, Stream, missed

_log = logging.getLogger(__name__)


class _Portion(Struct, frozen=True):
    """What comes next behind a place."""

    data: bytes  # perhaps nothing: what is there is below the level
    place: int  # where to go on


class _Tail(Struct):
    """One log that is followed."""

    end: LogEnd | None = None  # as it was seen last; None: the job is not there
    streams: set[Stream] = field(default_factory=set)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    read: dict[Level, tuple[int, _Portion]] = field(default_factory=dict)  # behind which place


class Logs:
    """Tells streams what the jobs say that they follow."""

    def __init__(self, journal: JournalStore, clock: Clock, heartbeat_s: float) -> None:
        self._journal = journal
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._tails: dict[str, _Tail] = {}

    async def look(self) -> None:
        """See which logs have gone on or come to their end, and wake who follows those."""
        asked = list(self._tails)
        if not asked:
            return
        found, now = await self._journal.ends(asked), self._clock.now()
        for job_id in asked:
            tail, end = self._tails.get(job_id), found.get(job_id)
            if tail is None or (end is not None and end == tail.end and not end.over(now)):
                continue
            tail.end = end
            for stream in tail.streams:
                stream.wake()

    def leave(self, stream: Stream) -> None:
        """Take note that *stream* follows nothing any more."""
        job_id = stream.wish.log.job if stream.wish.log is not None else ""
        tail = self._tails.get(job_id)
        if tail is not None:
            tail.streams.discard(stream)
            if not tail.streams:
                del self._tails[job_id]

    async def of(self, stream: Stream, wish: LogWish) -> AsyncIterator[bytes]:
        """Yield what *stream* is told: its lines, each once, and the word that no more come."""
        place = wish.after
        yield beginning(self._hello(wish)).data
        tail = await self._joined(stream, wish.job)
        while True:
            if portion := stream.take():
                yield portion
            if stream.ended or tail is None:
                return
            end = tail.end
            if end is not None and end.n > place:
                found = await self._next(stream, tail, wish, place)
                if found is not None:
                    place = found.place
                    if found.data and not stream.ended:
                        yield found.data
            elif end is None or end.over(self._clock.now()):
                yield _ended(wish.job, end)
                return
            else:
                await stream.news()

    async def _joined(self, stream: Stream, job_id: str) -> _Tail | None:
        """Return the log of a job, which *stream* follows from now on."""
        try:
            end = (await self._journal.ends([job_id])).get(job_id)
        except StoreUnavailable as error:
            _give_up(stream, error)
            return None
        if stream.ended:
            return None
        tail = self._tails.setdefault(job_id, _Tail())
        tail.end = end
        tail.streams.add(stream)
        return tail

    async def _next(
        self, stream: Stream, tail: _Tail, wish: LogWish, place: int
    ) -> _Portion | None:
        async with tail.reading:
            before, portion = tail.read.get(wish.least, (-1, None))
            if portion is not None and before == place:
                return portion
            end = tail.end
            if end is None:
                return None
            try:
                portion = await self._read(wish, place, end)
            except StoreUnavailable as error:
                _give_up(stream, error)
                return None
            tail.read[wish.least] = place, portion
            return portion

    async def _read(self, wish: LogWish, place: int, end: LogEnd) -> _Portion:
        found = await stretch(self._journal, wish.job, wish.least, place, end)
        data = missed("gap", end.forgotten).data if found.lost else b""
        if found.lines:
            lines = [LineOut.filled(line) for line in found.lines]
            shape = LogLinesOut(job_id=wish.job, lines=lines)
            data += frame("job.log", shape, found.lines[-1].n).data
        return _Portion(data, found.place)

    def _hello(self, wish: LogWish) -> LogHelloOut:
        return LogHelloOut(
            job_id=wish.job,
            after=wish.after,
            server_time=self._clock.now(),
            version=VERSION,
            heartbeat_s=self._heartbeat_s,
        )


def _ended(job_id: str, end: LogEnd | None) -> bytes:
    state = None if end is None else end.state.value
    return frame("end", LogEndedOut(job_id=job_id, state=state)).data


def _give_up(stream: Stream, error: StoreUnavailable) -> None:
    """End a stream, so that its client comes again."""
    _log.warning("the store is away, a stream ends: %s", error)
    stream.end()
