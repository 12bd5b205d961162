"""A bell that tickets ring, one at a time."""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from typing import Protocol

from crawlyard.core.jobs.priority import Priority
from crawlyard.dispatch.base import Listener, LookForDue
from crawlyard.dispatch.local import LocalBell
from crawlyard.dispatch.tickets import Queues

_BACKLOG = 3
"""After so many tickets at once that left nothing to do, those that were there before a look go."""

_AT_ONCE_S = 0.1  # the next of a backlog comes sooner; looking for others costs each one 1 ms


class Office(Protocol):
    """Where tickets wait."""

    async def pass_on(self, look: LookForDue, kept: Collection[str] = ()) -> None:
        """See to it that what *look* finds has tickets that wait, but in the queues *kept*."""
        ...

    async def reconcile(self, listener: Listener) -> None:
        """Sweep what dead workers have left, and pass on."""
        ...

    async def seen(self, queues: Collection[str]) -> list[int]:
        """Return tickets that wait in *queues*."""
        ...

    async def drop(self, tickets: Collection[int]) -> None:
        """Delete tickets that wait and have nothing to tell any more."""
        ...


class TicketBell(LocalBell):
    """What a worker waits at, rung by the tickets that were taken for it.

    A ticket is kept until its worker has looked for work. What it does not take by then is
    for those who do: the word is passed on to them, and it asks for no such ticket until it
    looks again. While it looks, it asks for all: what comes too late for that look is not missed.
    """

    def __init__(self, listener: Listener, office: Office) -> None:
        super().__init__()
        self.queues = Queues(listener.tags)
        self.queues.take(listener.least)
        self._listener = listener
        self._office = office
        self._asked: list[asyncio.Future[None]] = []  # wait for the next look
        self._looking: list[asyncio.Future[None]] = []  # wait for the end of that under way
        self._least: Priority | None = listener.least
        self._closed = False
        self._looks = 0
        self._idle_tickets = 0  # at once: nothing was left to take
        self._ended_at = 0.0  # the last of them, by the loop's clock

    async def wait(self, at_most: timedelta, *, least: Priority | None = Priority.LOW) -> None:
        """Return when it was rung since the last call, or after *at_most*."""
        self._least = least
        self.queues.take(least)
        self._answer(self._looking)
        await super().wait(at_most)
        self._looks += 1
        self.queues.take(self._listener.least)
        # those that come from here on may come too late for the look that follows
        self._looking, self._asked = self._asked, []

    async def taken(self, queue: str) -> None:
        """Ring for a ticket of *queue*, and return when it is no longer of use."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._ended_at > _AT_ONCE_S:
            self._idle_tickets = 0
        before, stale = self._least, await self._stale()
        if not self._closed:
            looked = loop.create_future()
            self._asked.append(looked)
            self.ring()
            await looked
        least = None if self._closed else self._least
        if least is not Priority.LOW:
            await self._office.pass_on(self._listener.due, self.queues.of(least))
        if least is None:
            self._idle_tickets = 0
            return
        if queue in self.queues.of(least, jobs=False):
            await self._leave_to_others()
        self._idle_tickets += 1
        if stale and least is before:
            await self._office.drop(stale)
        self._ended_at = loop.time()

    async def reconcile(self) -> None:
        """Heal what was lost, for all workers."""
        await self._office.reconcile(self._listener)

    def close(self) -> None:
        """Take no more: the worker ends, and what it was told is for others."""
        self._closed = True
        self.queues.close()
        self._answer(self._asked)
        self._answer(self._looking)

    async def _stale(self) -> list[int]:
        """Return the tickets that wait, if those before left nothing to do: nor will these."""
        if self._idle_tickets < _BACKLOG:
            return []
        return await self._office.seen(self.queues.of(self._least, shards=False))

    async def _leave_to_others(self) -> None:
        """Pass on the word of shards that this worker may not have yet, though it has room.

        It would be the next to take that ticket, and again: it asks for none until it looks again.
        """
        looks = self._looks
        if await self._listener.left() and looks == self._looks and not self._closed:
            self.queues.take(self._least, shards=False)
        await self._office.pass_on(self._listener.left)

    @staticmethod
    def _answer(waiting: "list[asyncio.Future[None]]") -> None:
        for future in waiting:
            if not future.done():
                future.set_result(None)
        waiting.clear()
