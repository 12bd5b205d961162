"""A bell that tickets ring, one at a time."""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from typing import Protocol

from crawlyard.dispatch.base import Listener
from crawlyard.dispatch.local import LocalBell

_BACKLOG = 3
"""After so many tickets at once that left nothing to do, those that were there before a look go."""

_AT_ONCE_S = 0.1  # the next of a backlog comes sooner; looking for others costs each one 1 ms


class Office(Protocol):
    """Where tickets wait."""

    async def pass_on(self, listener: Listener) -> None:
        """See to it that what is due has tickets that wait."""
        ...

    async def reconcile(self, listener: Listener) -> None:
        """Sweep what dead workers have left, and pass on."""
        ...

    async def seen(self, listener: Listener) -> list[int]:
        """Return tickets that wait, and that *listener* might take."""
        ...

    async def drop(self, tickets: Collection[int]) -> None:
        """Delete tickets that wait and have nothing to tell any more."""
        ...


class TicketBell(LocalBell):
    """What a worker waits at, rung by the tickets that were taken for it.

    A ticket is kept until its worker has looked for work. If the worker takes no more work
    then, the ticket is kept until it does: so it asks for no other, which are for those who
    have room, and the word is passed on to them.
    """

    def __init__(self, listener: Listener, office: Office) -> None:
        super().__init__()
        self._listener = listener
        self._office = office
        self._asked: list[asyncio.Future[None]] = []  # wait for the next look
        self._looking: list[asyncio.Future[None]] = []  # wait for the end of that under way
        self._full = False
        self._closed = False
        self._roomy = asyncio.Event()
        self._idle_tickets = 0  # at once: nothing was left to take
        self._ended_at = 0.0  # the last of them, by the loop's clock

    async def wait(self, at_most: timedelta, *, full: bool = False) -> None:
        """Return when it was rung since the last call, or after *at_most*."""
        self._full = full
        if full:
            self._roomy.clear()
        else:
            self._roomy.set()
        self._answer(self._looking)
        await super().wait(at_most)
        # those that come from here on may come too late for the look that follows
        self._looking, self._asked = self._asked, []

    async def taken(self) -> None:
        """Ring for a ticket, and return when it is no longer of use."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._ended_at > _AT_ONCE_S:
            self._idle_tickets = 0
        stale = await self._office.seen(self._listener) if self._idle_tickets >= _BACKLOG else []
        if not self._closed:
            looked = loop.create_future()
            self._asked.append(looked)
            self.ring()
            await looked
        if self._full or self._closed:
            self._idle_tickets = 0
            await self._office.pass_on(self._listener)
            await self._roomy.wait()
        else:
            self._idle_tickets += 1
            if stale:
                await self._office.drop(stale)
            self._ended_at = loop.time()

    async def reconcile(self) -> None:
        """Heal what was lost, for all workers."""
        await self._office.reconcile(self._listener)

    def close(self) -> None:
        """Take no more: the worker ends, and what it was told is for others."""
        self._closed = True
        self._roomy.set()
        self._answer(self._asked)
        self._answer(self._looking)

    @staticmethod
    def _answer(waiting: "list[asyncio.Future[None]]") -> None:
        for future in waiting:
            if not future.done():
                future.set_result(None)
        waiting.clear()
