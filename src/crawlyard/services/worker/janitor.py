"""The janitor: ends what was paused for too long, and deletes what has had its time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.policy import RETENTIONS, SectionName, days_of
from crawlyard.core.access.quota import day_of
from crawlyard.core.desk import REPLIES_LAST
from crawlyard.core.event import EventName
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.core.jobs.pausing import PausingStep, due_step, ends_at, notice
from crawlyard.core.purge_result import PurgeResult
from crawlyard.core.quantity import counted
from crawlyard.errors import Conflict, StoreUnavailable
from crawlyard.services.worker.reporting import FORGOTTEN_AFTER
from crawlyard.store.fleet.upkeep import UpkeepStore
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store

NAME = "janitor"
"""As the actor of what it does."""

SWEEP_EVERY = timedelta(minutes=10)
_SOONEST = timedelta(seconds=1)
_RETRY_EVERY = timedelta(seconds=30)  # while the store is away

HOSTS_LAST = timedelta(days=1)
"""A host of which no booking or hold has lasted to this long ago is like one never asked."""

BREATH = timedelta(milliseconds=20)
"""Between two of its transactions: others who want to write get their turn.

Who waits for SQLite looks again after 1, 2, 5, 10, … ms (`sqliteDefaultBusyCallback`).
"""

_JOBS = 100  # looked at together

_log = logging.getLogger(__name__)


class JanitorOptions(Struct, frozen=True, kw_only=True):
    """How long things are kept; ``None`` is for ever."""

    paused_ttl: timedelta | None = timedelta(days=7)
    retention: timedelta | None = timedelta(days=30)  # of ended jobs that do not say it themselves
    events: timedelta | None = timedelta(days=90)  # with deliveries and the ledgers of schedules
    operations: timedelta | None = timedelta(days=30)  # that have ended
    credentials: timedelta | None = timedelta(days=30)  # that prove nothing any more
    usage: timedelta | None = timedelta(days=400)  # what each user has used on a day

    def of(self, name: str) -> timedelta | None:
        """Return what the setting *name*, one of `RETENTIONS`, says here."""
        length: timedelta | None = getattr(self, name.removesuffix("_days"))
        return length


class Swept(Struct, frozen=True, kw_only=True):
    """What one sweep has done."""

    warned: int = 0  # jobs that will be cancelled
    cancelled: int = 0  # jobs
    deleted: int = 0  # jobs
    freed: PurgeResult = field(default_factory=PurgeResult)
    forgotten: int = 0  # rows of all else

    def __bool__(self) -> bool:
        """Tell whether there was anything to do."""
        return self != _NOTHING

    def __str__(self) -> str:
        """Return what was done, in one line."""
        freed = self.freed
        room = f", {freed.bytes:,} bytes given back" if freed.bytes else ""
        room += f", about {freed.reusable:,} bytes reusable" if freed.reusable else ""
        jobs = f"{counted(self.warned, 'job')} warned, {self.cancelled} cancelled"
        rows = f"{counted(freed.rows, 'row')} freed"
        return f"swept: {jobs}, {self.deleted} deleted; {rows}, {self.forgotten} forgotten{room}"


_NOTHING = Swept()


class Janitor:
    """Keeps the store small, in transactions that are small as well.

    Any number may sweep one store at the same time: what one does, the others find done.
    """

    def __init__(self, store: Store, clock: Clock, options: JanitorOptions) -> None:
        self._store = store
        self._clock = clock
        self._given = self._options = options
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Let the next sweep of `run`, if it runs in this process, begin at once."""
        self._woken.set()

    async def run(self) -> None:
        """Sweep every ten minutes, more often where pauses may last for hours only.

        Never returns: cancel it. While the store is away, it tries again.
        """
        while True:
            every = SWEEP_EVERY
            self._woken.clear()
            try:
                swept = await self.sweep()
            except StoreUnavailable as error:
                _log.warning("the store is away, sweeping later: %s", error)
                await self._clock.sleep(_RETRY_EVERY)
                continue
            if swept:
                _log.info("%s", swept)
            if self._options.paused_ttl is not None:
                every = max(_SOONEST, min(every, notice(self._options.paused_ttl) / 7))
            await self._rest(every)

    async def _rest(self, at_most: timedelta) -> None:
        """Return after *at_most*, or once somebody calls `wake`."""
        rest = asyncio.create_task(self._clock.sleep(at_most))
        woken = asyncio.create_task(self._woken.wait())
        try:
            await asyncio.wait((rest, woken), return_when=asyncio.FIRST_COMPLETED)
        finally:
            rest.cancel()
            woken.cancel()

    async def sweep(self) -> Swept:
        """Do all that is due now and return what that was.

        Raises:
            StoreUnavailable: the store went away; what was done stays done.
        """
        self._options = await kept(self._store, self._given)
        warned, cancelled = await self._end_pauses()
        deleted = await self._delete_expired()
        freed = await purged(self._store.upkeep, self._clock)
        forgotten = await self._forget() + await self._sweep_desk()
        await self._store.upkeep.tidy()
        return Swept(
            warned=warned, cancelled=cancelled, deleted=deleted, freed=freed, forgotten=forgotten
        )

    async def _end_pauses(self) -> tuple[int, int]:
        """Warn of jobs that have been paused for long and cancel those that were warned of."""
        ttl = self._options.paused_ttl
        done = {PausingStep.WARN: 0, PausingStep.CANCEL: 0}
        after: Job | None = None
        while ttl is not None:
            long = self._clock.now() - ttl / 2
            held = await self._store.upkeep.paused(long, _JOBS, after)
            if not held:
                break
            for job in held:
                if (step := await self._end_pause(job, ttl)) is not None:
                    done[step] += 1
            after = held[-1]
        return done[PausingStep.WARN], done[PausingStep.CANCEL]

    async def _end_pause(self, job: Job, ttl: timedelta) -> PausingStep | None:
        """Do what is due about a paused job, and return what that was."""
        query = EventQuery(subject=job.id, names=frozenset({EventName.EXPIRING}), since=job.since)
        warned = [event.at for event in await self._store.events.events(query)]
        now = self._clock.now()
        step = due_step(job.since, warned, ttl, now)
        if step is None:
            return None
        if step is PausingStep.WARN:
            # A version more, though nothing of the job has changed: of two janitors that
            # warn at the same time, one finds that it is too late.
            changed = replace(job, version=job.version + 1)
            end = ends_at(job.since, ttl, now).isoformat()
            event = changed.event(EventName.EXPIRING, now, NAME, expires_at=end)
        else:
            changed, event = job.moved(
                Move.CANCEL,
                now,
                actor=NAME,
                reason=StateReason.PAUSED_TOO_LONG,
                detail=f"paused since {job.since:%Y-%m-%d %H:%M} UTC",
            )
        try:
            await self._store.jobs.save(changed, event)
        except Conflict:
            return None  # somebody has just done something with it: it is not forgotten
        await self._clock.sleep(BREATH)
        return step

    async def _delete_expired(self) -> int:
        """Delete jobs whose retention is over; return how many."""
        total = 0
        while True:
            now = self._clock.now()
            expired = await self._store.upkeep.expired(now, self._options.retention, _JOBS)
            deleted = [job for job in expired if await self._delete(job, now)]
            total += len(deleted)
            if not deleted:
                return total

    async def _delete(self, job: Job, now: datetime) -> bool:
        event = job.event(EventName.DELETED, now, NAME, detail="its retention is over")
        try:
            await self._store.jobs.delete(job.id, job.version, event)
        except Conflict:
            return False  # resumed, or edited: the next sweep looks again
        await self._clock.sleep(BREATH)
        return True

    async def _forget(self) -> int:
        """Delete what happened long ago; return how many rows."""
        kept = self._options.events
        if kept is None:
            return 0
        # the warnings of a pause are needed to its end
        before = self._clock.now() - max(kept, self._options.paused_ttl or kept)
        return await self._all_of(lambda: self._store.upkeep.forget(before))

    async def _sweep_desk(self) -> int:
        """Delete what is left of requests, sign-ins, operations, workers and hosts; return rows."""
        store, options, now = self._store, self._options, self._clock.now()
        total = await self._all_of(lambda: store.replies.sweep(now - REPLIES_LAST))
        total += await store.workers.sweep(now - FORGOTTEN_AFTER)
        total += await self._all_of(lambda: store.hosts.sweep(now - HOSTS_LAST))
        total += await self._all_of(lambda: store.robots.sweep(now))
        if (kept := options.operations) is not None:
            ended = now - kept
            total += await self._all_of(lambda: store.operations.sweep(ended))
        if (kept := options.credentials) is not None:
            useless = now - kept
            total += await self._all_of(lambda: store.credentials.sweep(useless))
        if (kept := options.usage) is not None:
            day = day_of(now - kept)
            total += await self._all_of(lambda: store.users.forget_days(day))
        return total

    async def _all_of(self, portion: Callable[[], Awaitable[int]]) -> int:
        """Let *portion* delete rows until it finds none; return how many it did."""
        total = 0
        while gone := await portion():
            total += gone
            await self._clock.sleep(BREATH)
        return total


async def kept(store: Store, given: JanitorOptions) -> JanitorOptions:
    """Return how long things are kept: as the settings of the store say, else as *given*."""
    value = (await store.settings.get(SectionName.RETENTION)).value
    lengths = {n.removesuffix("_days"): days_of(value, n, given.of(n)) for n in RETENTIONS}
    return JanitorOptions(**lengths)


async def purged(upkeep: UpkeepStore, clock: Clock) -> PurgeResult:
    """Free the space of all deleted jobs, in small steps; return what that freed."""
    total = PurgeResult()
    while freed := await upkeep.purge():
        total += freed
        await clock.sleep(BREATH)
    return total
