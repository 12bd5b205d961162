"""Stream of one client: its subscription, and the queue of its messages."""

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

MAX_QUEUED = 256
"""Limit of messages queued for a slow client."""

Group = str | None
"""Owner whose resources are visible: a user id, or ``None`` for all."""


class LogSubscription(Struct, frozen=True, kw_only=True):
    """Lines of a job's log that a client wants."""

    job: str
    min_level: Level = Level.INFO
    after: int = 0  # lines above this *n*; 0: all stored lines


class Subscription(Struct, frozen=True, kw_only=True):
    """Subscription to events, or to the log of a job."""

    topics: frozenset[Topic] = frozenset()
    job: str | None = None  # only events of this job
    after: int | None = None  # last event received; None: only new events
    log: LogSubscription | None = None


class Stream:
    """Ordered messages for one client, in a bounded queue."""

    def __init__(
        self, caller: Caller, subscription: Subscription, last_seq: int, now: float
    ) -> None:
        self.caller = caller
        self.subscription = subscription
        self.last_seq = last_seq  # events up to this one are not queued
        self.replay_to: int | None = None  # missed events are replayed up to this one
        self.fresh = True  # needs complete snapshots: new, or has lost messages
        self.pinged_at = now  # when the last ping was due, in seconds of the clock
        self.ended = False
        # fixed: a stream ends when the role of its user changes
        self.group: Group = None if caller.user.role is Role.ADMIN else caller.user.id
        self.sees_shared = self.group is not None and caller.sees_shared
        self._names = names_of(subscription.topics)
        self._waiting: deque[Frame] = deque()
        self._news = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Number of queued messages."""
        return len(self._waiting)

    @property
    def query(self) -> EventQuery:
        """Filter of the event log for this stream."""
        return EventQuery(subject=self.subscription.job, owner=self.group, names=self._names)

    @property
    def wants_events(self) -> bool:
        """True if it subscribes to any event: a query without names would match all."""
        return bool(self._names)

    def wants(self, event: Event) -> bool:
        """Return whether *event* is about what the client owns, or all for an admin."""
        return self.group in (None, event.owner) and self._selects(event)

    def wants_of_others(self, event: Event) -> bool:
        """Return whether *event* is about a job or schedule of another user, who may share it."""
        is_others = self.sees_shared and self.group != event.owner
        return is_others and event.name.kind in {"job", "schedule"} and self._selects(event)

    def _selects(self, event: Event) -> bool:
        return (
            event.seq > self.last_seq
            and event.name in self._names
            and self.subscription.job in (None, event.subject)
        )

    def enqueue(self, message: Frame) -> None:
        """Queue a message. If the queue is full, messages that are not durable are dropped first.

        If that is not enough, a message that some are missing replaces the whole queue.
        """
        if self.ended:
            return
        if len(self._waiting) >= MAX_QUEUED:
            self.fresh = True  # gets complete snapshots once it reads again
            if message.seq is None:
                return
            self._waiting = deque(message for message in self._waiting if message.durable)
            if len(self._waiting) >= MAX_QUEUED:
                message = resync_message("slow_consumer", message.seq)
                self._waiting.clear()
        self._waiting.append(message)
        self._news.set()

    def restart(self, seq: int) -> None:
        """Report that event numbers have restarted and are at *seq* now."""
        self._waiting.clear()
        self.last_seq = seq
        self.enqueue(resync_message("restart", seq))

    def end(self, *, because_of_auth: bool = False) -> None:
        """End the stream; with *because_of_auth*, discard queued messages too."""
        if self.ended:
            return
        if because_of_auth:
            self._waiting.clear()
            self._waiting.append(frame("bye", ByeOut()))
        self.ended = True
        self._news.set()

    def wake(self) -> None:
        """End the current or the next call of `wait_for_news`."""
        self._news.set()

    async def wait_for_news(self) -> None:
        """Wait for a message, the end, or a call of `wake`."""
        await self._news.wait()
        self._news.clear()

    def take(self) -> bytes:
        """Remove and return all queued messages, in order."""
        portion = b"".join(message.data for message in self._waiting)
        self._waiting.clear()
        return portion

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield queued messages as they arrive, until the end."""
        while True:
            await self.wait_for_news()
            if portion := self.take():
                yield portion
            if self.ended and not self._waiting:
                return


def resync_message(reason: Literal["gap", "restart", "slow_consumer"], seq: int) -> Frame:
    """Return a message that events up to *seq* are missing and must be read again."""
    return frame("resync", ResyncOut(reason=reason), seq)
