"""robots.txt cache: fetched once per job and origin, kept for a day, retried on failure."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct, field

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.hosts.hosts import RobotsFile
from crawlyard.core.quantity import count_noun
from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.robots.rules import ALLOW_ALL, RobotsRules, parse
from crawlyard.engine.urls import Base
from crawlyard.errors import Unavailable

MAX_HOPS = 5  # RFC 9309, 2.3.1.2
KEPT_S = 24 * 3600.0  # RFC 9309, 2.4
FRESH_S = 60.0  # age at the start of a job up to which a file is used; older ones are refetched
_SILENT_TRIES = 6  # after a 5xx, a time-out or a reset: waits 2 + 4 + 8 + 16 + 32 s
_UNREACHABLE_TRIES = 3  # after a DNS, connection or proxy failure: waits 2 + 4 s
_SAVE_EVERY = timedelta(seconds=0.25)  # files that arrive meanwhile share a transaction

_log = logging.getLogger(__name__)


class Closed(Struct, frozen=True):
    """Reason why an origin may not be crawled."""

    kind: ErrorKind
    detail: str
    retry_in_s: float | None  # None: given up for this job


class RobotsKeeper(Protocol):
    """Store of robots.txt files, shared by processes; see `RobotsStore`."""

    async def get(self, origin: str, now: datetime) -> RobotsFile | None:
        """Return the file of an origin if it has not expired at *now*."""
        ...

    async def save(self, files: Sequence[RobotsFile]) -> None:
        """Save files, replacing earlier ones of the same origins."""
        ...


class _CachedRules(Struct, frozen=True):
    rules: RobotsRules
    fetched_at: float  # monotonic, like `until`
    until: float


class RobotsCache(Struct):
    """Rules cached for all jobs of a process.

    With a *keeper*, files fetched by other and earlier processes are used as well.
    """

    clock: Clock
    keeper: RobotsKeeper | None = None
    _rules: dict[tuple[str, str], _CachedRules] = field(default_factory=dict)
    _unsaved: dict[str, RobotsFile] = field(default_factory=dict)
    _saving: asyncio.Task[None] | None = None

    def get(self, origin: str, agent: str, since: float = -math.inf) -> RobotsRules | None:
        """Return the rules of *origin* for *agent* if they are known and have not expired.

        Only rules fetched at *since* (monotonic) or later count.
        """
        entry = self._rules.get((origin, agent))
        if entry is None or entry.fetched_at < since or self.clock.monotonic() >= entry.until:
            return None
        return entry.rules

    def add(self, origin: str, agent: str, rules: RobotsRules) -> None:
        """Cache rules for a day."""
        self._add(origin, agent, rules, 0.0, KEPT_S)

    async def load(self, origin: str, agent: str) -> None:
        """Load the rules of *origin* for *agent* from a saved file, if there is one."""
        if self.keeper is None:
            return
        now = self.clock.now()
        try:
            file = await self.keeper.get(origin, now)
        except Unavailable:
            return  # the caller fetches it instead
        if file is not None:
            rules = _rules_in(file.status, file.body, agent)
            age_s = (now - file.fetched_at).total_seconds()
            left_s = (file.expires_at - now).total_seconds()
            self._add(origin, agent, rules, age_s, left_s)

    def save(self, origin: str, status: int, body: bytes) -> None:
        """Save the response of *origin* for a day, for all processes."""
        if self.keeper is None:
            return
        now = self.clock.now()
        self._unsaved[origin] = RobotsFile(
            origin=origin,
            status=status,
            body=body if 200 <= status < 300 else b"",
            fetched_at=now,
            expires_at=now + timedelta(seconds=KEPT_S),
        )
        if self._saving is None:
            self._saving = asyncio.get_running_loop().create_task(self._save_soon(self.keeper))

    async def close(self) -> None:
        """Save what is still unsaved."""
        if self._saving is not None and self.keeper is not None:
            self._saving.cancel()
            with suppress(asyncio.CancelledError):
                await self._saving
            await self._save(self.keeper)

    async def _save_soon(self, keeper: RobotsKeeper) -> None:
        while self._unsaved:
            await self.clock.sleep(_SAVE_EVERY)
            await self._save(keeper)
        self._saving = None

    async def _save(self, keeper: RobotsKeeper) -> None:
        files, self._unsaved = list(self._unsaved.values()), {}
        try:
            await keeper.save(files)
        except Unavailable as error:
            _log.debug("the robots.txt of %d origins were not saved: %s", len(files), error)
        except Exception:  # noqa: BLE001 - later files must still be saved
            _log.exception("the robots.txt of %d origins could not be saved", len(files))

    def _add(
        self, origin: str, agent: str, rules: RobotsRules, age_s: float, left_s: float
    ) -> None:
        now = self.clock.monotonic()
        self._rules.pop((origin, agent), None)  # reinsert, to keep the order by expiry
        self._rules[origin, agent] = _CachedRules(rules, now - age_s, now + left_s)
        while self._rules[oldest := next(iter(self._rules))].until <= now:
            del self._rules[oldest]


class RobotsAccess:
    """robots.txt rules as one job sees them.

    Each job fetches files again, so that the next job obeys a changed robots.txt. Files from
    before the job are only used for origins that do not respond now.
    """

    def __init__(
        self,
        agent: str,
        cache: RobotsCache,
        fetch: Callable[[str], Awaitable[Response]],
    ) -> None:
        self._agent = agent
        self._cache = cache
        self._fetch = fetch  # fetches one URL, politely; raises FetchFailed
        self._since = cache.clock.monotonic() - FRESH_S
        self._older: set[str] = set()  # origins that use a file from before the job
        self._given_up: dict[str, Closed] = {}
        self._tries: dict[str, int] = {}  # of origins that have not responded so far

    def rules_for(self, origin: str) -> RobotsRules | Closed | None:
        """Return the rules of *origin* or why it was given up; ``None`` if it is unknown."""
        since = -math.inf if origin in self._older else self._since
        return self._given_up.get(origin) or self._cache.get(origin, self._agent, since)

    async def learn(self, origin: str) -> RobotsRules | Closed:
        """Fetch the robots.txt of *origin* once; return its rules, or why there are none.

        No request is sent if the file was fetched since the job began, or shortly before. If
        the origin does not respond, an older file of the last day is used. Any 4xx except 429
        allows everything. A 429, a 5xx, a time-out or a reset closes the origin until it
        responds; after several tries it is given up for this job.

        Source: RFC 9309, sections 2.3.1 and 2.4.
        """
        if self._cache.get(origin, self._agent, self._since) is None:
            await self._cache.load(origin, self._agent)
        cached = self._cache.get(origin, self._agent, self._since)
        if cached is not None:
            return cached
        try:
            # a chain that is too long counts as "there is no robots.txt", like a 4xx; the rules at
            # the end of a redirect, perhaps on another host, apply to this origin
            response = await follow_redirects(self._fetch, f"{origin}/robots.txt")
        except FetchFailed as failure:
            return self._close_origin(origin, failure)
        if response.status >= 500 or response.status == 429:
            detail = f"status {response.status}"
            return self._close_origin(origin, FetchFailed(ErrorKind.ROBOTS, detail, transient=True))
        rules = _rules_in(response.status, response.body, self._agent)
        self._older.discard(origin)
        self._cache.add(origin, self._agent, rules)
        self._cache.save(origin, response.status, response.body)
        self._tries.pop(origin, None)
        return rules

    def _close_origin(self, origin: str, failure: FetchFailed) -> RobotsRules | Closed:
        older = self._cache.get(origin, self._agent)
        if older is not None and failure.transient:
            self._older.add(origin)
            return older
        tries = self._tries[origin] = self._tries.get(origin, 0) + 1
        unreachable = failure.kind in (ErrorKind.DNS, ErrorKind.CONNECT, ErrorKind.PROXY)
        most = _UNREACHABLE_TRIES if unreachable else _SILENT_TRIES
        # the cause of unreachability is a more useful kind than ROBOTS
        kind = ErrorKind.ROBOTS if failure.kind is ErrorKind.TIMEOUT else failure.kind
        detail = f"cannot fetch robots.txt: {failure.detail}"
        if not failure.transient or tries >= most:
            attempts = f" ({count_noun(tries, 'try', 'tries')})" if tries > 1 else ""
            closed = self._given_up[origin] = Closed(kind, detail + attempts, None)
            return closed
        return Closed(kind, detail, float(2**tries))


async def follow_redirects(fetch: Callable[[str], Awaitable[Response]], url: str) -> Response:
    """Return the response after up to five redirects, or the one that leads no further."""
    response = await fetch(url)
    for _ in range(MAX_HOPS):
        location = response.header("location")
        target = Base(url).join(location) if location else None
        if not 300 <= response.status < 400 or target is None:
            break
        url = target
        response = await fetch(url)
    return response


def _rules_in(status: int, body: bytes, agent: str) -> RobotsRules:
    """Return the rules in a response that is not a failure; any but a 2xx allows everything."""
    return parse(body, agent) if 200 <= status < 300 else ALLOW_ALL
