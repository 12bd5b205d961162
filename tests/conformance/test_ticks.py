"""`TickStore`: due schedules are found, and each instant fires once among concurrent callers."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.checkpoint import Asker, Batch
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.schedules.schedule import CrawlSchedule, TickOutcome, TickReason
from crawlyard.errors import NotFound
from crawlyard.ids import new_id
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from tests.builders import NOW, its_event
from tests.builders_schedules import (
    a_firing,
    a_schedule,
    a_tick,
    edited,
    its_job,
    ran,
    schedule_event,
)
from tests.conformance.conftest import Backend

HOUR = timedelta(hours=1)
ENDINGS = {
    State.COMPLETED: (Move.CLAIM, Move.COMPLETE),
    State.FAILED: (Move.CLAIM, Move.FAIL),
    State.CANCELLED: (Move.CANCEL,),
    State.PAUSED: (Move.PAUSE,),
    State.PENDING: (),
}


async def added(store: Store, **fields: Any) -> CrawlSchedule:
    schedule = a_schedule(**fields)
    await store.schedules.add(schedule, schedule_event(schedule))
    return schedule


async def submitted(
    store: Store, schedule: CrawlSchedule, state: State = State.PENDING, due_at: datetime = NOW
) -> Job:
    """Return a job of *schedule* that came into *state*; its tick is in the ledger."""
    job = its_job(schedule, due_at)
    now = await store.schedules.get(schedule.id)
    assert await store.ticks.fire([a_firing(now, [ran(schedule, job)], [job])]) == [True]
    for move in ENDINGS[state]:
        job, event = job.apply_move(move, NOW, actor="local")
        await store.jobs.save(job, event)
    return job


async def names(store: Store, subject: str) -> list[str]:
    return [e.name for e in await store.events.events(EventQuery(subject=subject))]


class TestDue:
    async def test_those_whose_instant_has_come_are_due_the_earliest_first(
        self, store: Store
    ) -> None:
        times = [NOW - HOUR, NOW, NOW - 2 * HOUR, NOW + timedelta(microseconds=1), None]
        schedules = [await added(store, fire_at=at, next_at=NOW - 3 * HOUR) for at in times]

        due = await store.ticks.find_due(NOW, 100)

        assert due == [schedules[2], schedules[0], schedules[1]]
        assert await store.ticks.find_due(NOW, 2) == due[:2]
        assert await store.ticks.find_due(NOW - 3 * HOUR, 100) == []

    async def test_the_next_instant_is_the_earliest_of_all(self, store: Store) -> None:
        assert await store.ticks.next_at() is None
        await added(store, fire_at=None)
        assert await store.ticks.next_at() is None
        await added(store, fire_at=NOW + HOUR)
        await added(store, fire_at=NOW - HOUR)

        assert await store.ticks.next_at() == NOW - HOUR


class TestActive:
    async def test_jobs_that_have_not_ended_are_active_the_oldest_first(self, store: Store) -> None:
        first, two, idle = await added(store), await added(store), await added(store)
        jobs = [
            await submitted(store, first, state, NOW + n * HOUR) for n, state in enumerate(ENDINGS)
        ]
        other = await submitted(store, two)

        active = await store.ticks.active([first.id, two.id, idle.id, new_id()])

        assert active == {first.id: [jobs[3], jobs[4]], two.id: [other]}
        assert await store.ticks.active([two.id]) == {two.id: [other]}
        assert await store.ticks.active([]) == {}

    async def test_a_deleted_job_is_not_active(self, store: Store) -> None:
        schedule = await added(store)
        job = await submitted(store, schedule, State.PAUSED)

        await store.jobs.delete(job.id, job.version, its_event(job, EventName.DELETED))

        assert await store.ticks.active([schedule.id]) == {}

    async def test_a_job_of_an_instant_that_was_backfilled_stands_in_nobodys_way(
        self, store: Store
    ) -> None:
        schedule = await added(store, waiting_at=NOW)
        made_up, again = its_job(schedule), its_job(schedule, NOW + HOUR)
        ticks = [ran(schedule, job, reason=TickReason.BACKFILL) for job in (made_up, again)]
        await store.ticks.fire([a_firing(schedule, ticks, [made_up, again])])

        assert await store.ticks.active([schedule.id]) == {}
        assert [s.id for s in await store.ticks.waiting(10)] == [schedule.id]


class TestWaiting:
    async def test_a_tick_waits_until_no_job_of_its_schedule_is_active(self, store: Store) -> None:
        busy = await added(store, waiting_at=NOW)
        job = await submitted(store, busy)
        free = await added(store, waiting_at=NOW + HOUR)
        await submitted(store, free, State.COMPLETED)
        await added(store)

        assert [s.id for s in await store.ticks.waiting(10)] == [free.id]
        cancelled, event = job.apply_move(Move.CANCEL, NOW, actor="local")
        await store.jobs.save(cancelled, event)

        assert [s.id for s in await store.ticks.waiting(10)] == [busy.id, free.id]
        assert [s.id for s in await store.ticks.waiting(1)] == [busy.id]


class TestFailureCounts:
    async def test_the_latest_count_and_a_refused_tick_has_failed(self, store: Store) -> None:
        schedule = await added(store)
        states = [State.FAILED, State.COMPLETED, State.FAILED, State.CANCELLED, State.PENDING]
        for n, state in enumerate(states):
            await submitted(store, schedule, state, NOW + n * HOUR)
        now = await store.schedules.get(schedule.id)
        refused = a_tick(now, NOW + 9 * HOUR, reason=TickReason.REFUSED)
        paused = a_tick(now, NOW + 10 * HOUR, reason=TickReason.PAUSED)
        without_runs = a_tick(now, NOW + 11 * HOUR, reason=TickReason.NO_RUNS)
        await store.ticks.fire([a_firing(now, [refused, paused, without_runs])])

        failures = [
            (await store.ticks.failures([schedule.id], last))[schedule.id] for last in range(1, 6)
        ]

        assert failures == [1, 2, 2, 3, 3]

    async def test_what_was_backfilled_says_nothing_about_now(self, store: Store) -> None:
        schedule = await added(store)
        failing, fine = (
            its_job(schedule, NOW + n * HOUR, state=state, ended_at=NOW)
            for n, state in ((1, State.FAILED), (3, State.COMPLETED))
        )
        ticks = [ran(schedule, job, reason=TickReason.BACKFILL) for job in (failing, fine)]
        await store.ticks.fire([a_firing(schedule, ticks, [failing, fine])])
        now = await store.schedules.get(schedule.id)
        for n in (0, 2):
            await submitted(store, now, State.FAILED, NOW + n * HOUR)
            now = await store.schedules.get(schedule.id)

        assert await store.ticks.failures([schedule.id], 10) == {schedule.id: 2}

    async def test_those_of_many_come_at_once(self, store: Store) -> None:
        failing, fine, idle = await added(store), await added(store), await added(store)
        for n in range(3):
            await submitted(store, failing, State.FAILED, NOW + n * HOUR)
        await submitted(store, fine, State.COMPLETED)

        failures = await store.ticks.failures([failing.id, fine.id, idle.id, new_id()], 2)

        assert {key: count for key, count in failures.items() if count} == {failing.id: 2}
        assert await store.ticks.failures([], 2) == {}

    async def test_what_was_written_before_the_last_resume_is_left_out(self, store: Store) -> None:
        schedule = await added(store, fresh_beat=2)
        for due_at in (NOW + HOUR, NOW):
            tick = a_tick(schedule, due_at, reason=TickReason.REFUSED)
            firing = a_firing(schedule, [tick])
            assert await store.ticks.fire([firing]) == [True]
            schedule = firing.after

        assert await store.ticks.failures([schedule.id], 10) == {schedule.id: 1}


class TestFireTick:
    async def test_all_that_was_decided_is_written(self, store: Store) -> None:
        schedule = await added(store)
        before = await submitted(store, schedule, due_at=NOW - HOUR)
        schedule = await store.schedules.get(schedule.id)
        job = its_job(schedule)
        tick = ran(schedule, job)
        replaced = ran(schedule, before, outcome=TickOutcome.REPLACED, reason=TickReason.OVERLAP)
        moved = before.apply_move(Move.CANCEL, NOW, actor="scheduler")
        firing = a_firing(
            schedule,
            [replaced, tick],
            [job],
            [moved],
            next_at=NOW + HOUR,
            fire_at=NOW + HOUR,
            runs_left=4,
            waiting_at=NOW,
            paused_at=NOW,
            pause_reason="it keeps failing",
        )

        fired = await store.ticks.fire([firing])

        assert fired == [True]
        assert await store.schedules.get(schedule.id) == firing.after
        assert await store.ticks.ticks(schedule.id) == [tick, replaced]
        assert (await store.jobs.get(job.id)).job == job
        assert (await store.jobs.get(before.id)).job == moved[0]
        assert await names(store, job.id) == ["job.created"]
        assert await names(store, before.id) == ["job.created", "job.cancelled"]
        assert (await names(store, schedule.id)).count("schedule.ticked") == 3

    async def test_a_job_that_was_fired_can_be_claimed(self, store: Store) -> None:
        schedule = await added(store)
        job = await submitted(store, schedule)

        claim = await store.leases.claim(Asker("w1"), NOW, HOUR)

        assert claim is not None
        assert claim.job.id == job.id

    @pytest.mark.parametrize("change", ["fired", "edited", "deleted"])
    async def test_a_firing_that_comes_too_late_is_left_out_whole(
        self, store: Store, change: str
    ) -> None:
        schedule, other = await added(store), await added(store)
        if change == "fired":
            await store.ticks.fire([a_firing(schedule)])
        elif change == "edited":
            await store.schedules.save(edited(schedule), schedule_event(schedule))
        else:
            await store.schedules.delete(schedule.id, 1, schedule_event(schedule))
        job, fitting = its_job(schedule), its_job(other)
        events = await store.events.last()

        fired = await store.ticks.fire(
            [
                a_firing(schedule, [ran(schedule, job)], [job]),
                a_firing(other, [ran(other, fitting)], [fitting]),
            ]
        )

        assert fired == [False, True]
        assert await store.ticks.ticks(schedule.id) == []
        assert [t.job_id for t in await store.ticks.ticks(other.id)] == [fitting.id]
        with pytest.raises(NotFound):
            await store.jobs.get(job.id)
        assert await store.events.last() == events + 2

    async def test_a_firing_whose_job_has_moved_on_is_left_out_whole(self, store: Store) -> None:
        schedule = await added(store)
        active = await submitted(store, schedule)
        schedule = await store.schedules.get(schedule.id)
        cancelled = active.apply_move(Move.CANCEL, NOW, actor="scheduler")
        await store.jobs.save(*active.apply_move(Move.CLAIM, NOW, actor="worker:w"))
        job = its_job(schedule, NOW + HOUR)
        firing = a_firing(schedule, [ran(schedule, job)], [job], [cancelled])

        fired = await store.ticks.fire([firing])

        assert fired == [False]
        assert await store.schedules.get(schedule.id) == schedule
        assert len(await store.ticks.ticks(schedule.id)) == 1
        assert (await store.jobs.get(active.id)).job.state is State.RUNNING

    async def test_of_two_firings_of_one_schedule_one_is_written(self, store: Store) -> None:
        schedule = await added(store)
        firings = [a_firing(schedule, [a_tick(schedule, NOW + n * HOUR)]) for n in range(2)]

        fired = await store.ticks.fire(firings)

        assert fired == [True, False]
        assert len(await store.ticks.ticks(schedule.id)) == 1

    async def test_nothing_to_fire_is_nothing_done(self, store: Store) -> None:
        assert await store.ticks.fire([]) == []
        assert await store.events.last() == 0

    async def test_a_row_without_a_job_is_replaced(self, store: Store) -> None:
        schedule = await added(store)
        waits = a_tick(schedule, outcome=TickOutcome.WAITING)
        await store.ticks.fire([a_firing(schedule, [waits, a_tick(schedule, NOW - HOUR)])])
        schedule = await store.schedules.get(schedule.id)
        job = its_job(schedule)
        tick, new = ran(schedule, job), a_tick(schedule, NOW + HOUR)

        await store.ticks.fire([a_firing(schedule, [tick, new], [job])])

        assert (await store.ticks.ticks(schedule.id))[:2] == [new, tick]

    @pytest.mark.parametrize("with_job", [True, False])
    async def test_a_firing_of_an_instant_that_has_another_job_is_left_out_whole(
        self, store: Store, with_job: bool
    ) -> None:
        schedule, other = await added(store), await added(store)
        job = await submitted(store, schedule)
        schedule = await store.schedules.get(schedule.id)
        second, fitting = its_job(schedule), its_job(other)
        tick = ran(schedule, second) if with_job else a_tick(schedule)
        new = a_tick(schedule, NOW + HOUR)
        events = await store.events.last()

        fired = await store.ticks.fire(
            [
                a_firing(schedule, [new, tick], [second] if with_job else []),
                a_firing(other, [ran(other, fitting)], [fitting]),
            ]
        )

        assert fired == [False, True]
        assert [t.job_id for t in await store.ticks.ticks(schedule.id)] == [job.id]
        assert await store.schedules.get(schedule.id) == schedule
        assert await store.events.last() == events + 2
        with pytest.raises(NotFound):
            await store.jobs.get(second.id)

    async def test_a_row_is_replaced_for_its_own_job(self, store: Store) -> None:
        schedule = await added(store)
        job = await submitted(store, schedule)
        schedule = await store.schedules.get(schedule.id)
        replaced = ran(schedule, job, outcome=TickOutcome.REPLACED)

        assert await store.ticks.fire([a_firing(schedule, [replaced])]) == [True]

        assert await store.ticks.ticks(schedule.id) == [replaced]

    async def test_hundreds_are_written_at_once(self, store: Store) -> None:
        schedules = [await added(store) for _ in range(250)]
        jobs = [its_job(s) for s in schedules]
        firings = [
            a_firing(s, [ran(s, j)], [j], fire_at=None)
            for s, j in zip(schedules, jobs, strict=True)
        ]

        fired = await store.ticks.fire(firings)

        assert fired == [True] * 250
        assert await store.ticks.find_due(NOW, 1) == []
        assert len(await store.ticks.active([s.id for s in schedules])) == 250


async def test_many_at_once_on_stores_of_their_own_fire_each_instant_once(
    backend: Backend,
) -> None:
    stores = [await backend.open() for _ in range(4)]
    schedules = [await added(stores[0]) for _ in range(30)]

    async def fire(store: Store, first: int) -> int:
        won = 0
        # in different orders, as nothing keeps two from standing in each other's way
        for schedule in (*schedules[first:], *schedules[:first]):
            job = its_job(schedule)
            [fired] = await store.ticks.fire([a_firing(schedule, [ran(schedule, job)], [job])])
            won += fired
        return won

    won = await asyncio.gather(*(fire(s, 7 * n) for n, s in enumerate(stores)))
    active = await stores[0].ticks.active([s.id for s in schedules])
    beats = [(await stores[0].schedules.get(s.id)).beat for s in schedules]
    for store in stores:
        await store.close()

    assert sum(won) == len(schedules)
    assert [len(jobs) for jobs in active.values()] == [1] * len(schedules)
    assert beats == [1] * len(schedules)


async def test_of_many_that_fire_one_schedule_at_one_moment_one_wins(backend: Backend) -> None:
    stores = [await backend.open() for _ in range(4)]
    schedule = await added(stores[0])

    won = []
    for n in range(25):
        jobs = [its_job(schedule, NOW + n * HOUR) for _ in stores]
        firings = [a_firing(schedule, [ran(schedule, job)], [job]) for job in jobs]
        fired = await asyncio.gather(
            *(s.ticks.fire([f]) for s, f in zip(stores, firings, strict=True))
        )
        won.append(sum(first for [first] in fired))
        schedule = await stores[0].schedules.get(schedule.id)
    active = await stores[0].ticks.active([schedule.id])
    for store in stores:
        await store.close()

    assert won == [1] * 25
    assert len(active[schedule.id]) == schedule.beat == 25


class TestLedger:
    async def test_ticks_come_the_latest_first_and_before_an_instant(self, store: Store) -> None:
        schedule, other = await added(store), await added(store)
        ticks = [a_tick(schedule, NOW - n * HOUR, detail=str(n)) for n in range(7)]
        await store.ticks.fire([a_firing(schedule, ticks), a_firing(other, [a_tick(other)])])

        assert await store.ticks.ticks(schedule.id) == ticks
        assert await store.ticks.ticks(schedule.id, limit=3) == ticks[:3]
        assert await store.ticks.ticks(schedule.id, NOW - 2 * HOUR, 2) == ticks[3:5]

    async def test_those_of_a_range_come_by_their_instants(self, store: Store) -> None:
        schedule = await added(store)
        ticks = [a_tick(schedule, NOW + n * HOUR) for n in range(7)]
        await store.ticks.fire([a_firing(schedule, ticks)])

        between = await store.ticks.ticks_between(schedule.id, NOW + HOUR, NOW + 4 * HOUR)

        assert list(between.values()) == ticks[1:4]
        assert list(between) == [t.due_at for t in ticks[1:4]]

    async def test_those_of_several_come_in_order_with_how_their_jobs_ended(
        self, store: Store
    ) -> None:
        first, other, left_out = [await added(store) for _ in range(3)]
        cut, running = its_job(first, NOW), its_job(first, NOW + HOUR)
        deleted = its_job(first, NOW + 2 * HOUR)
        skipped = [a_tick(each, NOW) for each in (other, left_out)]
        ticks = [ran(first, job) for job in (cut, running, deleted)]
        await store.ticks.fire([a_firing(first, ticks, [cut, running, deleted])])
        await store.ticks.fire([a_firing(other, skipped[:1]), a_firing(left_out, skipped[1:])])
        claim = await store.leases.claim(Asker("w1", only=cut.id), NOW, timedelta(minutes=5))
        assert claim is not None
        batch = Batch(usage=Usage(pages=3, discovered=8, done=5))
        [answer] = await store.frontier.record([(claim.lease, batch)], NOW, timedelta(minutes=5))
        job = (await store.jobs.get(cut.id)).job
        limit = job.apply_move(Move.COMPLETE, NOW, actor="w1", reason=StateReason.LIMIT_PAGES)
        await store.leases.settle(answer.lease, *limit)
        job = (await store.jobs.get(deleted.id)).job
        away = job.apply_move(Move.CANCEL, NOW, actor="local")
        await store.jobs.save(*away)
        await store.jobs.delete(deleted.id, away[0].version, its_event(away[0]))
        schedule_ids, until = [first.id, other.id], NOW + 3 * HOUR

        recent = await store.ticks.between(schedule_ids, NOW, until, 9)
        assert sorted((t.due_at, t.fate, t.pages) for _, t in recent) == [
            (NOW, "skipped", None),
            (NOW, "stopped", 3),
            (NOW + HOUR, "pending", 0),
            (NOW + 2 * HOUR, "ran", None),
        ]
        ended = {tick.ended for schedule_id, tick in recent if schedule_id == first.id}
        assert ended == {"Stopped at its page limit: 5 of 8 found", ""}
        assert [
            t.due_at for _, t in await store.ticks.between(schedule_ids, NOW + HOUR, until, 1)
        ] == [NOW + HOUR]
        counted = await store.ticks.count_fates([first.id, other.id, left_out.id], NOW, NOW + HOUR)
        assert sorted((c.fate, c.count) for c in counted) == [("skipped", 2), ("stopped", 1)]
        runs = await store.ticks.runs([cut.id, deleted.id])
        assert set(runs) == {cut.id}
        assert (runs[cut.id].state, runs[cut.id].pages, runs[cut.id].found) == ("completed", 3, 8)
        [latest] = (await store.ticks.recent([first.id], 3))[first.id][2:]
        assert (latest.fate, latest.pages) == ("stopped", 3)

    async def test_a_tick_keeps_all_of_its_fields(self, store: Store) -> None:
        schedule = await added(store)
        tick = a_tick(
            schedule,
            NOW + timedelta(microseconds=1),
            outcome=TickOutcome.MISSED,
            reason=TickReason.NO_SCHEDULER,
            detail="»why«",
            decided_at=NOW + HOUR,
        )

        await store.ticks.fire([replace(a_firing(schedule), ticks=(tick,))])

        assert await store.ticks.ticks(schedule.id) == [tick]
