"""Streams of events and log lines: each exactly once, across reconnections.

Messages missed between two connections are read from the list. If streaming is not possible, the
list is polled every second.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Generic, TypeVar

import httpx
import msgspec
from msgspec import Struct

from crawlyard.api.connection import Connection
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.endpoints.stream_messages import HappenedOut, HelloOut, LogLinesOut
from crawlyard.core.events.event import Topic, names_of
from crawlyard.core.jobs.answers import EventOut, JobOut
from crawlyard.core.jobs.lifecycle import ENDED
from crawlyard.core.jobs.log_answers import LineOut
from crawlyard.core.webhooks.webhook import PAYLOAD_VERSION
from crawlyard.errors import CrawlyardError, QuotaExceeded, RateLimited, Unavailable
from crawlyard.services.events.event_feed import EventFeed
from crawlyard.services.jobs.jobs import Jobs
from crawlyard.services.jobs.terms import words_of

T = TypeVar("T")

_STREAM = "text/event-stream"

_SILENCE_S = 45.0
"""Seconds without data before a connection is dropped: a server sends a ping every 15."""

_AWAY = (Unavailable, RateLimited, QuotaExceeded)
"""Temporary errors of a connection; the list is polled meanwhile."""

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 1.0
_MAX_POLLS = 60  # polls of the list before the next connection attempt


class Message(Struct, frozen=True, kw_only=True):
    """A server-sent event: name, id if any, and JSON."""

    event: str
    id: str | None
    data: str


class NotStreaming(Unavailable):
    """The response is not an event stream, perhaps because of a proxy."""


class Cursor(ABC, Generic[T]):
    """Sequence number of the last item yielded; ``None`` until the server has sent one."""

    def __init__(self, seq: int | None) -> None:
        self.seq = seq
        self.failures = 0  # in a row
        self.over = False  # no more items follow
        self._polls_left = 0  # polls of the list before the next connection attempt

    async def begin(self, connection: Connection) -> None:
        """Set the start of the stream unless it is set."""

    @abstractmethod
    def parse(self, message: Message) -> list[T]:
        """Return the new items of a message."""

    @abstractmethod
    def list_new(self) -> AsyncIterator[T]:
        """Yield the items of the list after this cursor."""

    def signals_gap(self, message: Message) -> bool:
        """Return whether a message reports missing items, to be read from the list."""
        del message
        return False

    def advance(self, seq: int) -> bool:
        """Advance to *seq*; return whether it is new."""
        if self.seq is not None and seq <= self.seq:
            return False
        self.seq = seq
        return True

    def should_connect(self) -> bool:
        """Return whether to connect now rather than poll the list."""
        if self._polls_left:
            self._polls_left -= 1
        return not self._polls_left

    def note_failure(self, error: CrawlyardError) -> None:
        """Count a failed or broken connection."""
        self.failures += 1
        cannot = isinstance(error, NotStreaming)
        self._polls_left = _MAX_POLLS if cannot else min(_MAX_POLLS, 2**self.failures)

    @property
    def pause_s(self) -> float:
        """Seconds before the next attempt."""
        longest = min(_LONGEST_PAUSE_S, _SHORTEST_PAUSE_S * 2.0 ** min(self.failures, 5))
        return longest * (0.75 + random.random() / 2)


class EventCursor(Cursor[EventOut]):
    """Cursor in the events, optionally of *topics* or of one *job*."""

    def __init__(
        self, feed: EventFeed, seq: int | None, job: str | None = None, topics: Any = None
    ) -> None:
        super().__init__(seq)
        self._feed = feed
        self._filters: dict[str, Any] = {"job": job, "sort": "seq"}
        if topics is not None:
            enabled = frozenset(Topic(word) for word in words_of(topics))
            self._filters["type"] = tuple(sorted(names_of(enabled)))

    async def begin(self, connection: Connection) -> None:
        """Begin after the newest event."""
        if self.seq is None:
            answer = await connection.send("GET", "events", params={"limit": 1})
            self.seq = int(answer.headers.get("x-event-seq", "0"))

    def signals_gap(self, message: Message) -> bool:
        """Return whether a message reports missing items, to be read from the list."""
        if message.event == "hello":
            start_seq = msgspec.json.decode(message.data, type=HelloOut).seq
            if self.seq is None or start_seq < self.seq:
                self.seq = start_seq  # another store: its numbers have started anew
            return False
        if message.event != "resync":
            return False
        if message.id is not None and self.seq is not None and int(message.id) < self.seq:
            self.seq = int(message.id)
            return False
        return True

    def parse(self, message: Message) -> list[EventOut]:
        """Return the event of a message, if it has a new one."""
        if message.id is None or message.event == "resync":
            return []
        event = msgspec.json.decode(message.data, type=HappenedOut)
        if not self.advance(event.id):
            return []
        return [EventOut.filled(event, v=PAYLOAD_VERSION, seq=event.id, name=event.type)]

    async def list_new(self) -> AsyncIterator[EventOut]:
        """Yield the events after this cursor."""
        async for event in every(self._feed.list, after=self.seq or 0, **self._filters):
            if self.advance(event.seq):
                yield event


class LogCursor(Cursor[LineOut]):
    """Cursor in the log of a job; over once the job has ended and all lines were yielded."""

    def __init__(self, jobs: Jobs, seq: int, job_id: str, **filters: Any) -> None:
        super().__init__(seq)
        self._jobs, self._job_id, self._filters = jobs, job_id, filters

    def parse(self, message: Message) -> list[LineOut]:
        """Return the lines of a message that are new."""
        if message.event == "end":
            self.over = True
        if message.event != "job.log":
            return []
        chunk = msgspec.json.decode(message.data, type=LogLinesOut)
        return [line for line in chunk.lines if self.advance(line.n)]

    async def list_new(self) -> AsyncIterator[LineOut]:
        """Yield the lines after this cursor."""
        job = await self._jobs.get(self._job_id)
        async for line in every(self._jobs.log, self._job_id, after=self.seq, **self._filters):
            if self.advance(line.n):
                yield line
        self.over = is_quiet(job)  # read first: its last lines are in the list by now


def is_quiet(job: JobOut) -> bool:
    """Return whether a job logs no more: it has ended, and no worker has a batch of it."""
    return job.state in ENDED and not job.workers


async def follow(
    cursor: Cursor[T], connection: Connection, path: str, params: Mapping[str, object]
) -> AsyncGenerator[T]:
    """Yield the items after *cursor*, each exactly once.

    Raises:
        Refused: the server does not permit the stream.
    """
    await cursor.begin(connection)
    while True:
        if cursor.should_connect():
            async with aclosing(_read_stream(cursor, connection, path, params)) as items:
                async for item in items:
                    yield item
        if cursor.failures and not cursor.over:
            async with aclosing(_read_list(cursor)) as listed:
                async for item in listed:
                    yield item
        if cursor.over:
            return
        await asyncio.sleep(cursor.pause_s)


async def _read_stream(
    cursor: Cursor[T], connection: Connection, path: str, params: Mapping[str, object]
) -> AsyncGenerator[T]:
    """Yield the items of one connection, and those it reports as missed."""
    try:
        async with aclosing(_messages(connection, path, params, cursor.seq)) as messages:
            async for message in messages:
                cursor.failures = 0
                if cursor.signals_gap(message):
                    async with aclosing(_read_list(cursor)) as listed:
                        async for item in listed:
                            yield item
                for item in cursor.parse(message):
                    yield item
                if cursor.over:
                    return
    except _AWAY as error:
        cursor.note_failure(error)


async def _read_list(cursor: Cursor[T]) -> AsyncGenerator[T]:
    """Yield the items of the list after *cursor*; none while the server is unavailable."""
    try:
        async for item in cursor.list_new():
            yield item
    except _AWAY as error:
        cursor.note_failure(error)


async def _messages(
    connection: Connection, path: str, params: Mapping[str, object], after: int | None
) -> AsyncGenerator[Message]:
    """Yield the messages of one connection until it ends; *after* is the last known id."""
    headers = {"Accept": _STREAM}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    stream = connection.stream(path, params=params, headers=headers, silence_s=_SILENCE_S)
    async with stream as answer:
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _STREAM:
            raise NotStreaming(f"{answer.request.url} is not an event stream")
        async for message in parse_messages(_lines(answer)):
            yield message


async def parse_messages(lines: AsyncIterator[bytes]) -> AsyncGenerator[Message]:
    """Yield the messages of a stream.

    Source: the HTML standard, section 9.2.6, "Interpreting an event stream".
    """
    event, id_, data = "", None, list[str]()
    async for line in lines:
        text = line.removesuffix(b"\r").decode("utf-8", "replace")
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "id":
            id_ = value
        elif name == "data":
            data.append(value)
        elif not text:
            if data:
                yield Message(event=event or "message", id=id_, data="\n".join(data))
            event, id_, data = "", None, []


async def _lines(answer: httpx.Response) -> AsyncGenerator[bytes]:
    r"""Yield lines without their ends.

    Not httpx's own, which end at U+2028 and others that JSON may have in its texts.
    """
    parts: list[bytes] = []
    async for chunk in answer.aiter_bytes():
        first, *rest = chunk.split(b"\n")
        parts.append(first)
        for other in rest:
            yield b"".join(parts)
            parts = [other]
