"""One client that listens: what it wants to hear, and what it has yet to be sent."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Literal

from msgspec import Struct

from crawlyard.core.access.credential import Caller
from crawlyard.core.access.user import Role
from crawlyard.core.endpoints.stream_messages import ByeOut, ResyncOut
from crawlyard.core.events.event import Event, Topic, names_of
from crawlyard.core.jobs.job_log import Level
from crawlyard.store.queries import EventQuery
from crawlyard.web.live.sse import Frame, frame

ROOM = 256
"""Messages that may wait for a client that reads slowly."""

Group = str | None
"""Whose things are shown: a user's, or (``None``) everybody's."""


class LogWish(Struct, frozen=True, kw_only=True):
    """Which lines of a job's log a client wants to hear."""

    job: str
    least: Level = Level.INFO
    after: int = 0  # lines above this *n*; 0: all that are kept


class Wish(Struct, frozen=True, kw_only=True):
    """What a client wants to hear: what happens, or what one job says."""

    topics: frozenset[Topic] = frozenset()
    job: str | None = None  # of this job alone
    after: int | None = None  # the last that it has heard of; None: from now on
    log: LogWish | None = None


class Stream:
    """The messages for one client, in their order. Those that wait are bounded."""

    def __init__(self, caller: Caller, wish: Wish, seen: int, now: float) -> None:
        self.caller = caller
        self.wish = wish
        self.seen = seen  # events up to this one are not for its queue
        self.replay_to: int | None = None  # those it has missed are told first, up to this one
        self.fresh = True  # it has not been told how everything stands, or has lost some of it
        self.beat_at = now  # when the last ping was due, in seconds of the clock
        self.ended = False
        # whose things it may show: somebody whose role changes is not listened to any more
        self.group: Group = None if caller.user.role is Role.ADMIN else caller.user.id
        self._names = names_of(wish.topics)
        self._waiting: deque[Frame] = deque()
        self._news = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Return how many messages wait."""
        return len(self._waiting)

    @property
    def query(self) -> EventQuery:
        """Return what it wants, as it is asked of the event log."""
        return EventQuery(subject=self.wish.job, owner=self.group, names=self._names)

    @property
    def hears_any(self) -> bool:
        """Tell whether there is any event that it wants: a query without names asks for all."""
        return bool(self._names)

    def wants(self, event: Event) -> bool:
        """Tell whether *event* is for this client."""
        return (
            event.seq > self.seen
            and self.group in (None, event.owner)
            and event.name in self._names
            and self.wish.job in (None, event.subject)
        )

    def put(self, message: Frame) -> None:
        """Let a message follow. Without room, what is not durable is left out first.

        If that is not enough, all that waits gives way to the word that something is
        missing.
        """
        if self.ended:
            return
        if len(self._waiting) >= ROOM:
            self.fresh = True  # how things stand is told anew, once it reads again
            if message.seq is None:
                return
            self._waiting = deque(kept for kept in self._waiting if kept.durable)
            if len(self._waiting) >= ROOM:
                message = missed("slow_consumer", message.seq)
                self._waiting.clear()
        self._waiting.append(message)
        self._news.set()

    def restart(self, seq: int) -> None:
        """Say that the numbers of events have begun anew, and are at *seq* now."""
        self._waiting.clear()
        self.seen = seq
        self.put(missed("restart", seq))

    def end(self, *, because_of_auth: bool = False) -> None:
        """Let nothing follow; what its client may not see any more is not sent either."""
        if self.ended:
            return
        if because_of_auth:
            self._waiting.clear()
            self._waiting.append(frame("bye", ByeOut()))
        self.ended = True
        self._news.set()

    def wake(self) -> None:
        """End the wait for `news` that is under way, or the next."""
        self._news.set()

    async def news(self) -> None:
        """Wait until a message waits, the end has come, or somebody says `wake`."""
        await self._news.wait()
        self._news.clear()

    def take(self) -> bytes:
        """Return all that waits, in its order; it does not wait any more."""
        portion = b"".join(message.data for message in self._waiting)
        self._waiting.clear()
        return portion

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield what waits, as soon as something does, until the end."""
        while True:
            await self.news()
            if portion := self.take():
                yield portion
            if self.ended and not self._waiting:
                return


def missed(reason: Literal["gap", "restart", "slow_consumer"], seq: int) -> Frame:
    """Return the word that something is missing; all up to *seq* is to be read again."""
    return frame("resync", ResyncOut(reason=reason), seq)
