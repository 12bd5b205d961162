"""Job run: one claimed job or shard, from its claim to the move that ends its attempt."""

import logging
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from enum import Flag, auto
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.crawl.cookie import CookieMode
from crawlyard.core.crawl.page import ErrorKind, Target
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.attempts import AttemptEnd, Last, decide_next_state
from crawlyard.core.jobs.checkpoint import Batch, Checkpoint, Claim, Lease, Order
from crawlyard.core.jobs.job import LOSSES_KEPT, Job, damage_of
from crawlyard.core.jobs.job_log import Course
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.progress import milestones
from crawlyard.core.jobs.retry import RetryReason
from crawlyard.core.jobs.spec import Scope, Strategy
from crawlyard.core.workers.measures import Measures
from crawlyard.engine.crawl import WINDOW, Crawl
from crawlyard.engine.discovery import starts_of
from crawlyard.engine.http.cookies import CookieJar
from crawlyard.engine.http.fetch import MakeFetcher
from crawlyard.engine.http.guard import Guard, spec_guard
from crawlyard.engine.http.proxy import Proxies
from crawlyard.engine.rendering import lack_of
from crawlyard.engine.robots.cache import RobotsCache
from crawlyard.engine.shard import Part
from crawlyard.engine.site_session import ActiveSession
from crawlyard.engine.start import NO_START, CrawlEnd, Start
from crawlyard.engine.urls import fingerprint, page_key
from crawlyard.engine.visit.visitor import Tools
from crawlyard.errors import Conflict, StoreFull, StoreUnavailable
from crawlyard.services.access.cookies import Sealer
from crawlyard.services.access.policy import Policy
from crawlyard.services.workers.earlier import find_earlier_run
from crawlyard.services.workers.job_log import JobLog
from crawlyard.services.workers.lease_guard import LeaseGuard, SendPermit
from crawlyard.services.workers.leased_moves import pause_ungranted, yield_to
from crawlyard.services.workers.progress import ProgressTracker
from crawlyard.services.workers.recorder import Recorder
from crawlyard.services.workers.reporting import WorkerTotals
from crawlyard.services.workers.site_login import NoSession, how_to_go_on, session_of
from crawlyard.store.store import Store

PATIENCE_S = 60.0
"""How long to retry an unavailable store before giving up a job. The lease lapses long before
that, but the batch still counts unless another worker has claimed the job."""

FULL_PATIENCE_S = 5.0
"""How long to retry a full store before pausing the job: log rotation may free some space."""

HEARTBEAT_EVERY_S = 2.0
"""Heartbeat interval while the known URLs are read; a million of them take about a second."""

_OF_MANY_HOSTS = (Scope.SUBDOMAINS, Scope.DOMAIN)
"""Scopes in which a redirect to one host brings in others, which may be in other shards."""

_NOTHING_LEFT = (StateReason.EXHAUSTED, StateReason.START_FAILED)
"""Ends of a crawl at which no URL waits."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class WorkerContext(Struct, frozen=True):
    """Resources shared by the runs of one worker."""

    store: Store
    clock: Clock
    tools: Tools
    robots: RobotsCache
    recorder: Recorder
    progress: ProgressTracker
    agent: str  # the instance's user agent, for specs that set none
    fetcher: MakeFetcher
    sealer: Sealer
    proxy_guard: Guard = field(default_factory=Guard)  # judges addresses of proxies
    counters: WorkerTotals = field(default_factory=WorkerTotals)
    measures: Measures = field(default_factory=Measures)
    permit: SendPermit = field(default_factory=SendPermit)


class Stop(Flag):
    """Reasons for a run to stop before its crawl ends by itself."""

    DRAINED = auto()  # the worker is stopping: the job is queued again
    ORDERED = auto()  # the job no longer runs, or gives up its slot: the last batch frees the lease
    LOST = auto()  # another worker holds the lease, or may: nothing more is written


class RunState(Struct):
    """Mutable state of a run, replaced for each shard."""

    job: Job  # as last read
    answer: Checkpoint  # the store's last one: lease, usage of the job, share of its limits
    guard: LeaseGuard
    milestone: int
    is_new: bool  # nothing was recorded before
    proxies: Proxies | None = None  # None: requests are sent directly
    crawl: Crawl | None = None  # None until all it starts from has been read
    jar: CookieJar = field(default_factory=CookieJar)
    stop: Stop = Stop(0)

    @property
    def end(self) -> CrawlEnd | None:
        """The end that the crawl reached by itself, ``None`` if it didn't."""
        return self.crawl.end if self.crawl is not None else None

    @property
    def part(self) -> str:
        """The suffix that names the shard in the log; "" for a whole job."""
        lease = self.answer.lease
        return f", shard {lease.shard}/{lease.of}" if lease.shard else ""


class JobRun:
    """Crawls a claimed job under its lease.

    If the job is spread, it crawls the hosts of one shard, then of the next, while other workers
    crawl the rest. With *alone*, it stops after the first shard, which a parent process supervises.
    """

    def __init__(self, claim: Claim, context: WorkerContext, *, alone: bool = False) -> None:
        self._context = context
        self._store, self._clock = context.store, context.clock
        self._actor = f"worker:{claim.lease.worker}"
        self._alone = alone
        self._state = _begin_state(claim, context)

    @property
    def job_id(self) -> str:
        """Job that the run crawls."""
        return self._state.job.id

    @property
    def job(self) -> Job:
        """The job as last read."""
        return self._state.job

    @property
    def lease(self) -> Lease:
        """Lease as of the last checkpoint."""
        return self._state.answer.lease

    @property
    def is_lost(self) -> bool:
        """True if the store refused a write of this run."""
        return Stop.LOST in self._state.stop

    # -- interface of a run ----------------------------------------------------------------

    def may_send(self) -> bool:
        """Return whether a request may be sent now."""
        state = self._state
        return state.guard.good() and (state.proxies is None or state.proxies.any_ready)

    def apply_order(self, order: Order, asked_at: datetime) -> None:
        """Follow an order that was read from the store at *asked_at*, between checkpoints."""
        state = self._state
        was_held = not state.guard.good()
        state.guard.refresh(asked_at)
        if order is Order.LOST:
            state.guard.revoke()
        if order is Order.STOP:
            state.stop |= Stop.ORDERED
        if (crawl := state.crawl) is None:
            return
        if was_held:
            crawl.wake()
        if order is Order.STOP:
            crawl.stop()
        elif order is not Order.GO_ON:
            crawl.nudge()  # the answer to the next batch has the details

    def hold(self, is_held: bool) -> None:  # noqa: FBT001 - mirrors `SendPermit.good`
        """React when the worker's permission to send requests changes."""
        if not is_held and self._state.crawl is not None:
            self._state.crawl.nudge()

    def drain(self, within_s: float) -> None:
        """Stop and queue the job again; requests in flight get *within_s* seconds to finish."""
        self._state.stop |= Stop.DRAINED
        if self._state.crawl is not None:
            self._state.crawl.stop(within_s)

    # -- the run ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Crawl until the job ends, an operator stops it, or it is drained or lost."""
        _log.info("job %s started (attempt %d)", self.job_id, self.lease.attempt)
        await self._context.progress.notify_events_stored()
        try:
            if await self._is_refused():
                return
            while (claim := await self._crawl_shard()) is not None:
                drained = self._state.stop & Stop.DRAINED  # the worker stops after any shard
                self._state = _begin_state(claim, self._context)
                self._state.stop = drained
            pages, end = self._state.answer.usage.pages, self._state.end
            reason = end.reason.value if end is not None else "released"
            _log.info("job %s ended with %d pages: %s", self.job_id, pages, reason)
        except NoSession as error:
            await self._move(Move.PAUSE, reason=StateReason.LOGGED_OUT, detail=str(error))
        except StoreFull as error:
            # there was no room for a page, but a row can often still be updated
            await self._move(Move.PAUSE, reason=StateReason.DISK_FULL, detail=str(error))
        except StoreUnavailable:
            raise  # the lease lapses, and the job continues once the store is back
        except Exception as error:  # noqa: BLE001 - any failure must be recorded on the job
            _log.exception("job %s failed with an internal error", self.job_id)
            await self._fail(f"{type(error).__name__}: {error}"[:500])
        finally:
            self._context.progress.forget(self.job_id)
            await self._context.progress.notify_events_stored()

    async def _is_refused(self) -> bool:
        """Fail or pause the job if it cannot run; return whether it was.

        Its row is damaged, a grant that it needs was withdrawn, or there is no browser for pages
        that it must render.
        """
        policy, job = Policy(self._store), self._state.job
        if job.damaged:
            _log.error("job %s is damaged and set aside: %s", job.id, job.damaged)
            await self._move(Move.FAIL, detail=damage_of(job))
        elif missing := await self._patiently(lambda: policy.withheld(job.by_grant)):
            await self._save(*pause_ungranted(job, missing, self._clock.now(), self._actor))
        elif lack := lack_of(job.spec, self._context.tools.renderers):
            await self._move(Move.FAIL, reason=StateReason.NO_RENDERER, detail=lack)
        else:
            return False
        return True

    async def _crawl_shard(self) -> Claim | None:
        """Crawl what was claimed and settle it; return the claim of the next shard, if any."""
        state, context = self._state, self._context
        spec = state.job.spec
        proxies = state.proxies = Proxies.of(spec, context.proxy_guard, self._clock)
        timeout = timedelta(seconds=spec.timeout_s)
        fetcher = context.fetcher(spec_guard(spec), timeout, self._clock, proxies=proxies)
        try:
            start = await self._renewing(self._start())
            if start is None:
                return None
            log = await self._open_log()
            agent = spec.user_agent or context.agent
            crawl = state.crawl = Crawl(spec, agent, fetcher, context.tools, context.robots, start)
            # a session with a site that is lost at once is made anew
            state.jar.on_first = crawl.nudge
            if state.answer.share is not None:
                crawl.apply_share(state.answer.share)
            if state.stop:  # it came meanwhile
                crawl.stop(0)
            async with aclosing(crawl.batches()) as batches:
                async for batch in batches:
                    await self._record(crawl, log, batch)
                    if Stop.LOST in state.stop:
                        return None
        finally:
            await fetcher.close()
        if self.lease.shard and state.stop:
            context.tools.rate_limiter.release_unused_slots()  # for the next worker of its hosts
        return await self._settle()

    # -- start -----------------------------------------------------------------------------

    async def _start(self) -> Start | None:
        """Return the start state of the crawl, or ``None`` if the lease was lost meanwhile."""
        state, lease, frontier = self._state, self.lease, self._store.frontier
        earlier, why = await self._patiently(lambda: find_earlier_run(self._store, state.job))
        session = await self._patiently(self._session)
        start = Start(
            # each shard has a key at the host rate limiter, as its entries there end with it
            key=f"{self.job_id}/{lease.shard}" if lease.shard else self.job_id,
            usage=Usage() if lease.shard else state.answer.usage,
            load=self._load,
            may_send=state.guard.good if state.proxies is None else self.may_send,
            part=Part(lease.shard, lease.of, lease.starts),
            session=session,
            note=why if state.is_new else "",
        )
        if earlier is not None:
            before = await self._patiently(earlier.lastmods)
            start = replace(
                start, earlier=earlier.find_page, whole=earlier.compare_only, lastmods_before=before
            )
        if session is not None:
            state.jar = CookieJar.of(session.state.cookies)
        if state.is_new:  # nothing recorded yet: skipping four reads saves a small job 3 ms
            return replace(start, jar=state.jar)
        if state.job.spec.cookies is not CookieMode.OFF:
            sealer = self._context.sealer
            jar, problem = await self._patiently(lambda: sealer.jar(self.job_id))
            if session is not None:
                jar = jar.after_login(session.state.cookies, session.made_at)
            state.jar = jar
            start = replace(start, jar=state.jar, note=problem)
        known_fps = await self._known_fps()
        if Stop.LOST in state.stop:
            return None
        waiting = await self._load(WINDOW, ())
        roots = await frontier.roots(lease.job_no)
        more = self.job.spec.max_externals > 0
        externals = await frontier.externals(lease.job_no) if more else 0
        lastmods = await self._store.pages.lastmods(self.job_id) if earlier is not None else {}
        return replace(
            start,
            known=known_fps,
            waiting=waiting,
            roots=roots,
            externals=externals,
            lastmods=lastmods,
        )

    async def _session(self) -> ActiveSession | None:
        """Return the session that the job uses, ``None`` if it uses none."""
        now, sealer = self._clock.now(), self._context.sealer
        return await session_of(self._store, sealer, self._state.job, now)

    async def _known_fps(self) -> set[int]:
        """Return the fingerprints of the known URLs, renewing the lease meanwhile.

        Of a shard, these are the URLs of its hosts, and the start URLs.
        """
        fps, clock, frontier = set[int](), self._clock, self._store.frontier
        lease, beaten = self.lease, clock.monotonic()
        if lease.shard:
            seeds, sitemaps = starts_of(self.job.spec)
            ignore_query = self.job.spec.ignore_query
            starts = [page_key(url, ignore_query=ignore_query) for url in seeds]
            starts += map(fingerprint, sitemaps)
            fps |= await self._patiently(lambda: frontier.filter_known(lease.job_no, starts))
        async for chunk in frontier.read_known_fps(lease):
            fps.update(chunk)
            if clock.monotonic() - beaten >= HEARTBEAT_EVERY_S:
                await self._record_heartbeat()
                if Stop.LOST in self._state.stop:
                    break
                beaten = clock.monotonic()
        return fps

    async def _record_heartbeat(self) -> None:
        """Renew the lease before the crawl has begun."""
        state = self._state
        version = self.lease.version
        pulse = self._context.progress.observe(self.job_id, state.answer.usage)
        await self._checkpoint(Batch(pulse=replace(pulse, milestone=state.milestone)))
        # keep the old version, so that the answer to the crawl's first batch reports an edit
        state.answer = replace(state.answer, lease=replace(self.lease, version=version))

    async def _load(self, limit: int, without: Collection[str]) -> Sequence[Target]:
        """Return waiting targets from the store, except those of the hosts *without*."""
        spec, lease, crawl = self.job.spec, self.lease, self._state.crawl
        frontier, deep = self._store.frontier, spec.strategy is Strategy.DEPTH_FIRST
        targets = await self._patiently(
            lambda: frontier.load(lease, limit, depth_first=deep, without=without)
        )
        if lease.shard and targets and crawl is not None and spec.scope in _OF_MANY_HOSTS:
            # read after the load: the redirects that brought these targets in are stored by now
            crawl.add_roots(await self._patiently(lambda: frontier.roots(lease.job_no)))
        return targets

    async def _open_log(self) -> JobLog:
        """Return the job's log, which begins with a line about this attempt."""
        lease, course = self.lease, Course()
        if not self._state.is_new:
            journal = self._store.journal
            course = await self._patiently(lambda: journal.course(self.job_id))
        begun = f"started by {lease.worker}, attempt {lease.attempt}{self._state.part}"
        return JobLog(course, begun)

    # -- checkpoints -----------------------------------------------------------------------

    async def _record(self, crawl: Crawl, log: JobLog, batch: Batch) -> None:
        """Record a batch of the crawl and follow the store's answer."""
        state, progress = self._state, self._context.progress
        batch = self._complete_batch(log, batch)
        if changes := state.jar.changes():
            sealed = await self._patiently(lambda: self._context.sealer.seal_changes(changes))
            batch = replace(batch, cookies=sealed)
        await self._checkpoint(batch)
        answer = state.answer
        state.milestone = max(state.milestone, answer.milestone)
        if state.job.losses > LOSSES_KEPT and batch.pages:  # as the store did with this batch
            state.job = replace(state.job, losses=LOSSES_KEPT)
        if answer.job is not None:
            state.job = answer.job
        if answer.order is Order.LOST:
            return
        self._context.counters.count_batch(batch)
        if answer.order is Order.STOP:
            crawl.stop()
        elif answer.order is Order.CHANGED:
            crawl.change_spec(state.job.spec)
        if answer.share is not None:
            crawl.apply_share(answer.share)
        await progress.publish(state.job, answer.usage, batch.pulse, batch.current_url)
        if batch.events:
            await progress.notify_events_stored()

    def _complete_batch(self, log: JobLog, batch: Batch) -> Batch:
        """Return a batch with its pace, events and log lines."""
        state, now = self._state, self._clock.now()
        if state.proxies is not None:
            proxy_notes = state.proxies.notes(last=batch.last)
            notes = (*batch.notes, *({"note": note} for note in proxy_notes))
            workload = replace(batch.workload, proxies=state.proxies.uses())
            batch = replace(batch, notes=notes, workload=workload)
        usage = state.answer.usage.plus(batch.usage)
        pulse = self._context.progress.observe(self.job_id, usage, batch.workload)
        passed = milestones(state.job.limits, usage, pulse, state.milestone)
        milestone = max((state.milestone, *passed))
        end, ended = state.end, ""
        if end is not None and batch.last:
            ended = f"ended{state.part}: {end.reason}" + (f", {end.detail}" if end.detail else "")
        return replace(
            batch,
            pulse=replace(pulse, milestone=milestone),
            events=self._events_of(batch, usage, passed),
            log=log.lines(batch, now, ended),
            course=log.follow(batch, usage, now),
            # a crawl that ended on its own keeps its lease until it is settled
            last=batch.last and Stop.ORDERED in state.stop,
        )

    def _events_of(self, batch: Batch, usage: Usage, passed: Sequence[int]) -> tuple[Event, ...]:
        """Return the events to store with a batch: notes and progress milestones."""
        now, job = self._clock.now(), self._state.job
        events = [job.event(EventName.NOTED, now, self._actor, **note) for note in batch.notes]
        for percent in passed:
            come = {"percent": percent, "done": usage.done, "discovered": usage.discovered}
            events.append(job.event(EventName.PROGRESSED, now, self._actor, **come))
        return tuple(events)

    async def _checkpoint(self, batch: Batch) -> None:
        """Record a batch and renew the lease; the crawl continues until its backlog is full.

        Raises:
            StoreUnavailable: it was unavailable for a minute, or full for some seconds.
        """
        state, recorder, asked_at = self._state, self._context.recorder, self._clock.now()
        state.answer = await self._patiently(
            lambda: recorder.record(self.lease, batch, state.guard.extend)
        )
        if state.answer.order is Order.LOST:
            state.stop |= Stop.LOST
            return
        if state.answer.order is Order.STOP:
            state.stop |= Stop.ORDERED
        state.guard.renew(asked_at + recorder.lease, asked_at)

    async def _renewing(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of *work*, which may take longer than the lease of a shard lasts."""
        state = self._state
        recorder, leases = self._context.recorder, ((state.answer.lease, state.guard.extend),)
        # a claim may have waited for other transactions
        return await recorder.renewing(work, leases, recorder.lease - state.guard.remaining())

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Retry *work* while the store is unavailable, unless the worker is stopping."""
        began = self._clock.monotonic()
        while True:
            try:
                return await work()
            except StoreUnavailable as error:
                patience = FULL_PATIENCE_S if isinstance(error, StoreFull) else PATIENCE_S
                impatient = Stop.DRAINED in self._state.stop
                if impatient or self._clock.monotonic() - began >= patience:
                    raise
            await self._clock.sleep(timedelta(seconds=0.5))

    # -- end -------------------------------------------------------------------------------

    async def _settle(self) -> Claim | None:
        """Release the lease with the move that follows from how the crawl ended.

        Return the claim of another shard of the job, ``None`` if there is none for this worker.
        """
        state = self._state
        end = state.end
        if end is not None and end.reason is StateReason.LOGGED_OUT and not state.stop:
            name = state.job.spec.session
            detail = f"session {name} is logged out: {end.detail}; {how_to_go_on(name)}"
            await self._move(Move.PAUSE, reason=StateReason.LOGGED_OUT, detail=detail)
            return None
        if self.lease.shard:
            return await self._renewing(self._leave())
        if Stop.ORDERED in state.stop:
            # the order may have come with the answer to the last batch, which freed nothing
            await self._store.leases.free(self.lease)
            return None
        # if edited while its last pages were stored, it may no longer be at its end
        edited = state.answer.order is Order.CHANGED
        waiting = edited or state.end is None or state.end.reason not in _NOTHING_LEFT
        attempt = AttemptEnd(job=state.job, usage=state.answer.usage, waiting=waiting)
        verdict = decide_next_state(attempt, await self._last(), self._clock.now())
        await self._save(verdict.job, *verdict.events, again=verdict.again)
        return None

    async def _leave(self) -> Claim | None:
        """Release a shard; return the claim of the next one, or ``None`` if there is none."""
        state, leave, now = self._state, self._store.spread.leave, self._clock.now()
        last = await self._last()
        until = now + self._context.recorder.lease
        further = state.end is not None and not (state.stop or self._alone)
        decide = partial(decide_next_state, last=last, now=now)
        drained = Stop.DRAINED in state.stop
        return await self._patiently(
            lambda: leave(self.lease, now, until, decide, further=further, drained=drained)
        )

    async def _last(self) -> Last:
        """Return this worker's data on the end of the job."""
        end, pages = self._state.end, self._store.pages
        trouble, failed = NO_START, frozenset[ErrorKind]()
        if end is not None and end.reason is StateReason.START_FAILED:
            trouble = end.detail
        # without an end the errors may have used up their limit with the last batch
        if end is None or end.reason in {StateReason.START_FAILED, StateReason.LIMIT_ERRORS}:
            groups = await self._patiently(lambda: pages.errors(self.job_id))
            failed = frozenset(group.kind for group in groups)
        return Last(
            actor=self._actor,
            stopped=Stop.DRAINED in self._state.stop,
            trouble=trouble,
            failed=failed,
            chance=random.random(),
        )

    async def _fail(self, detail: str) -> None:
        """Queue the job for a retry after an internal error, or fail it."""
        now, job = self._clock.now(), self._state.job
        wait = job.retry_wait(RetryReason.INTERNAL_ERROR, random.random())
        if wait is None:
            await self._move(Move.FAIL, detail=detail)
        else:
            await self._save(*job.fail_attempt(now, now + wait, actor=self._actor, detail=detail))

    async def _move(self, move: Move, detail: str, reason: StateReason | None = None) -> None:
        now, job = self._clock.now(), self._state.job
        await self._save(
            *job.apply_move(move, now, actor=self._actor, reason=reason, detail=detail)
        )

    async def _save(self, job: Job, *events: Event, again: Collection[ErrorKind] = ()) -> None:
        """Save the job and release its lease, unless someone else changed it: their change wins."""
        store, lease = self._store, self.lease
        try:
            await self._patiently(lambda: store.leases.settle(lease, job, *events, again=again))
        except Conflict:
            if not lease.shard:
                await yield_to(store, self._clock, lease)
                return
            self._state.stop |= Stop.DRAINED
            await self._leave()


def _begin_state(claim: Claim, context: WorkerContext) -> RunState:
    shard, lease_s = claim.shard, context.recorder.lease
    until = shard.lease_until
    asked_at = context.clock.now() - lease_s if until is None else until - lease_s
    return RunState(
        job=claim.job,
        answer=Checkpoint(
            order=Order.GO_ON, lease=claim.lease, usage=shard.usage, share=claim.share
        ),
        guard=LeaseGuard(context.permit, context.clock, until, asked_at),
        milestone=shard.pulse.milestone,
        # a shard never counts as new: other workers may have recorded something since its claim
        is_new=shard.updated_at is None and not claim.lease.shard,
    )
