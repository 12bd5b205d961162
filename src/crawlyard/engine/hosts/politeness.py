"""Politeness of one job: applies its spec and the robots.txt of hosts to the host rate limiter."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import TypeAlias

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.frontier import HostTurns
from crawlyard.engine.hosts.rate_limiter import BrowserSlot, RateLimiter, Slot, WaitToSend
from crawlyard.engine.http.fetch import FetchFailed, NotSent, Response
from crawlyard.engine.robots.cache import Closed, RobotsAccess, RobotsCache
from crawlyard.engine.robots.rules import MAX_PARSED, RobotsRules
from crawlyard.engine.urls import host_of, origin_of, path_of

_AFTER_DEFECT_S = 60.0
_AFTER_REST_S = 1.0  # while no proxy is usable, the crawl itself waits for one

SendRequest: TypeAlias = Callable[[str, WaitToSend, int], Awaitable[Response]]
"""See `RequestSender.send`."""

_log = logging.getLogger(__name__)


class Politeness:
    """Sets the limits of each host at the rate limiter, and learns the robots.txt rules of origins.

    Few robots.txt requests are in flight at once, each within the pace of its host; the host's
    targets are blocked meanwhile. `len` counts the requests.
    """

    def __init__(
        self,
        job: str,
        agent: str,
        rate_limiter: RateLimiter,
        cache: RobotsCache,
        turns: HostTurns,
        *,
        send: SendRequest,
        spawn: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
        add_note: Callable[[str], None],
        add_sitemaps: Callable[[str, Iterable[str]], None],
    ) -> None:
        self._job = job
        self._rate_limiter = rate_limiter
        self._turns = turns
        self._rules = RobotsAccess(agent, cache, self._fetch)
        self._send = send
        self._spawn = spawn
        self._add_note = add_note  # to the job's events
        self._add_sitemaps = add_sitemaps  # those that the robots.txt of an origin lists
        self._delays_s: dict[str, float] = {}  # crawl-delay of each host known to the rate limiter
        self._applied: set[str] = set()  # origins whose rules were applied
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots: dict[str, Slot] = {}  # by host, for its next robots.txt request

    def adopt(self, spec: JobSpec) -> None:
        """Apply another *spec* to all hosts."""
        self._spec = spec
        for host in self._delays_s:
            self._set_limits(host)

    def register(self, host: str) -> None:
        """Register *host* at the rate limiter, unless this job has done so already."""
        if host not in self._delays_s:
            self._delays_s[host] = 0.0
            self._set_limits(host)

    def rules_of(self, origin: str, host: str) -> RobotsRules | Closed | None:
        """Return the rules of *origin* or why it is closed; ``None`` before `begin` was called."""
        rules = self._rules.rules_for(origin)
        if isinstance(rules, RobotsRules) and origin not in self._applied:
            self._applied.add(origin)
            self._apply(origin, host, rules)
        return rules

    def begin(self, origin: str, host: str) -> None:
        """Start fetching the robots.txt of *origin*, whose *host* is ready."""
        self._turns.block(host)
        slot = self._slots[host] = self._rate_limiter.take(host)
        task = self._spawn(self._learn(origin, host))
        self._tasks.add(task)
        task.add_done_callback(partial(self._on_task_end, host, slot))

    async def acquire_for_browser(self, url: str, *, document: bool) -> BrowserSlot:
        """Wait for a slot at the host of *url*, for a request of a rendered page.

        Raises:
            FetchFailed: robots.txt forbids the *document*, or an operator has blocked the host.
        """
        host = host_of(url)
        self.register(host)
        if document and not self._spec.ignore_robots:
            origin = origin_of(url)
            rules = self.rules_of(origin, host) or await self._rules.learn(origin)
            if isinstance(rules, Closed):
                raise FetchFailed(rules.kind, rules.detail)
            if (line := rules.verdict(path_of(url))) is not None:
                raise FetchFailed(ErrorKind.ROBOTS, f"robots.txt forbids {url}: {line}")
        return await self._rate_limiter.acquire_for_browser(host)

    def cancel(self) -> None:
        """Cancel the requests in flight; no page is lost."""
        for task in self._tasks:
            task.cancel()

    def __len__(self) -> int:
        return len(self._tasks)

    def _on_task_end(self, host: str, slot: Slot, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        slot.release()
        if task.cancelled():  # perhaps before it started; an edit may resume the crawl
            if self._slots.get(host) is slot:
                del self._slots[host]
            self._turns.unblock(host)

    async def _learn(self, origin: str, host: str) -> None:
        retry_in_s: float | None = None
        try:
            rules = await self._rules.learn(origin)
            if isinstance(rules, Closed) and (retry_in_s := rules.retry_in_s) is not None:
                self._add_note(f"{rules.detail}; next request in {retry_in_s:g} s")
        except NotSent:
            retry_in_s = _AFTER_REST_S
        except Exception:  # noqa: BLE001 - one host must not end a crawl
            _log.exception("the robots.txt of %s could not be handled", origin)
            retry_in_s = _AFTER_DEFECT_S
        finally:
            if host in self._slots:  # the rules were cached, or the task was cancelled first
                self._slots.pop(host).release_unused()
        if retry_in_s is None:
            self._turns.unblock(host)
        else:
            self._turns.block_for(host, retry_in_s)
        # before the crawl is notified that this task has ended and checks for free capacity
        if (task := asyncio.current_task()) is not None:
            self._tasks.discard(task)

    async def _fetch(self, url: str) -> Response:
        """Send one request for a robots.txt or a redirect of it; return the response."""
        host = host_of(url)
        slot = self._slots.pop(host, None)
        if slot is None:
            self.register(host)
            slot = await self._rate_limiter.acquire(host)
        try:
            # the standard's cap, not the one for pages; one byte more shows that the file was cut
            return await self._send(url, slot.wait_to_send, MAX_PARSED + 1)
        finally:
            slot.release()

    def _apply(self, origin: str, host: str, rules: RobotsRules) -> None:
        delay_s, cap_s = rules.delay_s, self._spec.crawl_delay_cap_s
        if delay_s is not None:
            if delay_s > cap_s:
                self._add_note(
                    f"{origin} asks for a crawl-delay of {delay_s:g} s; using {cap_s:g} s"
                )
            self._delays_s[host] = min(delay_s, cap_s)
            self._set_limits(host)
        self._add_sitemaps(origin, rules.sitemaps)

    def _set_limits(self, host: str) -> None:
        own_s, robots_s = self._spec.delay_s, self._delays_s[host]
        delay_s, at_once = max(own_s, robots_s), self._spec.per_host
        self._rate_limiter.set_limits(self._job, host, delay_s, at_once, by_robots=robots_s > own_s)
