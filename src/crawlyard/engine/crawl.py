"""Crawl loop: fetches the targets of one job politely and yields checkpoint batches.

It knows neither the queue nor the database. The caller records each batch before it asks
for the next one; results that arrive meanwhile are buffered, up to a bound. Everything in
one crawl runs in one event loop, so its state needs no locks.
"""

import asyncio
import logging
import math
from collections.abc import (
    AsyncGenerator,
    Coroutine,
    Iterable,
    Sequence,
)
from contextlib import suppress
from enum import Enum, auto
from functools import partial

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.crawl.page import ErrorKind, Outcome, Target, TargetState, Via
from crawlyard.core.jobs.checkpoint import Batch
from crawlyard.core.jobs.lifecycle import StateReason
from crawlyard.core.jobs.limits import reason_of
from crawlyard.core.jobs.spec import JobSpec, Strategy
from crawlyard.core.jobs.spread import Share
from crawlyard.engine.batch import BatchDraft, Tally
from crawlyard.engine.discovery import Discovery
from crawlyard.engine.extract import record
from crawlyard.engine.frontier import Frontier, HostTurns
from crawlyard.engine.hosts.politeness import Politeness
from crawlyard.engine.hosts.rate_limiter import BLOCKED, BrowserSlot, Slot
from crawlyard.engine.hosts.workload import WorkloadTracker
from crawlyard.engine.http.fetch import Fetcher, NotSent
from crawlyard.engine.recrawl import Recrawl
from crawlyard.engine.rendering import Rendering
from crawlyard.engine.robots.cache import Closed, RobotsCache
from crawlyard.engine.site_session import LoggedOut
from crawlyard.engine.start import NO_START, CrawlEnd, Start
from crawlyard.engine.urls import origin_of, path_of
from crawlyard.engine.visit.requests import RequestSender
from crawlyard.engine.visit.state import VisitAgain
from crawlyard.engine.visit.visitor import Hooks, Tools, Visitor

BATCH_PAGES = 200
BATCH_S = 0.25  # after a batch's first page; this plus the commit is what a kill can lose
HEARTBEAT_S = 2.0  # batch interval while no page arrives
WINDOW = 10_000  # targets loaded into memory; the store holds all of them
REFILL = 2_000  # load more when fewer are in memory
CROWDED_HOST = 1_000  # load no more targets of a host with this many in memory: others need room
REFILL_S = 5.0  # between two loads made because no host in memory is ready
LONG_WAIT_S = 60.0  # note it in the job's events when a host asks for a longer wait
BACKLOG = 4 * BATCH_PAGES  # pages that may wait for a slow store before fetching pauses

_log = logging.getLogger(__name__)


class Phase(Enum):
    """Phase of a crawl; only an open one sends requests."""

    OPEN = auto()
    ENDED = auto()  # by itself: an edit may lift the limit that ended it, and reopen it
    STOPPED = auto()  # by its caller


class CrawlState(Struct):
    """Mutable state of a running crawl, apart from its frontier and its draft.

    Instants are monotonic.
    """

    ticked_at: float  # the running time is counted up to this instant
    batched_at: float  # of the last batch; -inf: the next one is due at once
    spilled: bool  # the store may hold more targets than memory
    phase: Phase = Phase.OPEN
    end: CrawlEnd | None = None
    limit: str | None = None  # the limit that ended it
    error: BaseException | None = None  # an unexpected error in a task
    start_error: str = ""  # why the first start URL failed
    idle: bool = False  # requests are allowed, but no host is ready
    deferred: list[str] = field(default_factory=list)  # hosts blocked until there is room
    first_page_at: float | None = None  # of the current batch
    give_up_at: float | None = None  # when a stop cancels the requests in flight
    loaded_at: float = -math.inf
    in_memory: set[int] = field(default_factory=set)  # fingerprints; also of targets in flight
    validated: set[int] = field(default_factory=set)  # of these, checked by the current spec
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    visits: dict[Slot, asyncio.Task[None]] = field(default_factory=dict)  # targets in flight
    reusing: int = 0  # targets whose page is being read from the earlier run


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
        self._clock, self._rate_limiter = tools.clock, tools.rate_limiter
        self._start, self._part, self._owns = start, start.part, start.part.owns
        now = tools.clock.monotonic()
        self._state = CrawlState(now, now, spilled=len(start.waiting) >= WINDOW)
        self._event = asyncio.Event()  # wakes the loop
        self._draft = BatchDraft(Tally.of(start.usage), start.usage)
        self._discovery = Discovery(
            start.known,
            start.roots,
            self._draft,
            self._add_discovered,
            start.externals,
            owns=start.part.owns,
        )
        self._requests = RequestSender(agent, fetcher, tools.clock, self._draft, start)
        self._recrawl = None
        if start.earlier is not None:
            self._recrawl = Recrawl(start, start.earlier, tools.clock, self._draft, self._discovery)
        rendering = partial(
            Rendering,
            renderers=tools.renderers,
            clock=tools.clock,
            rate_limiter=tools.rate_limiter,
            permits=self,
            requests=self._requests,
            draft=self._draft,
        )
        hooks = Hooks(rendering, self._recrawl, start.session)
        self._visitor = Visitor(agent, self._requests, tools, self._discovery, hooks)
        if start.note:
            self._draft.note(start.note)
        self._turns = HostTurns(
            Frontier(spec.strategy), tools.rate_limiter, tools.clock, self._event.set
        )
        tools.rate_limiter.register_queue(start.key, self._turns.frontier.waiting)
        self._workload = WorkloadTracker(self._turns, tools.rate_limiter, tools.clock)
        self._politeness = Politeness(
            start.key,
            agent,
            tools.rate_limiter,
            robots,
            self._turns,
            send=self._requests.send,
            spawn=self._spawn,
            add_note=self._draft.note,
            add_sitemaps=self._discovery.offer_sitemaps,
        )
        self._adopt(spec)

    def _adopt(self, spec: JobSpec) -> None:
        self._spec = spec
        self._part.adopt(spec)
        self._politeness.adopt(spec)
        self._turns.max_requesting = 4 * spec.concurrency
        self._discovery.adopt(spec)
        self._requests.adopt(spec)
        self._visitor.adopt(spec)
        self._state.validated.clear()

    # -- control by the caller -----------------------------------------------------------

    @property
    def end(self) -> CrawlEnd | None:
        """The end that the crawl reached by itself, ``None`` if it was stopped or still runs."""
        return self._state.end

    def stop(self, within_s: float | None = None) -> None:
        """Send no more requests; let those in flight finish, within *within_s* seconds if given."""
        self._state.phase = Phase.STOPPED
        self._politeness.cancel()
        _cancel(task for slot, task in self._state.visits.items() if not slot.sent)
        if within_s is not None:
            self._state.give_up_at = self._clock.monotonic() + within_s
        self._event.set()

    def nudge(self) -> None:
        """Yield a batch as soon as possible, because the caller's response to it is needed."""
        self._state.batched_at = -math.inf
        self._event.set()

    def wake(self) -> None:
        """Check again whether a request may be sent."""
        self._event.set()

    def change_spec(self, spec: JobSpec) -> None:
        """Switch to an edited spec; skip waiting targets that it excludes.

        If a limit has ended the crawl and the edit lifts it, the crawl resumes.
        """
        state = self._state
        self._adopt(spec)
        if state.limit is not None:
            state.limit = state.end = None
            if state.phase is Phase.ENDED:
                state.phase = Phase.OPEN
        self._event.set()

    def add_roots(self, urls: Sequence[str]) -> None:
        """Treat *urls* as start URLs: another shard of the job was redirected to them."""
        self._discovery.add_roots(urls)

    def apply_share(self, share: Share) -> None:
        """Apply the store's reply to the last batch: the state and limits of the whole job."""
        self._part.allow(share, self._draft.reported)
        if share.over is not None and self._state.phase is Phase.OPEN:
            self._finish(CrawlEnd(reason_of(share.over)))
        self._event.set()

    # -- the loop ------------------------------------------------------------------------

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield batches of results; the caller records each one before it asks for the next.

        A batch is due at 200 pages, 250 ms after its first page or, as a heartbeat, after
        2 s without a page. The last batch is marked as such; `end` is set before it, unless
        the crawl was stopped.
        """
        try:
            self._begin()
            while not self._is_over():
                await self._wait_until_due()
                if self._is_batch_due():
                    yield self._make_batch()
                    await self._refill()
                self._dispatch()
            yield self._make_batch(last=True)
        finally:
            await self._shut_down()

    def _begin(self) -> None:
        for target in self._start.waiting:
            self._admit(target)
        self._discovery.begin()
        if self._draft.new_targets and self._part.open:
            self.nudge()  # other shards wait for their URLs
        self._dispatch()

    def _is_over(self) -> bool:
        state = self._state
        if state.error is not None:
            raise state.error
        if state.phase is not Phase.OPEN:
            # robots.txt requests wait as long as their hosts are held; cancelling loses no page
            self._politeness.cancel()
        if state.tasks:
            return False
        if state.phase is Phase.OPEN and not (len(self._turns) or state.spilled or self._part.open):
            self._finish(self._find_failed_end() or CrawlEnd(StateReason.EXHAUSTED))
        return state.phase is not Phase.OPEN

    def _find_failed_end(self) -> CrawlEnd | None:
        """Return the end of a crawl that got only errors, else ``None``."""
        if not self._draft.tally.fruitless:
            return None
        detail = self._state.start_error or self._discovery.trouble or NO_START
        return CrawlEnd(StateReason.START_FAILED, detail)

    def _finish(self, end: CrawlEnd) -> None:
        self._state.phase, self._state.end = Phase.ENDED, end
        self._event.set()

    async def _shut_down(self) -> None:
        self._state.phase = Phase.STOPPED
        tasks = tuple(self._state.tasks)
        _cancel(tasks)
        await asyncio.gather(*tasks, return_exceptions=True)
        self._rate_limiter.remove_job(self._start.key)

    # -- requests ------------------------------------------------------------------------

    def may_continue(self) -> bool:
        """Return whether pages in flight may send further requests; see `Permits`."""
        max_bytes, is_stopped = self._spec.limits.bytes, self._state.phase is Phase.STOPPED
        return not is_stopped and (max_bytes is None or self._draft.tally.bytes < max_bytes)

    async def acquire(self, url: str, *, document: bool) -> BrowserSlot:
        """Wait for a slot for a request of a rendered page; see `Permits`."""
        return await self._politeness.acquire_for_browser(url, document=document)

    def _dispatch(self) -> None:
        """Start as many requests as hosts, limits and concurrency allow."""
        self._tick()
        state = self._state
        if state.deferred and self._has_room():
            deferred, state.deferred = state.deferred, []
            for host in deferred:
                self._turns.unblock(host)
        while self._has_room():
            turn = self._turns.next(self._close_unrequested)
            state.idle = turn is None
            if turn is None:
                return
            target, slot = turn
            state.visits[slot] = self._spawn(self._visit(target, slot), slot)

    def _has_room(self) -> bool:
        """Return whether one more request may start; end the crawl if a limit is used up."""
        state = self._state
        if state.phase is not Phase.OPEN or state.error or not self._start.may_send():
            return False
        in_flight = len(state.visits) + state.reusing
        decision = self._part.decide(self._draft.tally, in_flight)
        if decision.used_up and decision.limit is not None:
            state.limit = decision.limit
            self._finish(CrawlEnd(reason_of(decision.limit), decision.detail))
        busy = in_flight + len(self._politeness) >= self._spec.concurrency
        return decision.allowed and not busy and len(self._draft.outcomes) < BACKLOG

    def _defer(self, host: str) -> None:
        """Block *host* until there is room for another request."""
        self._turns.block(host)
        self._state.deferred.append(host)

    def _close_unrequested(self, target: Target) -> bool:
        """Close *target* if it needs no request; return whether it was closed, or will be."""
        outcome = self._known_outcome(target)
        if outcome is None and self._turns.is_blocked(target.host):
            return False  # until its robots.txt is fetched
        recrawl = self._recrawl
        needs_request = outcome is None and (recrawl is None or not recrawl.may_reuse(target))
        if needs_request and not self._state.reusing:
            return False
        if not self._has_room():  # targets that are being reused may have used up the limit
            self._defer(target.host)
            return False
        if outcome is not None:
            self._close(outcome)
        elif recrawl is not None and not needs_request:
            self._state.reusing += 1
            self._spawn(self._reuse(recrawl, target))
        return not needs_request

    async def _reuse(self, recrawl: Recrawl, target: Target) -> None:
        """Close *target* with its page of the earlier run, or return it to the queue."""
        outcome = None
        try:
            outcome = await recrawl.reuse(target)
        finally:
            self._state.reusing -= 1
        if outcome is None:
            self._turns.push(target)
        else:
            self._close(outcome)

    def _known_outcome(self, target: Target) -> Outcome | None:
        """Return the outcome of *target* if it is known without a request, else ``None``."""
        if self._rate_limiter.is_blocked(target.host):
            return Outcome(target, TargetState.SKIPPED, rule=BLOCKED)
        if target.fp not in self._state.validated:  # the spec may have been edited since
            rule = self._discovery.verdict(target)
            if rule is not None:
                return Outcome(target, TargetState.SKIPPED, rule=rule)
        if self._spec.ignore_robots:
            return None
        origin = origin_of(target.url)
        rules = self._politeness.rules_of(origin, target.host)
        if isinstance(rules, Closed):
            return record.failure_outcome(target, rules.kind, rules.detail, self._clock.now())
        if rules is not None:
            line = rules.verdict(path_of(target.url))
            skipped = TargetState.SKIPPED
            return None if line is None else Outcome(target, skipped, rule=f"robots: {line}")
        # at most 3/4 of the requests may be for robots.txt, so that slow ones don't block pages
        max_requests = max(1, 3 * self._spec.concurrency // 4)
        if len(self._politeness) >= max_requests or not self._has_room():
            self._defer(target.host)
        else:
            self._politeness.begin(origin, target.host)
        return None

    async def _visit(self, target: Target, slot: Slot) -> None:
        self._draft.current_url = target.url
        began = self._clock.monotonic()
        try:
            outcome = await self._visitor.visit(target, slot)
        except NotSent:
            self._turns.push(target)
            return
        except VisitAgain:
            self._turns.push_first(target)
            return
        except LoggedOut as logged_out:
            self._turns.push(target)
            if self._state.phase is Phase.OPEN:
                self._finish(CrawlEnd(StateReason.LOGGED_OUT, str(logged_out)))
            return
        except Exception as error:  # noqa: BLE001 - one page must not end a crawl
            _log.exception("a page could not be handled: %s", target.url)
            detail = f"{type(error).__name__}: {error}"[:500]
            outcome = record.failure_outcome(target, ErrorKind.INTERNAL, detail, self._clock.now())
        finally:
            self._state.visits.pop(slot, None)
        took_s = self._clock.monotonic() - began
        self._workload.add_request(took_s)
        if outcome.state is TargetState.WAITING:
            self._workload.add_failure(outcome.target, took_s)
        self._close(outcome)

    def _close(self, outcome: Outcome) -> None:
        """Add *outcome* to the batch; its target waits again or leaves memory."""
        state, target, page = self._state, outcome.target, outcome.page
        self._draft.close(outcome)
        if outcome.state is TargetState.WAITING:
            now = self._clock.now()
            wait_s = ((target.due_at or now) - now).total_seconds()
            if wait_s > LONG_WAIT_S:
                note = f"next request to {target.host} in {wait_s:.0f} s, after a refusal or errors"
                self._draft.note(note)
            self._turns.push_later(target, wait_s)
        else:
            state.in_memory.discard(target.fp)
            state.validated.discard(target.fp)
            self._workload.close(target, failed=page is not None and page.error is not None)
        is_start = target.via in (Via.SEED, Via.SITEMAP)
        # a redirect's problem is reported by the target that it leads to
        if is_start and outcome.state is not TargetState.REDIRECTED and not state.start_error:
            error = page.error if page is not None else None
            why = error.detail if error is not None else outcome.rule
            state.start_error = f"{target.url}: {why}" if why else ""
        if state.first_page_at is None:
            state.first_page_at = self._clock.monotonic()
            self._event.set()

    def _spawn(
        self, work: Coroutine[object, object, None], slot: Slot | None = None
    ) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._state.tasks.add(task)
        task.add_done_callback(partial(self._on_task_end, slot))
        return task

    def _on_task_end(self, slot: Slot | None, task: asyncio.Task[None]) -> None:
        state = self._state
        state.tasks.discard(task)
        if slot is not None:  # the task may have been cancelled before it started
            state.visits.pop(slot, None)
            slot.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            state.error = error
        try:
            self._dispatch()
        except Exception as error:  # noqa: BLE001 - raised again by the batch loop
            state.error = error
        if state.error or not state.tasks or len(self._draft.outcomes) >= BATCH_PAGES:
            self._event.set()

    # -- the frontier in memory ----------------------------------------------------------

    def _add_discovered(self, target: Target) -> None:
        state = self._state
        if self._owns is not None and not self._owns(target.host):
            return  # another shard owns it, and loads it from the store
        # depth-first crawls continue with the URL found last, so it must stay in memory
        deep = self._spec.strategy is Strategy.DEPTH_FIRST
        if deep or (not state.spilled and len(self._turns) < WINDOW):
            state.validated.add(target.fp)
            self._admit(target)
        else:
            state.spilled = True  # keep the order: the store already holds targets found earlier

    def _admit(self, target: Target) -> None:
        self._state.in_memory.add(target.fp)
        self._workload.add(target)
        self._discovery.add_known(target)
        self._politeness.register(target.host)
        wait_s = (target.due_at - self._clock.now()).total_seconds() if target.due_at else 0.0
        if wait_s > 0:
            self._turns.push_later(target, wait_s)
        else:
            self._turns.push(target)

    def _needs_targets(self) -> bool:
        """Return whether to load more: few targets in memory, or none whose host is ready."""
        state, in_memory = self._state, len(self._turns)
        since_s = self._clock.monotonic() - state.loaded_at
        if not state.spilled:
            return self._part.should_load(in_memory, since_s, idle=state.idle)
        return in_memory < REFILL or (state.idle and since_s > REFILL_S)

    async def _refill(self) -> None:
        """Load more of the frontier; all URLs found before are recorded already."""
        state, load = self._state, self._start.load
        if load is None or state.phase is not Phase.OPEN or not self._needs_targets():
            return
        # before loading, as targets may be closed while the load runs
        fps_before = set(state.in_memory)
        limit = WINDOW + len(fps_before)
        crowded = tuple(self._turns.frontier.hosts_with(CROWDED_HOST))
        targets = await load(limit, crowded)
        state.loaded_at = self._clock.monotonic()
        closed = {outcome.target.fp for outcome in self._draft.outcomes}
        state.spilled = len(targets) >= limit or bool(crowded) or bool(self._draft.new_targets)
        for target in targets:
            if (
                target.fp not in fps_before
                and target.fp not in state.in_memory
                and target.fp not in closed
            ):
                self._admit(target)
        is_empty = not (state.tasks or self._draft.has_news or len(self._turns))
        if self._part.record_load(state.loaded_at, is_empty=is_empty):
            self.nudge()

    # -- time ----------------------------------------------------------------------------

    async def _wait_until_due(self) -> None:
        """Wait until a task ends, a host is ready or a batch is due."""
        state, now = self._state, self._clock.monotonic()
        waits = [self._next_batch_at() - now]
        if self._has_room():
            waits.append(self._turns.wait_s())
        is_open, give_up_at = state.phase is Phase.OPEN, state.give_up_at
        if give_up_at is not None:
            if now >= give_up_at:
                _cancel(state.tasks)
            waits.append(give_up_at - now if give_up_at > now else BATCH_S)
        if is_open and self._spec.limits.duration_s is not None and not self._part.wants_more:
            waits.append(self._spec.limits.duration_s - self._draft.tally.duration_s)
        is_held = is_open and not state.tasks and self._workload.is_held()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(waits))):
                await self._event.wait()
        self._event.clear()
        if is_held:
            self._workload.add_hold(now)

    def _next_batch_at(self) -> float:
        """Return the time at which the next batch is due."""
        state, part = self._state, self._part
        if state.first_page_at is not None and state.batched_at > -math.inf:
            is_empty = part.open and not (state.tasks or len(self._turns))
            # other shards wait for these pages
            return state.first_page_at + (0 if is_empty else BATCH_S)
        if self._needs_targets() or part.wants_more:
            return state.batched_at + BATCH_S  # targets must be recorded before more are loaded
        return state.batched_at + HEARTBEAT_S

    def _is_batch_due(self) -> bool:
        full = len(self._draft.outcomes) >= BATCH_PAGES
        return full or self._clock.monotonic() >= self._next_batch_at()

    def _make_batch(self, *, last: bool = False) -> Batch:
        """Return the results since the last batch."""
        self._tick()
        state, tally = self._state, self._draft.tally
        state.batched_at, state.first_page_at = self._clock.monotonic(), None
        if last and state.limit is not None:
            # include requests that were in flight; only errors mean that the site is unreachable
            detail = self._part.limiter.describe(state.limit, tally)
            limit_end = CrawlEnd(reason_of(state.limit), detail)
            state.end = (self._find_failed_end() if state.limit == "errors" else None) or limit_end
        workload = self._workload.workload(self._spec.max_depth, self._spec.url_retries)
        return replace(self._draft.batch(last=last), workload=workload)

    def _tick(self) -> None:
        """Count the running time until now."""
        now = self._clock.monotonic()
        self._draft.tally.duration_s += now - self._state.ticked_at
        self._state.ticked_at = now


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tuple(tasks):
        task.cancel()
