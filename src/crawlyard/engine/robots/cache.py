"""robots.txt of each origin: had once for a job, kept for a day, asked again when it fails."""

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
from crawlyard.core.hosts.robots_file import RobotsFile
from crawlyard.core.quantity import counted
from crawlyard.engine.http.errors import FetchFailed
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.robots.rules import ALLOW_ALL, RobotsRules, parse
from crawlyard.engine.urls import Base
from crawlyard.errors import Unavailable

MAX_HOPS = 5  # RFC 9309, 2.3.1.2
KEPT_S = 24 * 3600.0  # RFC 9309, 2.4
FRESH_S = 60.0  # what was had so long before a job began holds for it; older is asked for again
_SILENT_TRIES = 6  # after a 5xx, a time-out or a reset: 2 + 4 + 8 + 16 + 32 s of waiting
_UNREACHABLE_TRIES = 3  # no such name, nobody listens: 2 + 4 s
_SAVE_EVERY = timedelta(seconds=0.25)  # those that come in meanwhile share a transaction

_log = logging.getLogger(__name__)


class Closed(Struct, frozen=True):
    """Why an origin may not be asked."""

    kind: ErrorKind
    detail: str
    retry_in_s: float | None  # None: given up for this job


class RobotsKeeper(Protocol):
    """What processes share of it: see `RobotsStore`."""

    async def get(self, origin: str, now: datetime) -> RobotsFile | None:
        """Return the file of an origin if it still holds at *now*."""
        ...

    async def put(self, files: Sequence[RobotsFile]) -> None:
        """Keep files, each in place of one that was had earlier."""
        ...


class _Known(Struct, frozen=True):
    rules: RobotsRules
    had_at: float  # monotonic, as all of this process
    until: float


class RobotsCache(Struct):
    """The rules that all jobs of a process have learnt.

    With a *keeper*, also what other processes and earlier ones have asked for.
    """

    clock: Clock
    keeper: RobotsKeeper | None = None
    _rules: dict[tuple[str, str], _Known] = field(default_factory=dict)
    _unsaved: dict[str, RobotsFile] = field(default_factory=dict)
    _saving: asyncio.Task[None] | None = None

    def get(self, origin: str, agent: str, since: float = -math.inf) -> RobotsRules | None:
        """Return the rules of *origin* for *agent*, if they are known and not a day old.

        Only those that were had at the instant *since* of the clock, or later.
        """
        known = self._rules.get((origin, agent))
        if known is None or known.had_at < since or self.clock.monotonic() >= known.until:
            return None
        return known.rules

    def put(self, origin: str, agent: str, rules: RobotsRules) -> None:
        """Remember rules for a day."""
        self._remember(origin, agent, rules, 0.0, KEPT_S)

    async def recall(self, origin: str, agent: str) -> None:
        """Take up the rules of *origin* for *agent* by a file that is kept, if there is one."""
        if self.keeper is None:
            return
        now = self.clock.now()
        try:
            file = await self.keeper.get(origin, now)
        except Unavailable:
            return  # then it is asked for
        if file is not None:
            rules = _rules_in(file.status, file.body, agent)
            age_s = (now - file.fetched_at).total_seconds()
            left_s = (file.expires_at - now).total_seconds()
            self._remember(origin, agent, rules, age_s, left_s)

    def keep(self, origin: str, status: int, body: bytes) -> None:
        """Keep what *origin* has answered, for a day and for all processes."""
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
        """Save what is not saved yet."""
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
            await keeper.put(files)
        except Unavailable as error:
            _log.debug("the robots.txt of %d origins are not kept: %s", len(files), error)
        except Exception:  # noqa: BLE001 - whatever it is, those that come later are to be kept
            _log.exception("the robots.txt of %d origins could not be kept", len(files))

    def _remember(
        self, origin: str, agent: str, rules: RobotsRules, age_s: float, left_s: float
    ) -> None:
        now = self.clock.monotonic()
        self._rules.pop((origin, agent), None)  # so that they stay in the order of their ends
        self._rules[origin, agent] = _Known(rules, now - age_s, now + left_s)
        while self._rules[oldest := next(iter(self._rules))].until <= now:
            del self._rules[oldest]


class RobotsAccess:
    """What one job knows of the robots.txt of the origins it meets.

    Who has changed his robots.txt sees the next job obey it: what is kept from before is
    for origins that do not answer now.
    """

    def __init__(
        self,
        agent: str,
        cache: RobotsCache,
        ask: Callable[[str], Awaitable[Response]],
    ) -> None:
        self._agent = agent
        self._cache = cache
        self._ask = ask  # fetches one URL, politely; raises FetchFailed
        self._since = cache.clock.monotonic() - FRESH_S
        self._older: set[str] = set()  # origins that go by what was had before
        self._given_up: dict[str, Closed] = {}
        self._tries: dict[str, int] = {}  # of origins that did not answer so far

    def of(self, origin: str) -> RobotsRules | Closed | None:
        """Return the rules of *origin*, why it is given up, or ``None``: `learn` it first."""
        since = -math.inf if origin in self._older else self._since
        return self._given_up.get(origin) or self._cache.get(origin, self._agent, since)

    async def learn(self, origin: str) -> RobotsRules | Closed:
        """Ask for the robots.txt of *origin* once; return its rules, or why there are none.

        Nobody is asked where others have had it since the job began, or just before. An
        older file of the last day holds where the origin does not answer now. Any 4xx
        allows everything. A 5xx, a time-out or a reset closes the origin until it
        answers; after several tries it is given up for this job.

        Source: RFC 9309, sections 2.3.1 and 2.4.
        """
        if self._cache.get(origin, self._agent, self._since) is None:
            await self._cache.recall(origin, self._agent)
        known = self._cache.get(origin, self._agent, self._since)
        if known is not None:
            return known
        try:
            answer = await self._follow(f"{origin}/robots.txt")
        except FetchFailed as failure:
            return self._closed(origin, failure)
        if answer.status >= 500 or answer.status == 429:
            detail = f"robots.txt answered {answer.status}"
            return self._closed(origin, FetchFailed(ErrorKind.ROBOTS, detail, transient=True))
        rules = _rules_in(answer.status, answer.body, self._agent)
        self._older.discard(origin)
        self._cache.put(origin, self._agent, rules)
        self._cache.keep(origin, answer.status, answer.body)
        self._tries.pop(origin, None)
        return rules

    async def _follow(self, url: str) -> Response:
        """Return the answer after up to five redirects, which may lead to other hosts.

        Rules found elsewhere apply to the first origin; a longer chain, or one that
        leads nowhere, is taken as "there is no robots.txt", as for any 4xx.
        """
        answer = await self._ask(url)
        for _ in range(MAX_HOPS):
            location = answer.header("location")
            if not 300 <= answer.status < 400 or not location:
                break
            target = Base(url).join(location)
            if target is None:
                break
            url = target
            answer = await self._ask(url)
        return answer

    def _closed(self, origin: str, failure: FetchFailed) -> RobotsRules | Closed:
        older = self._cache.get(origin, self._agent)
        if older is not None and failure.transient:
            self._older.add(origin)
            return older
        tries = self._tries[origin] = self._tries.get(origin, 0) + 1
        unreachable = failure.kind in (ErrorKind.DNS, ErrorKind.CONNECT)
        most = _UNREACHABLE_TRIES if unreachable else _SILENT_TRIES
        # what makes the host unreachable is the better name for it than «no robots.txt»
        kind = ErrorKind.ROBOTS if failure.kind is ErrorKind.TIMEOUT else failure.kind
        detail = f"{origin} is closed: {failure.detail}"
        if not failure.transient or tries >= most:
            tried = f" ({counted(tries, 'try', 'tries')})" if tries > 1 else ""
            closed = self._given_up[origin] = Closed(kind, detail + tried, None)
            return closed
        return Closed(kind, detail, float(2**tries))


def _rules_in(status: int, body: bytes, agent: str) -> RobotsRules:
    """Return what an answer that is no failure says; any but a 2xx allows everything."""
    return parse(body, agent) if 200 <= status < 300 else ALLOW_ALL
