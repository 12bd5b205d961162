"""Job run: one claimed job, from its claim to the move that ends its attempt."""

import logging
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import UNREACHABLE, ErrorKind, Target
from crawlyard.core.event import Event, EventName
from crawlyard.core.jobs.checkpoint import Batch, Checkpoint, Claim, Lease, Order
from crawlyard.core.jobs.job import Job, damage_of
from crawlyard.core.jobs.job_log import Course, Level
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.progress import milestones
from crawlyard.core.jobs.retry import RetryReason
from crawlyard.core.jobs.spec import Strategy
from crawlyard.engine.crawl import WINDOW, Crawl
from crawlyard.engine.crawl_end import CrawlEnd, Start
from crawlyard.engine.http.fetch import MakeFetcher
from crawlyard.engine.http.guard import spec_guard
from crawlyard.engine.robots.cache import RobotsCache
from crawlyard.engine.visit import Tools
from crawlyard.errors import Conflict, NotFound, StoreFull, StoreUnavailable
from crawlyard.services.access.policy import Policy
from crawlyard.services.worker.grant_watch import ungranted
from crawlyard.services.worker.job_log import JobLog, lines_of, told
from crawlyard.services.worker.lease_guard import LeaseGuard, SendPermit
from crawlyard.services.worker.load_seen import known_urls
from crawlyard.services.worker.progress import ProgressTracker
from crawlyard.services.worker.recorder import Recorder
from crawlyard.services.worker.reporting import Counters
from crawlyard.store.store import Store

PATIENCE_S = 60.0
"""How long to retry an unavailable store before giving up a job. The lease lapses long before
that, but the batch still counts unless another worker has claimed the job."""

FULL_PATIENCE_S = 5.0
"""How long to retry a full store before pausing the job: log rotation may free some space."""

_TRIES = 8  # a move that loses a race is retried on a fresh read

T = TypeVar("T")

_log = logging.getLogger(__name__)


class WorkerContext(Struct, frozen=True):
    """What the runs of one worker share."""

    store: Store
    clock: Clock
    tools: Tools
    robots: RobotsCache
    recorder: Recorder
    progress: ProgressTracker
    agent: str  # the instance's user agent, for specs that set none
    fetcher: MakeFetcher
    counters: Counters = field(default_factory=Counters)
    permit: SendPermit = field(default_factory=SendPermit)


class JobRun:
    """One job's crawl under its lease."""

    def __init__(self, claim: Claim, shop: WorkerContext) -> None:
        self.lease: Lease = claim.lease
        self._job = claim.job
        # a shard never counts as new: others may have recorded something since its claim
        self._is_new = claim.shard.updated_at is None and not claim.lease.shard
        self._usage = claim.shard.usage
        self._milestone = claim.shard.pulse.milestone
        self._shop = shop
        self._actor = f"worker:{claim.lease.worker}"
        self._crawl: Crawl | None = None
        self._job_log: JobLog | None = None  # None until the stored course has been read
        self._ordered = False  # the store ordered a stop: the last batch frees the lease
        self._draining = False  # the worker is stopping: the job is queued again
        self._changed = False  # the last answer carried an edit
        self._begun = False  # the start has been logged
        self._lost = False
        self._answer: Checkpoint | None = None  # to the last heartbeat before the crawl began
        until, lease = claim.shard.lease_until, shop.recorder.lease
        asked_at = shop.clock.now() - lease if until is None else until - lease
        self._lease_guard = LeaseGuard(shop.permit, shop.clock, until, asked_at)

    @property
    def job_id(self) -> str:
        """Return the id of the job."""
        return self._job.id

    @property
    def job(self) -> Job:
        """Return the job as last read."""
        return self._job

    @property
    def part(self) -> str:
        """Return the suffix that names this run's shard in the log; "" for a whole job."""
        return ""

    def may_send(self) -> bool:
        """Return whether a request may be sent now."""
        return self._lease_guard.good()

    def obey(self, order: Order, asked_at: datetime) -> None:
        """Follow an order that was read from the store at *asked_at*, between checkpoints."""
        held = not self._lease_guard.good()
        self._lease_guard.hear(asked_at)
        if order is Order.LOST:
            self._lease_guard.revoke()
        if self._crawl is None:
            return
        if held:
            self._crawl.wake()
        if order is Order.STOP:
            self._ordered = True
            self._crawl.stop()
        elif order is not Order.GO_ON:
            self._crawl.nudge()  # the answer to the next batch has the details

    def hold(self, held: bool) -> None:  # noqa: FBT001 - mirrors `SendPermit.good`
        """React when the worker's permission to send requests changes."""
        if not held and self._crawl is not None:
            self._crawl.nudge()

    def drain(self, within_s: float) -> None:
        """Stop and queue the job again; requests in flight get *within_s* seconds to finish."""
        self._draining = True
        if self._crawl is not None:
            self._crawl.stop(within_s)

    async def run(self) -> None:
        """Crawl until the job ends, an operator stops it, or it is drained or lost."""
        _log.info("job %s begun (attempt %d)", self.job_id, self.lease.attempt)
        await self._shop.progress.happened()
        try:
            if await self._is_damaged() or await self._is_held():
                return
            await self._crawl_it()
            if not self._lost:
                await self._settle()
            end = self._crawl.end if self._crawl is not None else None
            reason = end.reason.value if end is not None else "let go"
            _log.info("job %s left with %d pages: %s", self.job_id, self._usage.pages, reason)
        except StoreFull as error:
            # there was no room for a page, but a row can often still be updated
            now = self._shop.clock.now()
            reason, detail = StateReason.DISK_FULL, str(error)
            await self._save(
                *self._job.moved(Move.PAUSE, now, actor=self._actor, reason=reason, detail=detail)
            )
        except StoreUnavailable:
            raise  # the lease lapses, and the job continues once the store is back
        except Exception as error:  # noqa: BLE001 - any failure must be recorded on the job
            _log.exception("job %s broke", self.job_id)
            await self._save(*self._failed(f"{type(error).__name__}: {error}"[:500]))
        finally:
            self._shop.progress.forget(self.job_id)
            await self._shop.progress.happened()

    async def _is_damaged(self) -> bool:
        """Fail the job if its row cannot be read; return whether it was damaged."""
        job = self._job
        if job.damaged:
            _log.error("job %s is damaged and set aside: %s", self.job_id, job.damaged)
            now, detail = self._shop.clock.now(), damage_of(job)
            await self._save(*job.moved(Move.FAIL, now, actor=self._actor, detail=detail))
        return bool(job.damaged)

    async def _is_held(self) -> bool:
        """Pause the job if a grant that it needs was withdrawn; return whether one was."""
        policy, needed = Policy(self._shop.store), self._job.by_grant
        missing = await self._patiently(lambda: policy.withheld(needed))
        if missing:
            now = self._shop.clock.now()
            await self._save(*ungranted(self._job, missing, now, self._actor))
        return bool(missing)

    async def _crawl_it(self) -> None:
        spec, shop = self._job.spec, self._shop
        fetcher = shop.fetcher(spec_guard(spec), timedelta(seconds=spec.timeout_s), shop.clock)
        agent = spec.user_agent or shop.agent
        try:
            start = await self._start()
            if start is None:
                return
            self._job_log = JobLog(await self._course())
            crawl = Crawl(spec, agent, fetcher, shop.tools, shop.robots, start)
            self._crawl = crawl
            if self._answer is not None:
                self._heard(crawl, self._answer)
            if self._draining:
                crawl.stop(0)
            async with aclosing(crawl.batches()) as batches:
                async for batch in batches:
                    await self._record(crawl, batch)
                    if self._lost:
                        return
        finally:
            await fetcher.close()

    async def _start(self) -> Start | None:
        """Return what the crawl starts from, or ``None`` if the lease was lost meanwhile."""
        start = Start(self.job_id, self._usage, load=self._load, may_send=self.may_send)
        if self._is_new:  # nothing recorded yet: skipping four reads saves a small job 3 ms
            return start
        frontier, no = self._shop.store.frontier, self.lease.job_no
        known = await known_urls(frontier.known(no), self._shop.clock, self._beat)
        if self._lost:
            return None
        waiting = await self._load(WINDOW, ())
        return replace(start, known=known, waiting=waiting, roots=await frontier.roots(no))

    async def _beat(self) -> bool:
        """Renew the lease while the known URLs are read; return whether it was still held."""
        asked_at = self._shop.clock.now()
        pulse = self._shop.progress.observe(self.job_id, self._usage)
        answer = await self._insist(Batch(pulse=replace(pulse, milestone=self._milestone)))
        # keep the old version, so that the answer to the crawl's first batch reports an edit
        self.lease = replace(answer.lease, version=self.lease.version)
        self._answer, self._lost = answer, answer.order is Order.LOST
        if not self._lost:
            self._lease_guard.renew(asked_at + self._shop.recorder.lease, asked_at)
        return not self._lost

    async def _course(self) -> Course:
        journal = self._shop.store.journal
        if self._is_new:
            return Course()
        return await self._patiently(lambda: journal.course(self.job_id))

    async def _load(self, limit: int, without: Collection[str]) -> Sequence[Target]:
        deep = self._job.spec.strategy is Strategy.DEPTH_FIRST
        frontier, no = self._shop.store.frontier, self.lease.job_no
        return await self._patiently(
            lambda: frontier.load(no, limit, depth_first=deep, without=without)
        )

    async def _record(self, crawl: Crawl, batch: Batch) -> None:
        usage = self._usage.plus(batch.usage)
        pulse = self._shop.progress.observe(self.job_id, usage, batch.workload)
        passed = milestones(self._job.limits, usage, pulse, self._milestone)
        self._milestone = max((self._milestone, *passed))
        pulse = replace(pulse, milestone=self._milestone)
        events = self._told(batch, usage, passed)
        batch = self._written_down(batch, usage)
        # a crawl that ended on its own keeps its lease until it is settled
        batch = replace(batch, pulse=pulse, events=events, last=batch.last and self._ordered)
        asked_at = self._shop.clock.now()
        answer = await self._insist(batch)
        self.lease, self._usage = answer.lease, answer.usage
        if batch.pages and self._job.losses:
            self._job = replace(self._job, losses=0)  # the store reset them with this batch
        self._changed = answer.order is Order.CHANGED
        if answer.job is not None:
            self._job = answer.job
        if answer.order is Order.LOST:
            self._lost = True
            return
        self._lease_guard.renew(asked_at + self._shop.recorder.lease, asked_at)
        self._shop.counters.recorded(batch)
        if answer.order is Order.STOP:
            self._ordered = True
            crawl.stop()
        elif answer.order is Order.CHANGED:
            crawl.change(self._job.spec)
        self._heard(crawl, answer)
        await self._shop.progress.publish(self._job, self._usage, pulse, batch.current_url)
        if events:
            await self._shop.progress.happened()

    def _heard(self, crawl: Crawl, answer: Checkpoint) -> None:
        """Handle the rest of an answer; only `ShardRun` has something to do."""

    def _written_down(self, batch: Batch, usage: Usage) -> Batch:
        """Return the batch with its log lines, and with the course if it is due."""
        now = self._shop.clock.now()
        course = self._job_log.follow(batch, usage, now) if self._job_log is not None else None
        lines = lines_of(batch, now)
        if not self._begun:
            self._begun = True
            begun = f"begun by {self.lease.worker}, attempt {self.lease.attempt}{self.part}"
            lines = (told(now, Level.INFO, begun), *lines)
        end = self._crawl.end if self._crawl is not None and batch.last else None
        if end is not None:
            ended = f"ended{self.part}: {end.reason}" + (f", {end.detail}" if end.detail else "")
            lines = (*lines, told(now, Level.INFO, ended))
        return replace(batch, log=lines, course=course)

    def _told(self, batch: Batch, usage: Usage, passed: Sequence[int]) -> tuple[Event, ...]:
        """Return the events to store with a batch: notes and progress milestones."""
        now, job = self._shop.clock.now(), self._job
        told = [job.event(EventName.NOTED, now, self._actor, **note) for note in batch.notes]
        for percent in passed:
            come = {"percent": percent, "done": usage.done, "discovered": usage.discovered}
            told.append(job.event(EventName.PROGRESSED, now, self._actor, **come))
        return tuple(told)

    async def _insist(self, batch: Batch) -> Checkpoint:
        """Record a batch, retrying while the store is unavailable.

        Meanwhile the crawl continues only until its backlog is full.

        Raises:
            StoreUnavailable: it was unavailable for a minute, or full for some seconds.
        """
        return await self._patiently(lambda: self._shop.recorder.record(self.lease, batch))

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        began = self._shop.clock.monotonic()
        while True:
            try:
                return await work()
            except StoreUnavailable as error:
                patience = FULL_PATIENCE_S if isinstance(error, StoreFull) else PATIENCE_S
                if self._draining or self._shop.clock.monotonic() - began >= patience:
                    raise
            await self._shop.clock.sleep(timedelta(seconds=0.5))

    async def _settle(self) -> None:
        """Make the move that follows from how the crawl ended, and free the lease."""
        now = self._shop.clock.now()
        end = self._crawl.end if self._crawl is not None else None
        if self._ordered:
            # the order may have come with the answer to the last batch, which freed nothing
            await self._shop.store.leases.free(self.lease)
            return
        if self._changed and not self._draining:
            # edited while its last pages were stored: it may no longer be at its end
            move, reason, detail = Move.REQUEUE, StateReason.WAITING_SLOT, ""
        elif end is None:
            move, reason, detail = Move.REQUEUE, StateReason.WORKER_STOPPED, ""
        elif end.reason is StateReason.START_FAILED:
            await self._start_failed(end)
            return
        else:
            move, reason, detail = Move.COMPLETE, end.reason, end.detail
        job, event = self._job.moved(move, now, actor=self._actor, reason=reason, detail=detail)
        await self._save(job, *self._limit_reached(end, now), event)

    def _limit_reached(self, end: CrawlEnd | None, now: datetime) -> tuple[Event, ...]:
        """Return the event for the limit that ended the crawl, if a limit did."""
        name = end.reason.value.removeprefix("limit_") if end is not None else ""
        if end is None or name == end.reason.value:
            return ()
        data = {"limit": name, "detail": end.detail}
        return (self._job.event(EventName.LIMIT_REACHED, now, self._actor, **data),)

    async def _start_failed(self, end: CrawlEnd) -> None:
        """Retry the unreachable URLs later if the site was unreachable; otherwise fail the job."""
        groups = await self._patiently(lambda: self._shop.store.pages.errors(self.job_id))
        unreachable = UNREACHABLE & {group.kind for group in groups}
        wait = self._job.retry_wait(RetryReason.START_UNREACHABLE, random.random())
        now = self._shop.clock.now()
        if wait is None or not unreachable:
            failed = self._job.moved(
                Move.FAIL, now, actor=self._actor, reason=end.reason, detail=end.detail
            )
            await self._save(*failed)
            return
        retried = self._job.failed_attempt(now, now + wait, actor=self._actor, detail=end.detail)
        await self._save(*retried, again=unreachable)

    def _failed(self, detail: str) -> tuple[Job, Event]:
        """Return the job after an internal error: queued for a retry, or failed."""
        now, job = self._shop.clock.now(), self._job
        wait = job.retry_wait(RetryReason.INTERNAL_ERROR, random.random())
        if wait is not None:
            return job.failed_attempt(now, now + wait, actor=self._actor, detail=detail)
        return job.moved(Move.FAIL, now, actor=self._actor, detail=detail)

    async def _save(self, job: Job, *events: Event, again: Collection[ErrorKind] = ()) -> None:
        settle = self._shop.store.leases.settle
        try:
            await self._patiently(lambda: settle(self.lease, job, *events, again=again))
        except Conflict:
            await yield_to(self._shop, self.lease)


async def yield_to(shop: WorkerContext, lease: Lease) -> None:
    """Release a lease after someone else changed its job; their change wins.

    A job that was only edited is still marked as running, but nobody would run it, so it is
    queued again.
    """
    actor = f"worker:{lease.worker}"
    for _ in range(_TRIES):
        try:
            standing = await shop.store.jobs.get(lease.job_id)
        except NotFound:
            return
        shard, job = standing.shard, standing.job
        if job.state is not State.RUNNING or shard.attempt != lease.attempt:
            break
        moved = job.moved(
            Move.REQUEUE, shop.clock.now(), actor=actor, reason=StateReason.WAITING_SLOT
        )
        try:
            await shop.store.leases.settle(lease, *moved)
        except Conflict:
            continue
        return
    await shop.store.leases.free(lease)
