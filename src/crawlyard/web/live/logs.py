"""Streams of job logs.

A client is sent lines when it has taken the previous ones, so none are queued for a slow
client. New lines are polled once for all streams, and read once for all streams at the same
cursor of the same log.
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
from crawlyard.services.jobs.follow import read_log_lines
from crawlyard.store.crawl.journal import JournalStore
from crawlyard.web.live.sse import first_frame, frame
from crawlyard.web.live.stream import LogSubscription, Stream, resync_message

_log = logging.getLogger(__name__)


class _LogChunk(Struct, frozen=True):
    """Encoded log lines after a cursor; empty if none has the level of the subscription."""

    data: bytes
    next_cursor: int


class _FollowedLog(Struct):
    """Subscribers of one job's log, and the chunks they share."""

    end: LogEnd | None = None  # as of the last poll; None: no such job
    subscribers: set[Stream] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    chunks: dict[Level, tuple[int, _LogChunk]] = field(
        default_factory=dict
    )  # by level: (cursor, chunk)


class LogStreams:
    """Sends job log lines to the streams that follow them."""

    def __init__(self, journal: JournalStore, clock: Clock, heartbeat_s: float) -> None:
        self._journal = journal
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._logs: dict[str, _FollowedLog] = {}

    async def poll(self) -> None:
        """Wake the subscribers of logs that grew or ended since the last poll."""
        job_ids = list(self._logs)
        if not job_ids:
            return
        ends, now = await self._journal.ends(job_ids), self._clock.now()
        for job_id in job_ids:
            log, end = self._logs.get(job_id), ends.get(job_id)
            if log is None or (end is not None and end == log.end and not end.over(now)):
                continue
            log.end = end
            for stream in log.subscribers:
                stream.wake()

    def leave(self, stream: Stream) -> None:
        """Remove *stream* from its log, and drop logs without subscribers."""
        job_id = stream.subscription.log.job if stream.subscription.log is not None else ""
        log = self._logs.get(job_id)
        if log is not None:
            log.subscribers.discard(stream)
            if not log.subscribers:
                del self._logs[job_id]

    async def messages(self, stream: Stream, subscription: LogSubscription) -> AsyncIterator[bytes]:
        """Yield the messages of *stream*: each line once, then the end."""
        cursor = subscription.after
        yield first_frame(self._hello_message(subscription)).data
        log = await self._follow(stream, subscription.job)
        while True:
            if messages := stream.take():
                yield messages
            if stream.ended or log is None:
                return
            end = log.end
            if end is not None and end.n > cursor:
                chunk = await self._next_chunk(stream, log, subscription, cursor)
                if chunk is not None:
                    cursor = chunk.next_cursor
                    if chunk.data and not stream.ended:
                        yield chunk.data
            elif end is None or end.over(self._clock.now()):
                yield _end_message(subscription.job, end)
                return
            else:
                await stream.wait_for_news()

    async def _follow(self, stream: Stream, job_id: str) -> _FollowedLog | None:
        try:
            end = (await self._journal.ends([job_id])).get(job_id)
        except StoreUnavailable as error:
            _end_stream(stream, error)
            return None
        if stream.ended:
            return None
        log = self._logs.setdefault(job_id, _FollowedLog())
        log.end = end
        log.subscribers.add(stream)
        return log

    async def _next_chunk(
        self, stream: Stream, log: _FollowedLog, subscription: LogSubscription, cursor: int
    ) -> _LogChunk | None:
        async with log.lock:
            chunk_cursor, chunk = log.chunks.get(subscription.min_level, (-1, None))
            if chunk is not None and chunk_cursor == cursor:
                return chunk
            end = log.end
            if end is None:
                return None
            try:
                chunk = await self._read_chunk(subscription, cursor, end)
            except StoreUnavailable as error:
                _end_stream(stream, error)
                return None
            log.chunks[subscription.min_level] = cursor, chunk
            return chunk

    async def _read_chunk(
        self, subscription: LogSubscription, cursor: int, end: LogEnd
    ) -> _LogChunk:
        portion = await read_log_lines(
            self._journal, subscription.job, subscription.min_level, cursor, end
        )
        data = resync_message("gap", end.forgotten).data if portion.lost else b""
        if portion.lines:
            lines = [LineOut.filled(line) for line in portion.lines]
            message = LogLinesOut(job_id=subscription.job, lines=lines)
            data += frame("job.log", message, portion.lines[-1].n).data
        return _LogChunk(data, portion.next_cursor)

    def _hello_message(self, subscription: LogSubscription) -> LogHelloOut:
        return LogHelloOut(
            job_id=subscription.job,
            after=subscription.after,
            server_time=self._clock.now(),
            version=VERSION,
            heartbeat_s=self._heartbeat_s,
        )


def _end_message(job_id: str, end: LogEnd | None) -> bytes:
    state = None if end is None else end.state.value
    return frame("end", LogEndedOut(job_id=job_id, state=state)).data


def _end_stream(stream: Stream, error: StoreUnavailable) -> None:
    """End a stream, so that its client reconnects."""
    _log.warning("store unavailable, closing a stream: %s", error)
    stream.end()
