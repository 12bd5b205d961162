"""Politeness of one job: applies its spec and the robots.txt of hosts to the host gate."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import TypeAlias

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.frontier import HostTurns
from crawlyard.engine.hosts.gate import Go, HostGate, Seat, Slot
from crawlyard.engine.http.fetch import FetchFailed, NotSent, Response
from crawlyard.engine.robots.cache import Closed, RobotsAccess, RobotsCache
from crawlyard.engine.robots.rules import MAX_PARSED, RobotsRules
from crawlyard.engine.urls import host_of, origin_of, path_of

_AFTER_DEFECT_S = 60.0
_AFTER_REST_S = 1.0  # all proxies rest: the crawl itself waits for one of them

Ask: TypeAlias = Callable[[str, Go, int], Awaitable[Response]]
"""See `RequestSender.send`."""

_log = logging.getLogger(__name__)


class Politeness:
    """Sets the limits of each host at the gate, and learns the robots.txt rules of origins.

    Few robots.txt requests are in flight at once, each within the pace of its host; the host's
    targets are blocked meanwhile. `len` counts the requests.
    """

    def __init__(
        self,
        job: str,
        agent: str,
        gate: HostGate,
        cache: RobotsCache,
        turns: HostTurns,
        *,
        ask: Ask,
        spawn: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
        note: Callable[[str], None],
        listed: Callable[[str, Iterable[str]], None],
    ) -> None:
        self._job = job
        self._gate = gate
        self._turns = turns
        self._rules = RobotsAccess(agent, cache, self._fetch)
        self._ask = ask
        self._spawn = spawn
        self._note = note  # adds a note to the job's events
        self._listed = listed  # called with an origin and the sitemaps in its robots.txt
        self._delays_s: dict[str, float] = {}  # hosts known to the gate, and their crawl-delay
        self._applied: set[str] = set()  # origins whose rules were applied
        self._tasks: set[asyncio.Task[None]] = set()
        self._taken: dict[str, Slot] = {}  # by host, for its next robots.txt request

    def adopt(self, spec: JobSpec) -> None:
        """Switch to *spec*."""
        self._spec = spec
        for host in self._delays_s:
            self._tell(host)

    def wish(self, host: str) -> None:
        """Register *host* at the gate, unless this job has done so already."""
        if host not in self._delays_s:
            self._delays_s[host] = 0.0
            self._tell(host)

    def rules_of(self, origin: str, host: str) -> RobotsRules | Closed | None:
        """Return the rules of *origin* or why it is closed; ``None``: `begin` must be called."""
        known = self._rules.of(origin)
        if isinstance(known, RobotsRules) and origin not in self._applied:
            self._applied.add(origin)
            self._apply(origin, host, known)
        return known

    def begin(self, origin: str, host: str) -> None:
        """Start fetching the robots.txt of *origin*, whose *host* is ready."""
        self._turns.block(host)
        slot = self._taken[host] = self._gate.take(host)
        task = self._spawn(self._learn(origin, host))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, host, slot))

    async def join(self, url: str, *, document: bool) -> Seat:
        """Return a seat at the host of *url*, for a request of a page that is rendered.

        Raises:
            FetchFailed: robots.txt forbids the *document*, or an operator has blocked the host.
        """
        host = host_of(url)
        self.wish(host)
        if document and not self._spec.ignore_robots:
            origin = origin_of(url)
            known = self.rules_of(origin, host) or await self._rules.learn(origin)
            if isinstance(known, Closed):
                raise FetchFailed(known.kind, known.detail)
            if (line := known.verdict(path_of(url))) is not None:
                raise FetchFailed(ErrorKind.ROBOTS, f"robots.txt forbids {url}: {line}")
        return await self._gate.join(host)

    def cancel(self) -> None:
        """Cancel the requests in flight; no page is lost."""
        for task in self._tasks:
            task.cancel()

    def __len__(self) -> int:
        return len(self._tasks)

    def _ended(self, host: str, slot: Slot, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        slot.give()
        if task.cancelled():  # perhaps before it started; an edit may resume the crawl
            if self._taken.get(host) is slot:
                del self._taken[host]
            self._turns.unblock(host)

    async def _learn(self, origin: str, host: str) -> None:
        again_in_s: float | None = None
        try:
            known = await self._rules.learn(origin)
            if isinstance(known, Closed) and (again_in_s := known.retry_in_s) is not None:
                self._note(f"{known.detail}; asked again in {again_in_s:g} s")
        except NotSent:
            again_in_s = _AFTER_REST_S
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

    async def _fetch(self, url: str) -> Response:
        """Send one request for a robots.txt or a redirect of it; return the response."""
        host = host_of(url)
        slot = self._taken.pop(host, None)
        if slot is None:
            self.wish(host)
            slot = await self._gate.acquire(host)
        try:
            # the standard's cap, not the one for pages; one byte more shows that the file was cut
            return await self._ask(url, slot.go, MAX_PARSED + 1)
        finally:
            slot.give()

    def _apply(self, origin: str, host: str, rules: RobotsRules) -> None:
        asked, cap = rules.delay_s, self._spec.crawl_delay_cap_s
        if asked is not None:
            if asked > cap:
                self._note(f"{origin} asks for a crawl-delay of {asked:g} s; {cap:g} s are kept")
            self._delays_s[host] = min(asked, cap)
            self._tell(host)
        self._listed(origin, rules.sitemaps)

    def _tell(self, host: str) -> None:
        own_s, asked_s = self._spec.delay_s, self._delays_s[host]
        delay_s, at_once = max(own_s, asked_s), self._spec.per_host
        self._gate.wish(self._job, host, delay_s, at_once, by_robots=asked_s > own_s)
