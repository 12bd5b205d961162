"""Janitor: cancels jobs paused for too long and deletes data past its retention."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.policy import RETENTIONS, SectionName, days_of
from crawlyard.core.access.user import day_of
from crawlyard.core.endpoints.idempotency import REPLIES_LAST
from crawlyard.core.events.event import JANITOR, EventName
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, PausingStep, StateReason, due_step, ends_at, notice
from crawlyard.core.purge_result import PurgeResult
from crawlyard.core.quantity import count_noun
from crawlyard.errors import Conflict, StoreUnavailable
from crawlyard.services.workers.reporting import FORGOTTEN_AFTER
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from crawlyard.store.upkeep import UpkeepStore

SWEEP_EVERY = timedelta(minutes=10)
_SOONEST = timedelta(seconds=1)
_RETRY_EVERY = timedelta(seconds=30)  # while the store is unavailable

HOSTS_LAST = timedelta(days=1)
"""How long to keep a host after its last booking or hold ends; then it counts as new again."""

BREATH = timedelta(milliseconds=20)
"""The pause between two transactions, which lets other writers in.

A writer that waits for SQLite retries after 1, 2, 5, 10, … ms (`sqliteDefaultBusyCallback`).
"""

_BEGINNING = datetime.min.replace(tzinfo=UTC)
_JOBS = 100  # per read

_log = logging.getLogger(__name__)


class JanitorOptions(Struct, frozen=True, kw_only=True):
    """Retention periods; ``None`` means forever."""

    paused_ttl: timedelta | None = timedelta(days=7)
    retention: timedelta | None = timedelta(days=30)  # of ended jobs whose spec sets none
    events: timedelta | None = timedelta(days=90)  # also deliveries and the ticks of schedules
    audit: timedelta | None = timedelta(days=90)  # events of users, if longer than `events`
    operations: timedelta | None = timedelta(days=30)  # after they ended
    credentials: timedelta | None = timedelta(days=30)  # after they stopped being valid
    usage: timedelta | None = timedelta(days=400)  # daily usage of each user

    def of(self, name: str) -> timedelta | None:
        """Return the value of the setting *name*, one of `RETENTIONS`."""
        length: timedelta | None = getattr(self, name.removesuffix("_days"))
        return length


class Swept(Struct, frozen=True, kw_only=True):
    """Counts of what one sweep deleted or changed."""

    warned: int = 0  # jobs whose owners were warned of their cancellation
    cancelled: int = 0  # jobs
    deleted: int = 0  # jobs
    freed: PurgeResult = field(default_factory=PurgeResult)
    forgotten: int = 0  # rows of everything else

    def __bool__(self) -> bool:
        """Return whether anything was done."""
        return self != _NOTHING

    def __str__(self) -> str:
        """Return a one-line summary."""
        freed = self.freed
        room = f", {freed.bytes:,} bytes given back" if freed.bytes else ""
        room += f", about {freed.reusable:,} bytes reusable" if freed.reusable else ""
        jobs = f"{count_noun(self.warned, 'job')} warned, {self.cancelled} cancelled"
        rows = f"{count_noun(freed.rows, 'row')} freed"
        return f"swept: {jobs}, {self.deleted} deleted; {rows}, {self.forgotten} forgotten{room}"


_NOTHING = Swept()


class Janitor:
    """Keeps the store small, in small transactions.

    Any number of janitors may sweep one store at the same time.
    """

    def __init__(self, store: Store, clock: Clock, options: JanitorOptions) -> None:
        self._store = store
        self._clock = clock
        self._defaults = self._options = options
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Start the next sweep at once, if `run` runs in this process."""
        self._woken.set()

    async def run(self) -> None:
        """Sweep every ten minutes, or more often if jobs may only be paused for hours.

        Never returns: cancel it. Retries while the store is unavailable.
        """
        while True:
            every = SWEEP_EVERY
            self._woken.clear()
            try:
                swept = await self.sweep()
            except StoreUnavailable as error:
                _log.warning("the store is unavailable, sweeping later: %s", error)
                await self._clock.sleep(_RETRY_EVERY)
                continue
            if swept:
                _log.info("%s", swept)
            if self._options.paused_ttl is not None:
                every = max(_SOONEST, min(every, notice(self._options.paused_ttl) / 7))
            await self._rest(every)

    async def _rest(self, at_most: timedelta) -> None:
        """Wait for *at_most*, or until `wake` is called."""
        rest = asyncio.create_task(self._clock.sleep(at_most))
        woken = asyncio.create_task(self._woken.wait())
        try:
            await asyncio.wait((rest, woken), return_when=asyncio.FIRST_COMPLETED)
        finally:
            rest.cancel()
            woken.cancel()

    async def sweep(self) -> Swept:
        """Do everything that is due now and return what was done.

        Raises:
            StoreUnavailable: the store became unavailable; what was done stays done.
        """
        # first the steps that free space, as the others need some
        purge = await purge_all(self._store.upkeep, self._clock)
        self._options = await current_options(self._store, self._defaults)
        deleted, freed = await self._delete_expired()
        await self._store.upkeep.keep_reserve()
        warned, cancelled = await self._end_pauses()
        forgotten = await self._forget() + await self._sweep_desk()
        await self._store.upkeep.tidy()
        return Swept(
            warned=warned,
            cancelled=cancelled,
            deleted=deleted,
            freed=purge + freed,
            forgotten=forgotten,
        )

    async def _end_pauses(self) -> tuple[int, int]:
        """Warn of jobs paused for long, cancel those past their notice; return both counts."""
        ttl = self._options.paused_ttl
        done = {PausingStep.WARN: 0, PausingStep.CANCEL: 0}
        after: Job | None = None
        while ttl is not None:
            long = self._clock.now() - ttl / 2
            jobs = await self._store.upkeep.find_paused(long, _JOBS, after)
            if not jobs:
                break
            for job in jobs:
                if (step := await self._end_pause(job, ttl)) is not None:
                    done[step] += 1
            after = jobs[-1]
        return done[PausingStep.WARN], done[PausingStep.CANCEL]

    async def _end_pause(self, job: Job, ttl: timedelta) -> PausingStep | None:
        """Take the step that is due for a paused job and return it, or ``None`` for none."""
        query = EventQuery(subject=job.id, names=frozenset({EventName.EXPIRING}), since=job.since)
        warned = [event.at for event in await self._store.events.events(query)]
        now = self._clock.now()
        step = due_step(job.since, warned, ttl, now)
        if step is None:
            return None
        if step is PausingStep.WARN:
            # Raise the version although nothing in the job changes: of two janitors that
            # warn at the same time, one gets a conflict.
            changed = replace(job, version=job.version + 1)
            end = ends_at(job.since, ttl, now).isoformat()
            event = changed.event(EventName.EXPIRING, now, JANITOR, expires_at=end)
        else:
            changed, event = job.apply_move(
                Move.CANCEL,
                now,
                actor=JANITOR,
                reason=StateReason.PAUSED_TOO_LONG,
                detail=f"paused since {job.since:%Y-%m-%d %H:%M} UTC",
            )
        try:
            await self._store.jobs.save(changed, event)
        except Conflict:
            return None  # someone has just changed the job, so it is not abandoned
        await self._clock.sleep(BREATH)
        return step

    async def _delete_expired(self) -> tuple[int, PurgeResult]:
        """Delete the jobs whose retention is over; return how many, and what was freed.

        Their space is freed `_JOBS` at a time: marking 100,000 jobs takes over half an hour.
        """
        total, freed = 0, PurgeResult()
        while True:
            now = self._clock.now()
            expired = await self._store.upkeep.find_expired(now, self._options.retention, _JOBS)
            deleted = [job for job in expired if await self._delete(job, now)]
            total += len(deleted)
            if not deleted:
                return total, freed
            freed += await purge_all(self._store.upkeep, self._clock)

    async def _delete(self, job: Job, now: datetime) -> bool:
        event = job.event(EventName.DELETED, now, JANITOR, detail="its retention is over")
        try:
            await self._store.jobs.delete(job.id, job.version, event)
        except Conflict:
            return False  # it was resumed or edited: the next sweep looks again
        await self._clock.sleep(BREATH)
        return True

    async def _forget(self) -> int:
        """Delete old events, deliveries and ticks; return how many rows."""
        retention = self._options.events
        if retention is None:
            return 0
        # the warnings of a pause are needed until it ends
        now, store = self._clock.now(), self._store.upkeep
        before = now - max(retention, self._options.paused_ttl or retention)
        audit = self._options.audit
        audited = _BEGINNING if audit is None else min(before, now - audit)
        return await self._all_of(lambda: store.forget(before, audited_before=audited))

    async def _sweep_desk(self) -> int:
        """Delete expired replies, reports, hosts, operations and the like; return how many rows."""
        store, options, now = self._store, self._options, self._clock.now()
        total = await self._all_of(lambda: store.replies.sweep(now - REPLIES_LAST))
        total += await store.workers.sweep(now - FORGOTTEN_AFTER)
        total += await self._all_of(lambda: store.hosts.sweep(now - HOSTS_LAST))
        total += await self._all_of(lambda: store.robots.sweep(now))
        if (retention := options.operations) is not None:
            ended = now - retention
            total += await self._all_of(lambda: store.operations.sweep(ended))
        if (retention := options.credentials) is not None:
            useless = now - retention
            total += await self._all_of(lambda: store.credentials.sweep(useless))
        if (retention := options.usage) is not None:
            day = day_of(now - retention)
            total += await self._all_of(lambda: store.users.forget_days(day))
        return total

    async def _all_of(self, portion: Callable[[], Awaitable[int]]) -> int:
        """Call *portion* until it deletes no more rows; return how many it deleted in all."""
        total = 0
        while deleted := await portion():
            total += deleted
            await self._clock.sleep(BREATH)
        return total


async def current_options(store: Store, defaults: JanitorOptions) -> JanitorOptions:
    """Return the retention periods of the settings in the store, with *defaults* for the unset."""
    value = (await store.settings.get(SectionName.RETENTION)).value
    lengths = {n.removesuffix("_days"): days_of(value, n, defaults.of(n)) for n in RETENTIONS}
    return JanitorOptions(**lengths)


async def purge_all(upkeep: UpkeepStore, clock: Clock) -> PurgeResult:
    """Free the space of all deleted jobs, in small steps; return what was freed."""
    total = PurgeResult()
    while freed := await upkeep.purge():
        total += freed
        await clock.sleep(BREATH)
    return total
