"""Crawl loop: fetches the targets of one job politely and yields checkpoint batches.

It knows neither the queue nor the database. The caller records each batch before it asks
for the next one; results that arrive meanwhile are buffered, up to a bound. Everything in
one crawl runs in one event loop, so its state needs no locks.
"""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Collection, Coroutine, Sequence
from contextlib import suppress

from msgspec.structs import replace

from crawlyard.core.crawl.page import ErrorKind, Outcome, Target, TargetState, Via
from crawlyard.core.jobs.checkpoint import Batch
from crawlyard.core.jobs.lifecycle import StateReason
from crawlyard.core.jobs.limits import reason_of
from crawlyard.core.jobs.spec import JobSpec, Strategy
from crawlyard.core.jobs.spread import Share
from crawlyard.engine.batch import BatchDraft, Tally
from crawlyard.engine.crawl_end import NO_START, Breach, CrawlEnd, Start
from crawlyard.engine.discovery import Discovery
from crawlyard.engine.extract import record
from crawlyard.engine.frontier import Frontier, HostTurns
from crawlyard.engine.hosts.gate import BLOCKED, Slot
from crawlyard.engine.hosts.lanes import Lanes
from crawlyard.engine.hosts.politeness import Politeness
from crawlyard.engine.http.errors import NotSent
from crawlyard.engine.http.fetch import Fetcher, Metered
from crawlyard.engine.robots.cache import Closed, RobotsAccess, RobotsCache
from crawlyard.engine.robots.queue import RobotsQueue
from crawlyard.engine.urls import origin_of, path_of
from crawlyard.engine.visit import Tools, Visitor

BATCH_PAGES = 200
BATCH_S = 0.25  # after a batch's first page; this plus the commit is what a kill can lose
HEARTBEAT_S = 2.0  # batch interval while no page arrives
WINDOW = 10_000  # targets loaded into memory; the store holds all of them
REFILL = 2_000  # load more when fewer are in memory
CROWD = 1_000  # don't load more targets of a host with this many in memory: leave room for others
REFILL_S = 5.0  # between two loads made because no host in memory is ready
LONG_WAIT_S = 60.0  # note it in the job's events when a host asks for a longer wait
BACKLOG = 4 * BATCH_PAGES  # pages that may wait for a slow store before fetching pauses

_log = logging.getLogger(__name__)


class Crawl:
    """Crawl of one job, from its last checkpoint to its end."""

    def __init__(
        self,
        spec: JobSpec,
        agent: str,
        fetcher: Fetcher,
        tools: Tools,
        robots: RobotsCache,
        start: Start,
    ) -> None:
        self._clock, self._gate = tools.clock, tools.gate
        self._start, self._part = start, start.part
        self._draft = BatchDraft(Tally.of(start.usage), start.usage)
        metered = Metered(fetcher, self._draft.tally.spend)
        self._discovery = Discovery(start.known, start.roots, self._draft, self._found)
        self._visitor = Visitor(spec, agent, metered, tools, self._discovery, start.may_send)
        self._event = asyncio.Event()
        self._turns = HostTurns(Frontier(spec.strategy), tools.gate, tools.clock, self._event.set)
        tools.gate.queue(start.key, self._turns.waiting)
        self._lanes = Lanes(self._turns, tools.gate, tools.clock)
        self._learning = RobotsQueue(tools.gate, self._turns, self._visitor.ask, self._spawn)
        self._politeness = Politeness(
            start.key,
            tools.gate,
            RobotsAccess(agent, robots, lambda url: self._learning.ask(url, self._politeness)),
            self._draft.note,
            self._discovery.listed_by_robots,
        )
        self._held: set[int] = set()  # fingerprints of targets in memory or in flight
        self._vetted: set[int] = set()  # of those, the ones checked against the current spec
        self._broken: BaseException | None = None  # an unexpected error in a task
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots: dict[asyncio.Task[None], Slot] = {}  # by task that visits a target
        self._reserved = 0  # targets in flight, each of which may become a page
        self._spilled = len(start.waiting) >= WINDOW  # the store may hold more than memory
        self._idle = False  # requests are allowed, but no host is ready
        self._loaded = -math.inf
        self._deferred: list[str] = []  # hosts blocked until there is room for a request
        self._open, self._stopped = True, False
        self._ended_by: Breach | None = None
        self._give_up_at: float | None = None
        self._trouble = ""  # why the first start URL failed
        self._ticked = self._batched = tools.clock.monotonic()
        self._first_page: float | None = None
        self.end: CrawlEnd | None = None
        self._adopt(spec)

    def _adopt(self, spec: JobSpec) -> None:
        self._spec = spec
        self._politeness.adopt(spec)
        self._limiter = self._part.limiter(spec)
        self._discovery.adopt(spec)
        self._vetted.clear()

    def stop(self, within_s: float | None = None) -> None:
        """Send no more requests; let those in flight finish, within *within_s* seconds if given."""
        self._open, self._stopped = False, True
        self._learning.cancel()
        _cancel([task for task, slot in self._slots.items() if not slot.sent])
        if within_s is not None:
            self._give_up_at = self._clock.monotonic() + within_s
        self._event.set()

    def nudge(self) -> None:
        """Yield a batch as soon as possible, because the caller's response to it is needed."""
        self._batched = -math.inf
        self._event.set()

    def wake(self) -> None:
        """Check again whether a request may be sent."""
        self._event.set()

    def change(self, spec: JobSpec) -> None:
        """Switch to an edited spec; skip waiting targets that it excludes.

        If a limit has ended the crawl and the edit lifts it, the crawl resumes.
        """
        self._adopt(spec)
        self._visitor.adopt(spec)
        if self._ended_by is not None and not self._stopped:
            self._ended_by, self.end, self._open = None, None, True
        self._event.set()

    def add_roots(self, urls: Sequence[str]) -> None:
        """Treat *urls* as start URLs: another shard of the job was redirected to them."""
        self._discovery.add_roots(urls)

    def share(self, share: Share) -> None:
        """Apply the store's reply to the last batch: the state and limits of the whole job."""
        self._part.allow(share, self._draft.told)
        if share.over is not None and self._open:
            self._finish(CrawlEnd(reason_of(share.over)))
        self._event.set()

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield batches of results; the caller records each one before it asks for the next.

        A batch is due at 200 pages, 250 ms after its first page or, as a heartbeat, after
        2 s without a page. The last batch is marked as such; `end` is set by then, unless
        the crawl was stopped.
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

    def _begin(self) -> None:
        for target in self._start.waiting:
            self._admit(target)
        self._discovery.begin()
        if self._draft.found and self._part.open:
            self.nudge()  # other shards wait for the URLs that are theirs
        self._dispatch()

    def _over(self) -> bool:
        if self._broken is not None:
            raise self._broken
        if not self._open:
            # robots.txt requests wait as long as their hosts hold us off; cancelling loses no page
            self._learning.cancel()
        if self._tasks:
            return False
        if self._open and not (len(self._turns) or self._spilled or self._part.open):
            self._finish(self._unreached() or CrawlEnd(StateReason.EXHAUSTED))
        return not self._open

    def _unreached(self) -> CrawlEnd | None:
        """Return the end of a crawl that got only errors, ``None`` if it got anything else."""
        if not self._draft.tally.fruitless:
            return None
        return CrawlEnd(
            StateReason.START_FAILED, self._trouble or self._discovery.trouble or NO_START
        )

    def _finish(self, end: CrawlEnd) -> None:
        self._open = False
        self.end = end
        self._event.set()

    async def _let_go(self) -> None:
        self._open = False
        _cancel(self._tasks)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._gate.leave(self._start.key)

    def _dispatch(self) -> None:
        """Start as many requests as hosts, limits and concurrency allow."""
        self._tick()
        if self._deferred and self._has_room():
            deferred, self._deferred = self._deferred, []
            for host in deferred:
                self._turns.unblock(host)
        while self._has_room():
            turn = self._turns.next(self._settled)
            self._idle = turn is None
            if turn is None:
                return
            self._reserved += 1
            self._slots[self._spawn(self._visit(*turn))] = turn[1]

    def _has_room(self) -> bool:
        """Return whether one more request may start; end the crawl if a limit is used up."""
        if not self._open or self._broken is not None or not self._start.may_send():
            return False
        decision = self._limiter.decide(self._draft.tally, self._reserved)
        if decision.used_up and decision.limit is not None:
            self._ended_by = Breach(decision.limit, self._limiter)
            self._finish(CrawlEnd(reason_of(decision.limit), decision.detail))
        busy = self._reserved + len(self._learning) >= self._spec.concurrency
        return decision.allowed and not busy and len(self._draft.outcomes) < BACKLOG

    def _defer(self, host: str) -> bool:
        """Block *host* until there is room for another request; return False."""
        self._turns.block(host)
        self._deferred.append(host)
        return False

    def _settled(self, target: Target) -> bool:
        """Close *target* if it needs no request; return whether it was closed."""
        outcome = self._judged(target)
        if outcome is None:
            return False
        return self._close(outcome) if self._has_room() else self._defer(target.host)

    def _judged(self, target: Target) -> Outcome | None:
        """Return the outcome of *target* if it is known without a request, else ``None``."""
        if self._gate.is_blocked(target.host):
            return Outcome(target, TargetState.SKIPPED, rule=BLOCKED)
        if target.fp not in self._vetted:  # the spec may have been edited since
            rule = self._discovery.verdict(target)
            if rule is not None:
                return Outcome(target, TargetState.SKIPPED, rule=rule)
        if self._spec.ignore_robots:
            return None
        origin = origin_of(target.url)
        known = self._politeness.rules_of(origin, target.host)
        if isinstance(known, Closed):
            return record.failed(target, known.kind, known.detail, self._clock.now())
        if known is not None:
            rule = known.verdict(path_of(target.url))
            told = f"robots: {rule}"
            return Outcome(target, TargetState.SKIPPED, rule=told) if rule is not None else None
        # at most half of the requests may be for robots.txt, so that slow ones don't block pages
        if len(self._learning) >= max(1, self._spec.concurrency // 2) or not self._has_room():
            self._defer(target.host)
        else:
            self._learning.begin(self._politeness, origin, target.host)
        return None

    async def _visit(self, target: Target, slot: Slot) -> None:
        self._draft.current_url = target.url
        began = self._clock.monotonic()
        try:
            outcome = await self._visitor.visit(target, slot)
        except NotSent:
            self._turns.push(target)
            return
        except Exception as error:  # noqa: BLE001 - one page must not end a crawl
            _log.exception("a page could not be handled: %s", target.url)
            detail = f"{type(error).__name__}: {error}"[:500]
            outcome = record.failed(target, ErrorKind.INTERNAL, detail, self._clock.now())
        finally:
            self._reserved -= 1
        took_s = self._clock.monotonic() - began
        self._lanes.visited(took_s)
        if outcome.state is TargetState.WAITING:
            self._lanes.failed(outcome.target, took_s)
        self._close(outcome)

    def _close(self, outcome: Outcome) -> bool:
        target = outcome.target
        self._draft.close(outcome)
        if outcome.state is TargetState.WAITING:
            due = target.due_at or self._clock.now()
            wait_s = (due - self._clock.now()).total_seconds()
            if wait_s > LONG_WAIT_S:
                note = f"{target.host} is not asked again for {wait_s:.0f} s, as it wishes"
                self._draft.note(note)
            self._turns.push_later(target, wait_s)
        else:
            self._held.discard(target.fp)
            self._vetted.discard(target.fp)
            page = outcome.page
            self._lanes.closed(target, failed=page is not None and page.error is not None)
        started = target.via in (Via.SEED, Via.SITEMAP)
        # a redirect's problem is reported by the target that it leads to
        if started and outcome.state is not TargetState.REDIRECTED and not self._trouble:
            error = outcome.page.error if outcome.page is not None else None
            why = error.detail if error is not None else outcome.rule
            self._trouble = f"{target.url}: {why}" if why else ""
        if self._first_page is None:
            self._first_page = self._clock.monotonic()
            self._event.set()
        return True

    # -- the frontier in memory ----------------------------------------------------------

    def _found(self, target: Target) -> None:
        if not self._part.owns(target.host):
            return  # it belongs to another shard, which loads it from the store
        # depth-first crawls continue with the URL found last, so it must stay in memory
        deep = self._spec.strategy is Strategy.DEPTH_FIRST
        if deep or (not self._spilled and len(self._turns) < WINDOW):
            self._vetted.add(target.fp)
            self._admit(target)
        else:
            self._spilled = True  # keep the order: the store already holds targets found earlier

    def _admit(self, target: Target) -> None:
        self._held.add(target.fp)
        self._lanes.admitted(target)
        self._discovery.met(target)
        self._politeness.wish(target.host)
        wait = (target.due_at - self._clock.now()).total_seconds() if target.due_at else 0.0
        if wait > 0:
            self._turns.push_later(target, wait)
        else:
            self._turns.push(target)

    def _short(self) -> bool:
        """Return whether to load more: few targets in memory, or none whose host is ready."""
        since_s = self._clock.monotonic() - self._loaded
        if not self._spilled:
            return self._part.looks(len(self._turns), since_s, idle=self._idle)
        starving = self._idle and since_s > REFILL_S
        return len(self._turns) < REFILL or starving

    async def _refill(self) -> None:
        """Load more of the frontier; everything found so far has been recorded by now."""
        load = self._start.load
        if load is None or not self._open or not self._short():
            return
        held = set(self._held)  # before loading: targets may be closed while the load runs
        limit, crowded = WINDOW + len(held), tuple(self._turns.crowded(CROWD))
        targets = await load(limit, crowded)
        self._loaded = self._clock.monotonic()
        closed = {outcome.target.fp for outcome in self._draft.outcomes}
        self._spilled = len(targets) >= limit or bool(crowded) or bool(self._draft.found)
        for target in targets:
            if target.fp not in held and target.fp not in self._held and target.fp not in closed:
                self._admit(target)
        dry = not (self._tasks or self._draft.news or len(self._turns))
        if self._part.looked(self._loaded, dry=dry):
            self.nudge()

    # -- time ----------------------------------------------------------------------------

    async def _until_due(self) -> None:
        """Wait until a task ends, a host is ready or a batch is due."""
        now = self._clock.monotonic()
        if self._give_up_at is not None and now >= self._give_up_at:
            _cancel(self._tasks)
        waits = [self._batch_at() - now]
        if self._has_room():
            waits.append(self._turns.wait_s())
        if self._give_up_at is not None:
            waits.append(self._give_up_at - now if self._give_up_at > now else BATCH_S)
        if self._open and self._spec.limits.duration_s is not None and not self._part.hungry:
            waits.append(self._spec.limits.duration_s - self._draft.tally.duration_s)
        held = self._open and not self._tasks and self._lanes.held()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(waits))):
                await self._event.wait()
        self._event.clear()
        if held:
            self._lanes.waited(now)

    def _batch_at(self) -> float:
        if self._first_page is not None:
            dry = self._part.open and not (self._tasks or len(self._turns))
            return self._first_page + (0 if dry else BATCH_S)  # other shards wait for these
        if self._short() or self._part.hungry:
            return self._batched + BATCH_S  # targets must be recorded before more are loaded
        return self._batched + HEARTBEAT_S

    def _batch_due(self) -> bool:
        full = len(self._draft.outcomes) >= BATCH_PAGES
        return full or self._clock.monotonic() >= self._batch_at()

    def _batch(self, *, last: bool = False) -> Batch:
        self._tick()
        self._batched, self._first_page = self._clock.monotonic(), None
        if last and self.end is not None and self._ended_by is not None:
            # include requests that were in flight; only errors mean that the site is unreachable
            told = CrawlEnd(self.end.reason, self._ended_by.describe(self._draft.tally))
            self.end = (self._unreached() if self._ended_by.limit == "errors" else None) or told
        workload = self._lanes.workload(self._spec.max_depth, self._spec.url_retries)
        return replace(self._draft.batch(last=last), workload=workload)

    def _tick(self) -> None:
        now = self._clock.monotonic()
        self._draft.tally.duration_s += now - self._ticked
        self._ticked = now

    # -- tasks ---------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if (slot := self._slots.pop(task, None)) is not None:
            slot.give()  # the task may have been cancelled before it started
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = error
        try:
            self._dispatch()
        except Exception as error:  # noqa: BLE001 - raised again by the batch loop
            self._broken = error
        if self._broken or not self._tasks or len(self._draft.outcomes) >= BATCH_PAGES:
            self._event.set()


def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
