"""What a server tells as it happens: every event or line once, whatever happens to a connection.

Messages are read from one connection after another; what was missed between two is read from the
list. Where nothing can stream, the list is asked every second.
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
"""After which a connection is taken for dead: a server says something every 15."""

_AWAY = (Unavailable, RateLimited, QuotaExceeded)
"""What a connection may fail with for now; where there are too many, the list will do."""

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 1.0
_MOST_SKIPPED = 60  # looks at the list, until a connection is tried again


class Message(Struct, frozen=True, kw_only=True):
    """One server-sent event: its kind, its number if it has one, and JSON."""

    event: str
    id: str | None
    data: str


class Unstreamed(Unavailable):
    """What answers cannot stream: a proxy, perhaps."""


class Place(ABC, Generic[T]):
    """The number up to which everything was told; ``None`` until a server has named one."""

    def __init__(self, seq: int | None) -> None:
        self.seq = seq
        self.failures = 0  # in a row
        self.over = False  # nothing follows
        self._skipped = 0  # looks at the list, still, before a connection is tried

    async def begin(self, connection: Connection) -> None:
        """Find where to begin, unless somebody said it."""

    @abstractmethod
    def told(self, message: Message) -> list[T]:
        """Return what a message brings and is new."""

    @abstractmethod
    def listed(self) -> AsyncIterator[T]:
        """Yield what the list has behind this place."""

    def missed(self, message: Message) -> bool:
        """Tell whether a message says that the list must be asked for what is missing."""
        del message
        return False

    def takes(self, seq: int) -> bool:
        """Go on to *seq*; tell whether it is new."""
        if self.seq is not None and seq <= self.seq:
            return False
        self.seq = seq
        return True

    def streams(self) -> bool:
        """Tell whether a connection is to be tried now; else the list is asked meanwhile."""
        if self._skipped:
            self._skipped -= 1
        return not self._skipped

    def failed(self, error: CrawlyardError) -> None:
        """Note that there was no connection, or that it broke off."""
        self.failures += 1
        cannot = isinstance(error, Unstreamed)
        self._skipped = _MOST_SKIPPED if cannot else min(_MOST_SKIPPED, 2**self.failures)

    @property
    def pause_s(self) -> float:
        """Return how long to wait before whatever is next."""
        longest = min(_LONGEST_PAUSE_S, _SHORTEST_PAUSE_S * 2.0 ** min(self.failures, 5))
        return longest * (0.75 + random.random() / 2)


class EventPlace(Place[EventOut]):
    """A place among the events, those of *topics* and of one *job* if they are named."""

    def __init__(
        self, feed: EventFeed, seq: int | None, job: str | None = None, topics: Any = None
    ) -> None:
        super().__init__(seq)
        self._feed = feed
        self._asked: dict[str, Any] = {"job": job, "sort": "seq"}
        if topics is not None:
            wanted = frozenset(Topic(word) for word in words_of(topics))
            self._asked["type"] = tuple(sorted(names_of(wanted)))

    async def begin(self, connection: Connection) -> None:
        """Begin behind the newest event there is."""
        if self.seq is None:
            answer = await connection.send("GET", "events", params={"limit": 1})
            self.seq = int(answer.headers.get("x-event-seq", "0"))

    def missed(self, message: Message) -> bool:
        """Tell whether a message says that the list must be asked for what is missing."""
        if message.event == "hello":
            begun = msgspec.json.decode(message.data, type=HelloOut).seq
            if self.seq is None or begun < self.seq:
                self.seq = begun  # another store: its numbers have begun anew
            return False
        if message.event != "resync":
            return False
        if message.id is not None and self.seq is not None and int(message.id) < self.seq:
            self.seq = int(message.id)
            return False
        return True

    def told(self, message: Message) -> list[EventOut]:
        """Return the event that a message tells of, if it is one and new."""
        if message.id is None or message.event == "resync":
            return []
        told = msgspec.json.decode(message.data, type=HappenedOut)
        if not self.takes(told.id):
            return []
        return [EventOut.filled(told, v=PAYLOAD_VERSION, seq=told.id, name=told.type)]

    async def listed(self) -> AsyncIterator[EventOut]:
        """Yield the events behind this place."""
        async for event in every(self._feed.list, after=self.seq or 0, **self._asked):
            if self.takes(event.seq):
                yield event


class LogPlace(Place[LineOut]):
    """A place in the log of a job; it is over when all of a job that has ended was told."""

    def __init__(self, jobs: Jobs, seq: int, job_id: str, **asked: Any) -> None:
        super().__init__(seq)
        self._jobs, self._job_id, self._asked = jobs, job_id, asked

    def told(self, message: Message) -> list[LineOut]:
        """Return the lines that a message brings and that are new."""
        if message.event == "end":
            self.over = True
        if message.event != "job.log":
            return []
        told = msgspec.json.decode(message.data, type=LogLinesOut)
        return [line for line in told.lines if self.takes(line.n)]

    async def listed(self) -> AsyncIterator[LineOut]:
        """Yield the lines behind this place."""
        job = await self._jobs.get(self._job_id)
        async for line in every(self._jobs.log, self._job_id, after=self.seq, **self._asked):
            if self.takes(line.n):
                yield line
        self.over = stands_still(job)  # asked first: what it said last is listed by now


def stands_still(job: JobOut) -> bool:
    """Tell whether a job says nothing more: it has ended, and no worker is at its last batch."""
    return job.state in ENDED and not job.workers


async def followed(
    place: Place[T], connection: Connection, path: str, params: Mapping[str, object]
) -> AsyncGenerator[T]:
    """Yield what happens from *place* on: nothing is lost, and nothing comes twice.

    Raises:
        Refused: the server does not let you listen.
    """
    await place.begin(connection)
    while True:
        if place.streams():
            async with aclosing(_heard(place, connection, path, params)) as heard:
                async for one in heard:
                    yield one
        if place.failures and not place.over:
            async with aclosing(_listed(place)) as listed:
                async for one in listed:
                    yield one
        if place.over:
            return
        await asyncio.sleep(place.pause_s)


async def _heard(
    place: Place[T], connection: Connection, path: str, params: Mapping[str, object]
) -> AsyncGenerator[T]:
    """Yield what one connection tells, and what it says was missed."""
    try:
        async with aclosing(_messages(connection, path, params, place.seq)) as messages:
            async for message in messages:
                place.failures = 0
                if place.missed(message):
                    async with aclosing(_listed(place)) as listed:
                        async for one in listed:
                            yield one
                for one in place.told(message):
                    yield one
                if place.over:
                    return
    except _AWAY as error:
        place.failed(error)


async def _listed(place: Place[T]) -> AsyncGenerator[T]:
    """Yield what the list has behind *place*; while nobody answers, nothing."""
    try:
        async for one in place.listed():
            yield one
    except _AWAY as error:
        place.failed(error)


async def _messages(
    connection: Connection, path: str, params: Mapping[str, object], after: int | None
) -> AsyncGenerator[Message]:
    """Yield the messages of one connection until it ends; *after* is the last id that is known."""
    headers = {"Accept": _STREAM}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    streamed = connection.stream(path, params=params, headers=headers, silence_s=_SILENCE_S)
    async with streamed as answer:
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _STREAM:
            raise Unstreamed(f"{answer.request.url} answered with no stream of events")
        async for message in parsed(_lines(answer)):
            yield message


async def parsed(lines: AsyncIterator[bytes]) -> AsyncGenerator[Message]:
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
        first, *others = chunk.split(b"\n")
        parts.append(first)
        for other in others:
            yield b"".join(parts)
            parts = [other]
