"""Queue of robots.txt requests in flight: few at once, each within the pace of its host."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TypeAlias

from crawlyard.engine.frontier import HostTurns
from crawlyard.engine.hosts.gate import Allowed, HostGate, Slot
from crawlyard.engine.hosts.politeness import Politeness
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.robots.rules import MAX_PARSED
from crawlyard.engine.urls import host_of

_AFTER_DEFECT_S = 60.0

Ask: TypeAlias = Callable[[str, Callable[[Allowed], Awaitable[None]], int], Awaitable[Response]]
"""See `Visitor.ask`."""

_log = logging.getLogger(__name__)


class RobotsQueue:
    """Fetches the rules of origins, and blocks the targets of their hosts meanwhile."""

    def __init__(
        self,
        gate: HostGate,
        turns: HostTurns,
        ask: Ask,
        spawn: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
    ) -> None:
        self._gate = gate
        self._turns = turns
        self._ask = ask
        self._spawn = spawn
        self._tasks: set[asyncio.Task[None]] = set()
        self._taken: dict[str, Slot] = {}  # by host, for its next request

    def begin(self, manners: Politeness, origin: str, host: str) -> None:
        """Start fetching the robots.txt of *origin*, whose *host* is ready."""
        self._turns.block(host)
        slot = self._taken[host] = self._gate.take(host)
        task = self._spawn(self._learn(manners, origin, host))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, host, slot))

    def _ended(self, host: str, slot: Slot, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        slot.give()
        if task.cancelled():  # perhaps before it started; an edit may resume the crawl
            if self._taken.get(host) is slot:
                del self._taken[host]
            self._turns.unblock(host)

    def cancel(self) -> None:
        """Cancel the requests in flight; no page is lost."""
        for task in self._tasks:
            task.cancel()

    def __len__(self) -> int:
        return len(self._tasks)

    async def ask(self, url: str, manners: Politeness) -> Response:
        """Send one request for a robots.txt or a redirect of it; return the response."""
        host = host_of(url)
        slot = self._taken.pop(host, None)
        if slot is None:
            manners.wish(host)
            slot = await self._gate.acquire(host)
        try:
            # the standard's cap, not the one for pages; one byte more shows that the file was cut
            return await self._ask(url, slot.go, MAX_PARSED + 1)
        finally:
            slot.give()

    async def _learn(self, manners: Politeness, origin: str, host: str) -> None:
        try:
            again_in_s = await manners.learn(origin)
        except Exception:  # noqa: BLE001 - one host must not end a crawl
            _log.exception("the robots.txt of %s could not be handled", origin)
            again_in_s = _AFTER_DEFECT_S
        finally:
            if host in self._taken:  # the rules were cached, or the task was cancelled first
                self._taken.pop(host).give_unused()
        if again_in_s is None:
            self._turns.unblock(host)
        else:
            self._turns.block_for(host, again_in_s)
        # before the crawl is notified that this task has ended and checks for room
        if (task := asyncio.current_task()) is not None:
            self._tasks.discard(task)
