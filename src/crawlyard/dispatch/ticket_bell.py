"""Bell of one worker, rung by tickets."""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from typing import Protocol

from crawlyard.core.jobs.priority import Priority
from crawlyard.dispatch.base import Listener, LookForDue
from crawlyard.dispatch.local import LocalBell
from crawlyard.dispatch.tickets import Queues

_BACKLOG = 3
"""After this many quick tickets that left no work, drop those that waited before a look."""

_AT_ONCE_S = 0.1  # tickets of a backlog come faster; checking for more costs 1 ms each


class Office(Protocol):
    """Source of tickets; see `TicketDispatcher`."""

    async def pass_on(self, look: LookForDue, kept: Collection[str] = ()) -> None:
        """Defer missing tickets for the work that *look* returns, except in the queues *kept*."""
        ...

    async def reconcile(self, listener: Listener) -> None:
        """Delete tickets left by dead workers, and defer missing ones."""
        ...

    async def seen(self, queues: Collection[str]) -> list[int]:
        """Return the ids of waiting tickets in *queues*."""
        ...

    async def drop(self, tickets: Collection[int]) -> None:
        """Delete waiting tickets that are obsolete."""
        ...


class TicketBell(LocalBell):
    """Bell of one worker, rung by the tickets taken for it.

    A ticket is held until its worker has looked for work. If the worker leaves work that
    others can take, the ticket is passed on, and the worker takes no such tickets until it
    looks again. While it looks, it takes all tickets, so that one that arrives too late for
    that look is not missed.
    """

    def __init__(self, listener: Listener, office: Office) -> None:
        super().__init__()
        self.queues = Queues(listener.tags)
        self.queues.take(listener.least)
        self._listener = listener
        self._office = office
        self._asked: list[asyncio.Future[None]] = []  # waiting for the next look
        self._looking: list[asyncio.Future[None]] = []  # waiting for the current look to end
        self._least: Priority | None = listener.least
        self._closed = False
        self._looks = 0
        self._idle_tickets = 0  # in quick succession, after which no work was left
        self._ended_at = 0.0  # when the last of them ended, by the loop's clock

    async def wait(self, at_most: timedelta, *, least: Priority | None = Priority.LOW) -> None:
        """Return when the bell was rung since the last call, or after *at_most*."""
        self._least = least
        self.queues.take(least)
        self._answer(self._looking)
        await super().wait(at_most)
        self._looks += 1
        self.queues.take(self._listener.least)
        # tickets that arrive from here on may be too late for the look that follows
        self._looking, self._asked = self._asked, []

    async def taken(self, queue: str) -> None:
        """Ring for a ticket of *queue*; return when the ticket is no longer needed."""
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
        """Restore lost tickets, for all workers."""
        await self._office.reconcile(self._listener)

    def close(self) -> None:
        """Take no more tickets, because the worker ends; held ones are passed on to others."""
        self._closed = True
        self.queues.close()
        self._answer(self._asked)
        self._answer(self._looking)

    async def _stale(self) -> list[int]:
        """Return the waiting tickets if the last ones left no work, as these won't either."""
        if self._idle_tickets < _BACKLOG:
            return []
        return await self._office.seen(self.queues.of(self._least, shards=False))

    async def _leave_to_others(self) -> None:
        """Pass on tickets for shards that this worker may not take yet, though it has room.

        It would take the same tickets again and again, so it takes none for shards until it
        looks again.
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
