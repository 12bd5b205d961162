"""The crawl itself: takes targets, asks politely, reads what comes, yields batches.

It knows no queue and no database. Whoever drives it records each batch and only then
asks for the next; what it finds meanwhile waits, bounded. Everything of one crawl runs
in one event loop, so its state needs no locks.
"""

import asyncio
import math
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from crawlyard.core.checkpoint import Batch
from crawlyard.core.lifecycle import StateReason
from crawlyard.core.limits import ResourceLimiter, Usage, reason_of
from crawlyard.core.page import ErrorKind, Outcome, Target, TargetState, Via
from crawlyard.core.spec import JobSpec, Strategy
from crawlyard.engine import record
from crawlyard.engine.access import Access, Closed, RobotsCache
from crawlyard.engine.discovery import Discovery
from crawlyard.engine.draft import Draft, Tally
from crawlyard.engine.fetch import Fetcher, Response
from crawlyard.engine.frontier import Frontier, Turns
from crawlyard.engine.robots import Rules
from crawlyard.engine.urls import host_of, origin_of, path_of
from crawlyard.engine.visit import Tools, Visitor

BATCH_PAGES = 200
BATCH_S = 0.25  # after the first page of a batch: with its commit, what a kill costs
HEARTBEAT_S = 2.0  # without a page
WINDOW = 10_000  # targets loaded into memory; the store holds all of them
REFILL = 2_000  # below this, more are loaded
CROWD = 2_000  # a host with as many in memory gets no more loaded: others must have room
BACKLOG = 4 * BATCH_PAGES  # pages that may wait for a slow store before fetching pauses
MOST_NOTES = 100  # of one crawl: thousands of closed hosts must not flood the events

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a crawl begins or goes on."""

    key: str  # of the job, for the host gate
    usage: Usage
    known: set[int] = field(default_factory=set)  # fp of every URL ever found; taken over
    waiting: Sequence[Target] = ()  # the first window of the frontier, in its order
    roots: Sequence[str] = ()  # where redirects of start URLs led
    load: Callable[[int, Collection[str]], Awaitable[Sequence[Target]]] | None = None


@dataclass(frozen=True, slots=True)
class End:
    """How a crawl ended by itself."""

    reason: StateReason
    detail: str = ""


@dataclass(slots=True)
class Metered:
    """A fetcher whose bytes are counted, whatever they were asked for."""

    fetcher: Fetcher
    tally: Tally

    async def fetch(
        self, url: str, host: str, headers: Mapping[str, str], max_body: int
    ) -> Response:
        """Return the answer of the fetcher behind, its body counted; see `Fetcher`."""
        response = await self.fetcher.fetch(url, host, headers, max_body)
        self.tally.bytes += response.wire_bytes
        return response

    async def close(self) -> None:
        """Close the fetcher behind."""
        await self.fetcher.close()


class Crawl:
    """One job's crawl, from where its store has it to its end."""

    def __init__(
        self,
        spec: JobSpec,
        agent: str,
        fetcher: Fetcher,
        tools: Tools,
        robots: RobotsCache,
        start: Start,
    ) -> None:
        self._clock, self._gate, self._start = tools.clock, tools.gate, start
        self._draft = Draft(Tally.of(start.usage), start.usage)
        metered = Metered(fetcher, self._draft.tally)
        self._discovery = Discovery(start.known, start.roots, self._draft, self._found)
        self._visitor = Visitor(spec, agent, metered, tools, self._discovery.offer)
        self._access = Access(agent, robots, self._ask_robots)
        self._event = asyncio.Event()
        self._turns = Turns(Frontier(spec.strategy), tools.gate, tools.clock, self._event.set)
        self._held: set[int] = set()  # fp of targets in memory or in flight
        self._met: set[str] = set()  # origins whose rules were looked at
        self._wished: set[str] = set()
        self._delays: dict[str, float] = {}  # seconds that a robots.txt asks for
        self._notes = 0
        self._broken: BaseException | None = None  # an error of ours in a task
        self._tasks: set[asyncio.Task[None]] = set()
        self._reserved = 0  # targets in flight: each may become a page
        self._spilled = len(start.waiting) >= WINDOW  # the store may hold more than memory
        self._open = True
        self._edited = False
        self._give_up_at: float | None = None
        self._trouble = ""  # why the first start URL failed
        self._ticked = self._batched = tools.clock.monotonic()
        self._first_page: float | None = None
        self.end: End | None = None
        self._adopt(spec)

    def _adopt(self, spec: JobSpec) -> None:
        self._spec = spec
        self._limiter = ResourceLimiter(spec.limits)
        self._discovery.adopt(spec)

    def stop(self, within_s: float | None = None) -> None:
        """Begin no more requests; those under way may finish, or get *within_s* seconds."""
        self._open = False
        if within_s is not None:
            self._give_up_at = self._clock.monotonic() + within_s
        self._event.set()

    def nudge(self) -> None:
        """Yield a batch now: the answer to it is wanted."""
        self._batched = -math.inf
        self._event.set()

    def change(self, spec: JobSpec) -> None:
        """Go by an edited spec from now on; targets that it shuts out are skipped."""
        self._adopt(spec)
        self._visitor.adopt(spec)
        self._edited = True
        for host in self._wished:
            self._gate.wish(self._start.key, host, self._delay_s(host), spec.per_host)
        self._event.set()

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield what was done, each batch after the one before it was recorded.

        A batch comes at 200 pages, 250 ms after its first page or, as a heartbeat,
        after 2 s without one. The last one says so; `end` is then set, unless the crawl
        was stopped.
        """
        try:
            self._begin()
            while not self._over():
                await self._until_due()
                if self._batch_due():
                    yield self._batch()
                    await self._refill()
                self._dispatch()
            yield self._batch(last=True)
        finally:
            await self._let_go()

    # -- beginning and ending ------------------------------------------------------------

    def _begin(self) -> None:
        for target in self._start.waiting:
            self._admit(target)
        self._discovery.begin()
        self._dispatch()

    def _over(self) -> bool:
        if self._broken is not None:
            raise self._broken
        if self._tasks:
            return False
        if self._open and not len(self._turns) and not self._spilled:
            self._finish(*self._exhausted())
        return not self._open

    def _exhausted(self) -> tuple[StateReason, str]:
        tally = self._draft.tally
        fruitless = tally.pages == 0 or tally.done == tally.errors + tally.redirects
        if fruitless:
            return (
                StateReason.START_FAILED,
                self._trouble or self._discovery.trouble or "no start URL could be fetched",
            )
        return StateReason.EXHAUSTED, ""

    def _finish(self, reason: StateReason, detail: str) -> None:
        self._open = False
        self.end = End(reason, detail)
        self._event.set()

    async def _let_go(self) -> None:
        await asyncio.sleep(0)  # a task that never began could not give its slot back
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._gate.leave(self._start.key)

    # -- what is asked next --------------------------------------------------------------

    def _dispatch(self) -> None:
        """Begin as many requests as hosts, limits and concurrency allow."""
        self._tick()
        while self._open and len(self._tasks) < self._spec.concurrency:
            if len(self._draft.outcomes) >= BACKLOG:
                return
            decision = self._limiter.decide(self._draft.tally, self._reserved)
            if decision.used_up and decision.limit is not None:
                self._finish(reason_of(decision.limit), decision.detail)
            if not decision.allowed:
                return
            target = self._turns.next(self._settled)
            if target is None:
                return
            self._reserved += 1
            self._spawn(self._visit(target))

    def _settled(self, target: Target) -> bool:
        """Close *target* if it needs no request, and tell whether it was."""
        if self._edited and target.via is not Via.SEED:
            rule = self._discovery.verdict(target)
            if rule is not None:
                return self._close(Outcome(target, TargetState.SKIPPED, rule=rule))
        if self._spec.ignore_robots:
            return False
        origin = origin_of(target.url)
        known = self._access.of(origin)
        if known is None:
            self._turns.block(target.host)
            self._spawn(self._learn(origin, target.host))
            return False
        if isinstance(known, Closed):
            now = self._clock.now()
            return self._close(record.failed(target, known.kind, known.detail, now))
        if origin not in self._met:
            self._meet(origin, target.host, known)
        rule = known.verdict(path_of(target.url))
        if rule is None:
            return False
        return self._close(Outcome(target, TargetState.SKIPPED, rule=f"robots: {rule}"))

    async def _visit(self, target: Target) -> None:
        self._draft.current_url = target.url
        try:
            outcome = await self._visitor.visit(target)
        except Exception as error:  # noqa: BLE001 - one page must not end a crawl
            _log.exception("a page could not be handled", url=target.url)
            detail = f"{type(error).__name__}: {error}"[:500]
            outcome = record.failed(target, ErrorKind.INTERNAL, detail, self._clock.now())
        finally:
            self._reserved -= 1
        self._close(outcome)

    def _close(self, outcome: Outcome) -> bool:
        target = outcome.target
        self._draft.close(outcome)
        if outcome.state is TargetState.WAITING:
            due = target.due_at or self._clock.now()
            self._turns.push_later(target, (due - self._clock.now()).total_seconds())
        else:
            self._held.discard(target.fp)
        if target.via in (Via.SEED, Via.SITEMAP) and not self._trouble:
            why = outcome.page.error_detail if outcome.page is not None else outcome.rule
            self._trouble = f"{target.url}: {why}" if why else ""
        if self._first_page is None:
            self._first_page = self._clock.monotonic()
            self._event.set()
        return True

    # -- robots.txt ----------------------------------------------------------------------

    async def _learn(self, origin: str, host: str) -> None:
        known = await self._access.learn(origin)
        if isinstance(known, Closed) and known.retry_in_s is not None:
            self._note(f"{known.detail}; asked again in {known.retry_in_s:g} s")
            self._turns.block_for(host, known.retry_in_s)
        else:
            self._turns.unblock(host)

    async def _ask_robots(self, url: str) -> Response:
        host = host_of(url)
        self._wish(host)
        await self._gate.acquire(host)
        try:
            return await self._visitor.ask(url, host)
        finally:
            self._gate.give(host)

    def _meet(self, origin: str, host: str, rules: Rules) -> None:
        """Take up what the robots.txt of an origin asks for beside its rules."""
        self._met.add(origin)
        asked, cap = rules.delay_s, self._spec.crawl_delay_cap.total_seconds()
        if asked is not None and asked > self._spec.delay.total_seconds():
            if asked > cap:
                self._note(f"{origin} asks for a crawl-delay of {asked:g} s; {cap:g} s are kept")
            self._delays[host] = min(asked, cap)
            self._gate.wish(self._start.key, host, self._delay_s(host), self._spec.per_host)
        self._discovery.listed_by_robots(origin, rules.sitemaps)

    # -- the frontier in memory ----------------------------------------------------------

    def _found(self, target: Target) -> None:
        # depth first goes on with what was found last: that must stay in memory
        crowded = len(self._turns) >= WINDOW and self._spec.strategy is Strategy.BREADTH_FIRST
        if crowded or self._spilled:
            self._spilled = True  # order: what the store holds was found earlier
        else:
            self._admit(target)

    def _admit(self, target: Target) -> None:
        self._held.add(target.fp)
        self._wish(target.host)
        wait = (target.due_at - self._clock.now()).total_seconds() if target.due_at else 0.0
        if wait > 0:
            self._turns.push_later(target, wait)
        else:
            self._turns.push(target)

    def _wish(self, host: str) -> None:
        if host not in self._wished:
            self._wished.add(host)
            self._gate.wish(self._start.key, host, self._delay_s(host), self._spec.per_host)

    def _delay_s(self, host: str) -> float:
        return max(self._spec.delay.total_seconds(), self._delays.get(host, 0.0))

    async def _refill(self) -> None:
        """Load more of the frontier: what was found so far is recorded by now."""
        load = self._start.load
        if not self._spilled or len(self._turns) >= REFILL or load is None or not self._open:
            return
        held = set(self._held)  # what is closed while we load was held before
        limit = WINDOW + len(held)
        targets = await load(limit, tuple(self._turns.crowded(CROWD)))
        closed = {outcome.target.fp for outcome in self._draft.outcomes}
        self._spilled = len(targets) >= limit or bool(self._draft.found)
        for target in targets:
            if target.fp not in held and target.fp not in self._held and target.fp not in closed:
                self._admit(target)

    # -- time ----------------------------------------------------------------------------

    async def _until_due(self) -> None:
        """Wait until something ended, a host is ready, or a batch is due."""
        now = self._clock.monotonic()
        if self._give_up_at is not None and now >= self._give_up_at:
            for task in self._tasks:
                task.cancel()
        waits = [self._batch_at() - now, self._turns.wait_s()]
        if self._give_up_at is not None:
            waits.append(self._give_up_at - now if self._give_up_at > now else BATCH_S)
        if self._spec.limits.duration is not None:
            left = self._spec.limits.duration - self._draft.tally.duration
            waits.append(left.total_seconds())
        try:
            async with asyncio.timeout(max(0.0, min(waits))):
                await self._event.wait()
        except TimeoutError:
            pass
        self._event.clear()

    def _batch_at(self) -> float:
        if self._first_page is not None:
            return self._first_page + BATCH_S
        if self._spilled and len(self._turns) < REFILL:
            return self._batched + BATCH_S  # to load more, what was found must be recorded
        return self._batched + HEARTBEAT_S

    def _batch_due(self) -> bool:
        full = len(self._draft.outcomes) >= BATCH_PAGES
        return full or self._clock.monotonic() >= self._batch_at()

    def _batch(self, *, last: bool = False) -> Batch:
        self._tick()
        self._batched, self._first_page = self._clock.monotonic(), None
        if last and self.end is not None and self.end.reason.startswith("limit_"):
            name = self.end.reason.removeprefix("limit_")
            detail = self._limiter.describe(name, self._draft.tally)  # what was in flight counts
            self.end = End(self.end.reason, detail)
        return self._draft.batch(last=last)

    def _tick(self) -> None:
        now = self._clock.monotonic()
        self._draft.tally.duration += timedelta(seconds=now - self._ticked)
        self._ticked = now

    # -- tasks ---------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = error
        try:
            self._dispatch()
        except Exception as error:  # noqa: BLE001 - raised again where batches are yielded
            self._broken = error
        if self._broken or not self._tasks or len(self._draft.outcomes) >= BATCH_PAGES:
            self._event.set()

    def _note(self, text: str) -> None:
        if self._notes < MOST_NOTES:
            self._notes += 1
            self._draft.notes.append({"note": text})
