"""The janitor: cancelled, deleted and retained rows, over every store, with a fake clock."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select

from crawlyard.core.access.credential import CredentialKind
from crawlyard.core.access.policy import SectionName
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.hosts.hosts import RobotsFile
from crawlyard.core.jobs.checkpoint import Batch, Booking
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.operations.operation import OperationState
from crawlyard.core.purge_result import PurgeResult
from crawlyard.core.quantity import FOREVER_S
from crawlyard.errors import NotFound, StoreUnavailable
from crawlyard.services.upkeep.janitor import BREATH, SWEEP_EVERY, Janitor, JanitorOptions, Swept
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from crawlyard.store.tables.jobs import jobs
from crawlyard.store.tables.tallies import tally_steps
from crawlyard.store.upkeep import UpkeepStore
from tests.builders import NOW, a_job, a_spec, its_event
from tests.builders_serve import a_reply, a_report, a_section, an_operation, stored_credential
from tests.clock import FakeClock, settle
from tests.conformance.conftest import Backend
from tests.conformance.purging import deleted, with_pages
from tests.conformance.steps import added, claimed, database_of, in_state, moved, recorded
from tests.docs import undocumented

T = TypeVar("T")

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def janitor(store: Store, clock: FakeClock) -> Janitor:
    return Janitor(store, clock, JanitorOptions())


async def done(clock: FakeClock, work: Coroutine[Any, Any, T]) -> T:
    """Return what *work* returned; its sleeps pass as fast as the store answers."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await clock.advance(BREATH)
    return await task


async def sweep(janitor: Janitor, clock: FakeClock, after: timedelta = timedelta(0)) -> Swept:
    """Let time pass and sweep."""
    await clock.advance(after)
    return await done(clock, janitor.sweep())


async def paused(store: Store, **fields: Any) -> Job:
    return await added(store, in_state(State.PAUSED, since=NOW, **fields))


async def ended(store: Store, at: datetime, retention_s: float | None = None) -> Job:
    spec = a_spec(retention_s=retention_s)
    return await added(store, in_state(State.COMPLETED, spec=spec, ended_at=at))


async def events_of(store: Store, job: Job) -> list[Event]:
    events = (await store.events.events(EventQuery(subject=job.id)))[1:]
    assert undocumented(events) == []
    return events


async def there(store: Store, job: Job) -> bool:
    try:
        await store.jobs.get(job.id)
    except NotFound:
        return False
    return True


class TestPauses:
    async def test_a_job_paused_too_long_is_warned_of_twice_and_cancelled(
        self, store: Store, clock: FakeClock, janitor: Janitor
    ) -> None:
        job = await paused(store)
        days = [await sweep(janitor, clock, DAY / 2) for _ in range(13)]
        assert (await store.jobs.get(job.id)).job == replace(job, version=job.version + 2)

        days += [await sweep(janitor, clock, DAY / 2) for _ in range(2)]

        assert [n / 2 for n, swept in enumerate(days, 1) if swept.warned] == [3.5, 6]
        assert [n / 2 for n, swept in enumerate(days, 1) if swept.cancelled] == [7]
        after = (await store.jobs.get(job.id)).job
        assert (after.state, after.state_reason) == (State.CANCELLED, StateReason.PAUSED_TOO_LONG)
        assert after.detail == "paused since 2026-01-02 03:04 UTC"
        events = await events_of(store, job)
        assert [(e.name, e.actor) for e in events] == [
            ("job.expiring", "janitor"),
            ("job.expiring", "janitor"),
            ("job.cancelled", "janitor"),
        ]
        assert events[0].data["expires_at"] == (NOW + 7 * DAY).isoformat()

    async def test_it_is_cancelled_a_day_after_the_last_warning_however_late_that_came(
        self, store: Store, clock: FakeClock, janitor: Janitor
    ) -> None:
        job = await paused(store)

        late = await sweep(janitor, clock, 30 * DAY)
        soon = await sweep(janitor, clock, DAY - HOUR)
        then = await sweep(janitor, clock, HOUR)

        assert (late.warned, late.cancelled) == (1, 0)
        assert (soon.warned, soon.cancelled) == (0, 0)
        assert (then.warned, then.cancelled) == (0, 1)
        assert len(await events_of(store, job)) == 2

    async def test_the_pause_limit_restarts_for_a_job_that_is_paused_again(
        self, store: Store, clock: FakeClock, janitor: Janitor
    ) -> None:
        job = await paused(store)
        await sweep(janitor, clock, 6 * DAY)
        for move in (Move.RESUME, Move.PAUSE):
            now = (await store.jobs.get(job.id)).job
            await store.jobs.save(*now.apply_move(move, clock.now(), actor="ada"))

        quiet = await sweep(janitor, clock, 3 * DAY)
        warned = await sweep(janitor, clock, DAY)

        assert (quiet.warned, quiet.cancelled, warned.warned) == (0, 0, 1)

    async def test_more_paused_jobs_than_are_looked_at_together_are_all_seen_to(
        self, store: Store, clock: FakeClock, janitor: Janitor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("crawlyard.services.upkeep.janitor._JOBS", 3)
        for _ in range(8):
            await paused(store)

        warned = await sweep(janitor, clock, 6 * DAY)
        again = await sweep(janitor, clock, HOUR)
        cancelled = await sweep(janitor, clock, DAY)

        assert (warned.warned, again.warned, cancelled.cancelled) == (8, 0, 8)

    async def test_its_warnings_outlive_the_events_that_are_kept_for_a_shorter_time(
        self, store: Store, clock: FakeClock
    ) -> None:
        await paused(store)
        janitor = Janitor(store, clock, JanitorOptions(events=HOUR))

        days = []
        for _ in range(15):
            days.append(await sweep(janitor, clock, DAY / 2))
            await added(store)  # else a warning would stay as the newest event

        assert sum(swept.warned for swept in days) == 2
        assert sum(swept.cancelled for swept in days) == 1

    @pytest.mark.parametrize("days", [3.5, 6, 7])
    async def test_who_resumes_at_the_same_moment_is_never_too_late(
        self, store: Store, clock: FakeClock, days: float
    ) -> None:
        job = await paused(store)
        resuming = Meanwhile(store, clock, job.id)
        janitor = Janitor(store.with_parts(jobs=resuming), clock, JanitorOptions())
        for _ in range(int(days * 2)):
            resuming.now = clock.now() >= NOW + days * DAY - DAY / 2
            await sweep(janitor, clock, DAY / 2)

        after = (await store.jobs.get(job.id)).job
        assert after.state is State.PENDING
        assert [e.name for e in await events_of(store, job)][-1] == EventName.RESUMED

    async def test_without_a_limit_a_pause_lasts_for_ever(
        self, store: Store, clock: FakeClock
    ) -> None:
        await paused(store)
        janitor = Janitor(store, clock, JanitorOptions(paused_ttl=None))
        swept = await sweep(janitor, clock, 1000 * DAY)
        assert (swept.warned, swept.cancelled) == (0, 0)


class Meanwhile:
    """The jobs of a store; one is resumed just before it is saved."""

    def __init__(self, store: Store, clock: FakeClock, job_id: str) -> None:
        self.now = False
        self._jobs = store.jobs
        self._clock = clock
        self._job_id = job_id

    def __getattr__(self, name: str) -> object:
        return getattr(self._jobs, name)

    async def save(self, job: Job, *events: Event) -> None:
        if self.now:
            self.now = False
            before = (await self._jobs.get(self._job_id)).job
            await self._jobs.save(*before.apply_move(Move.RESUME, self._clock.now(), actor="ada"))
        await self._jobs.save(job, *events)

    async def delete(self, job_id: str, version: int, event: Event) -> None:
        if self.now:
            self.now = False
            before = (await self._jobs.get(self._job_id)).job
            await self._jobs.save(*before.apply_move(Move.RESUME, self._clock.now(), actor="ada"))
        await self._jobs.delete(job_id, version, event)


class TestRetention:
    async def test_who_resumes_a_job_at_the_same_moment_keeps_it(
        self, store: Store, clock: FakeClock
    ) -> None:
        job = await ended(store, NOW - 31 * DAY)
        resuming = Meanwhile(store, clock, job.id)
        janitor = Janitor(store.with_parts(jobs=resuming), clock, JanitorOptions())
        resuming.now = True

        swept = await sweep(janitor, clock)

        assert swept.deleted == 0
        assert (await store.jobs.get(job.id)).job.state is State.PENDING

    async def test_ended_jobs_go_with_their_pages_when_their_time_is_over(
        self, store: Store, clock: FakeClock, janitor: Janitor
    ) -> None:
        old, young = await ended(store, NOW - 31 * DAY), await ended(store, NOW - 29 * DAY)
        eternal, soon = (
            await ended(store, NOW, FOREVER_S),
            await ended(store, NOW, HOUR.total_seconds()),
        )

        first = await sweep(janitor, clock)
        then = await sweep(janitor, clock, 100 * DAY)

        assert (first.deleted, then.deleted) == (1, 2)
        assert first.freed.rows >= 1
        remaining = [job for job in (old, young, eternal, soon) if await there(store, job)]
        assert remaining == [eternal]

    async def test_a_deletion_is_an_event_with_a_reason(
        self, store: Store, clock: FakeClock, janitor: Janitor
    ) -> None:
        job = await ended(store, NOW - 31 * DAY)
        await sweep(janitor, clock)
        [event] = await events_of(store, job)
        assert (event.name, event.actor) == (EventName.DELETED, "janitor")
        assert event.data["detail"] == "its retention is over"

    async def test_more_than_are_looked_at_together_go_in_one_sweep(
        self, store: Store, clock: FakeClock, janitor: Janitor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("crawlyard.services.upkeep.janitor._JOBS", 3)
        for _ in range(8):
            await ended(store, NOW - 31 * DAY)
        swept = await sweep(janitor, clock)
        assert swept.deleted == 8

    async def test_space_is_freed_while_other_jobs_still_wait_to_be_deleted(
        self, store: Store, clock: FakeClock, janitor: Janitor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("crawlyard.services.upkeep.janitor._JOBS", 3)
        for _ in range(9):
            await ended(store, NOW - 31 * DAY)
        rows = select(func.count()).select_from(jobs)
        marked = rows.where(jobs.c.deleted_at.is_not(None))
        sweeping = asyncio.ensure_future(janitor.sweep())
        most = 0

        while not sweeping.done():
            most = max(most, await database_of(store).read(lambda conn: conn.scalar(marked)) or 0)
            await clock.advance(BREATH)

        assert (await sweeping).deleted == 9
        assert most == 3
        assert await database_of(store).read(lambda conn: conn.scalar(rows)) == 0

    async def test_for_ever_keeps_them(self, store: Store, clock: FakeClock) -> None:
        await ended(store, NOW - 1000 * DAY)
        janitor = Janitor(store, clock, JanitorOptions(retention=None))
        swept = await sweep(janitor, clock)
        assert swept.deleted == 0

    async def test_the_room_of_a_job_that_a_user_deleted_is_freed_too(
        self, store: Store, clock: FakeClock, janitor: Janitor
    ) -> None:
        await deleted(store, (await with_pages(store, 1200)).job)
        swept = await sweep(janitor, clock)
        assert swept.freed.rows >= 3 * 1200
        assert not await store.upkeep.purge()


class TestEvents:
    async def test_what_happened_long_ago_is_forgotten(
        self, store: Store, clock: FakeClock, janitor: Janitor
    ) -> None:
        for days in (92, 91, 89, 0):
            job = a_job()
            await store.jobs.add(job, replace(its_event(job), at=NOW - days * DAY))
        swept = await sweep(janitor, clock)
        assert swept.forgotten == 2
        assert len(await store.events.events()) == 2

    async def test_events_of_users_are_kept_as_long_as_the_audit_log(
        self, store: Store, clock: FakeClock
    ) -> None:
        for actor in ("local", "worker:w1", "local"):
            job = a_job()
            await store.jobs.add(job, replace(its_event(job), at=NOW - 40 * DAY, actor=actor))
        for audit, forgotten in ((None, 1), (90 * DAY, 0), (35 * DAY, 1), (DAY, 0)):
            options = JanitorOptions(events=30 * DAY, audit=audit)
            swept = await sweep(Janitor(store, clock, options), clock)
            assert swept.forgotten == forgotten, audit
        assert len(await store.events.events()) == 1  # the newest

    async def test_for_ever_keeps_it(self, store: Store, clock: FakeClock) -> None:
        for _ in range(3):
            await added(store)
        janitor = Janitor(store, clock, JanitorOptions(events=None))
        swept = await sweep(janitor, clock, 1000 * DAY)
        assert swept.forgotten == 0

    @pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
    async def test_jobs_are_counted_all_the_same(self, store: Store, clock: FakeClock) -> None:
        await added(store)
        await sweep(Janitor(store, clock, JanitorOptions(events=None)), clock)
        steps = select(func.count(tally_steps.c.no))
        step_count = await database_of(store).read(lambda conn: conn.scalar(steps))
        assert step_count == 0
        assert sum((await store.jobs.counts()).values()) == 1


class TestLeftovers:
    async def test_each_kind_goes_when_it_has_had_its_time_and_no_sooner(
        self, store: Store, clock: FakeClock
    ) -> None:
        at = NOW + HOUR  # so that the breaths of the sweeps before do not matter
        for kind in CredentialKind:
            await stored_credential(store, kind, expires_at=at)
        token = await stored_credential(store)
        await store.credentials.revoke(token.id, at)
        good = await stored_credential(store)
        await store.operations.add(an_operation(state=OperationState.COMPLETED, ended_at=at))
        running = an_operation()
        await store.operations.add(running)
        await store.workers.save_heartbeat(a_report(beat_at=at))
        await store.hosts.book([Booking(host="h", every_s=1)], at)
        robots_file = RobotsFile(origin="http://h", status=404, fetched_at=NOW, expires_at=at)
        await store.robots.save(
            [robots_file, replace(robots_file, origin="http://i", expires_at=at + 90 * DAY)]
        )
        await store.replies.begin(a_reply(created_at=at), NOW, NOW)
        await used_today(store)
        options = JanitorOptions(
            operations=3 * DAY, credentials=5 * DAY, usage=7 * DAY, events=None
        )
        janitor = Janitor(store, clock, options)

        ages: dict[float, int] = {}
        for n in range(20):
            swept = await sweep(janitor, clock, DAY / 2 if n else timedelta(0))
            ages |= {n / 2: swept.forgotten} if swept.forgotten else {}

        # a robots.txt; a reply, a worker and a host; the operation; the revoked one; those
        # expired ones; the day
        assert ages == {0.5: 1, 1.5: 3, 3.5: 1, 5.5: len(CredentialKind) + 1, 8.0: 1}
        assert await store.credentials.find(None, CredentialKind.TOKEN, None, 9) == [good]
        assert await store.operations.find(None, None, 9) == [running]

    async def test_for_ever_keeps_what_has_a_setting(self, store: Store, clock: FakeClock) -> None:
        await stored_credential(store, expires_at=NOW)
        await store.operations.add(an_operation(state=OperationState.COMPLETED, ended_at=NOW))
        await used_today(store)
        options = JanitorOptions(operations=None, credentials=None, usage=None, events=None)
        swept = await sweep(Janitor(store, clock, options), clock, 1000 * DAY)
        assert swept.forgotten == 0

    async def test_an_admin_says_how_long_while_the_yard_runs(
        self, store: Store, clock: FakeClock, janitor: Janitor
    ) -> None:
        ended = an_operation(state=OperationState.COMPLETED, ended_at=NOW + HOUR)
        await store.operations.add(ended)
        value = {"operations_days": 1.0}
        await store.settings.save(a_section(name=SectionName.RETENTION.value, value=value))

        early = await sweep(janitor, clock, DAY)
        late = await sweep(janitor, clock, HOUR)

        assert (early.forgotten, late.forgotten) == (0, 1)

    async def test_many_go_in_small_transactions_with_a_breath_between(
        self, clock: FakeClock
    ) -> None:
        store = open_in_memory()
        for n in range(2500):
            await store.replies.begin(a_reply(key=str(n), created_at=NOW), NOW, NOW)
        await clock.advance(2 * DAY)
        before = clock.now()

        swept = await done(clock, Janitor(store, clock, JanitorOptions()).sweep())

        assert swept.forgotten == 2500
        assert clock.now() - before >= 3 * BREATH


async def used_today(store: Store) -> None:
    """Complete a job with one page, so that its owner's quota counts it."""
    job = await added(store)
    claim = await claimed(store, job)
    await recorded(store, claim.lease, Batch(usage=Usage(pages=1)))
    await moved(store, job.id, Move.COMPLETE)


async def test_two_janitors_at_once_do_everything_once(
    store: Store, backend: Backend, clock: FakeClock
) -> None:
    other = await backend.open()
    janitors = [Janitor(each, clock, JanitorOptions()) for each in (store, other)]
    jobs = [await paused(store) for _ in range(5)]
    for _ in range(5):
        await ended(store, NOW - 25 * DAY)
    await clock.advance(6 * DAY)

    async def together() -> list[Swept]:
        return await asyncio.gather(*(janitor.sweep() for janitor in janitors))

    first = await done(clock, together())
    await clock.advance(DAY)
    second = await done(clock, together())
    if backend.sql:
        await other.close()

    assert sum(swept.warned for swept in first) == 5
    assert sum(swept.deleted for swept in first) == 5
    assert sum(swept.cancelled for swept in second) == 5
    assert [len(await events_of(store, job)) for job in jobs] == [2] * 5


class Frail:
    """The upkeep of a store that can be unavailable."""

    def __init__(self, inner: UpkeepStore) -> None:
        self.away = False
        self.calls = 0
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def purge(self, rows: int = 1000) -> PurgeResult:
        self.calls += 1
        if self.away:
            raise StoreUnavailable("the database is away")
        return await self._inner.purge(rows)


class Steps(Frail):
    """An upkeep with three purge steps, as on Postgres."""

    def __init__(self, inner: UpkeepStore, clock: FakeClock) -> None:
        super().__init__(inner)
        self.at: list[datetime] = []
        self._clock = clock

    async def purge(self, rows: int = 1000) -> PurgeResult:
        self.at.append(self._clock.now())
        return PurgeResult(10, reusable=1000) if len(self.at) <= 3 else await super().purge(rows)


class TestSweep:
    """Sweeps over a store in memory, which never waits."""

    @pytest.fixture
    def frail(self) -> Frail:
        return Frail(open_in_memory().upkeep)

    @pytest.fixture
    def memory(self, frail: Frail) -> Store:
        return open_in_memory().with_parts(upkeep=frail)

    async def test_it_sweeps_at_once_and_then_every_ten_minutes(
        self, memory: Store, frail: Frail, clock: FakeClock
    ) -> None:
        running = asyncio.create_task(Janitor(memory, clock, JanitorOptions()).run())
        await settle()
        at_once = frail.calls
        await clock.advance(6 * SWEEP_EVERY)
        assert (at_once, frail.calls) == (1, 7)
        await ended_by_cancel(running)

    async def test_it_looks_more_often_where_pauses_are_short(
        self, memory: Store, frail: Frail, clock: FakeClock
    ) -> None:
        options = JanitorOptions(paused_ttl=49 * timedelta(minutes=1))
        running = asyncio.create_task(Janitor(memory, clock, options).run())
        await clock.advance(SWEEP_EVERY)
        assert frail.calls == 11  # each minute: a seventh of the seventh before the end
        await ended_by_cancel(running)

    async def test_it_goes_on_when_the_store_is_back(
        self, memory: Store, frail: Frail, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        frail.away = True
        running = asyncio.create_task(Janitor(memory, clock, JanitorOptions()).run())
        await clock.advance(timedelta(minutes=1))
        tried = frail.calls

        frail.away = False
        await clock.advance(timedelta(seconds=30))

        assert tried == 3
        assert "the store is unavailable, sweeping later: the database is away" in caplog.text
        assert frail.calls == tried + 1
        await ended_by_cancel(running)

    async def test_others_get_their_turn_between_two_steps_of_a_purge(
        self, clock: FakeClock
    ) -> None:
        steps = Steps(open_in_memory().upkeep, clock)
        memory = open_in_memory().with_parts(upkeep=steps)
        await sweep(Janitor(memory, clock, JanitorOptions()), clock)
        first, second, third, _ = steps.at
        assert second - first == third - second == BREATH

    async def test_a_sweep_is_logged(
        self, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        steps = Steps(open_in_memory().upkeep, clock)
        memory = open_in_memory().with_parts(upkeep=steps)
        running = asyncio.create_task(Janitor(memory, clock, JanitorOptions()).run())

        await clock.advance(timedelta(minutes=1))

        freed = "30 rows freed, 0 forgotten, about 3,000 bytes reusable"
        assert f"swept: 0 jobs warned, 0 cancelled, 0 deleted; {freed}" in caplog.text
        await ended_by_cancel(running)

    async def test_an_error_of_ours_ends_it(self, clock: FakeClock) -> None:
        broken = open_in_memory().with_parts(upkeep=None)
        with pytest.raises(AttributeError):
            await Janitor(broken, clock, JanitorOptions()).run()


async def ended_by_cancel(running: "asyncio.Task[None]") -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
