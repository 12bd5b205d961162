"""`OverviewStore`: what a person should know of, as every store finds it."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from crawlyard.core.attention.attention import OwnerBacklog
from crawlyard.core.attention.lines import NoticeLine, SubjectKind
from crawlyard.core.jobs.checkpoint import Batch
from crawlyard.core.jobs.job import Job, Origin
from crawlyard.core.jobs.job_log import Course, Point
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.ids import new_id
from crawlyard.store.queries import EVERY_JOB, JobQuery
from crawlyard.store.store import Store
from tests.builders import NOW, a_job, a_spec, its_event
from tests.builders_schedules import a_firing, a_schedule, a_tick, its_job, ran, schedule_event
from tests.builders_webhooks import stored_webhook
from tests.conformance.steps import added, claimed, in_state, moved, recorded

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


async def a_kept_schedule(store: Store, **fields: Any) -> CrawlSchedule:
    schedule = a_schedule(**fields)
    await store.schedules.add(schedule, schedule_event(schedule))
    return schedule


async def ended_job(store: Store, state: State, minutes: int, name: str = "", **fields: Any) -> str:
    """Return the id of a job that came into *state* so many minutes after `NOW`."""
    at = NOW + minutes * MINUTE
    job = in_state(state, ended_at=at, spec=a_spec(name=name), **fields)
    return (await added(store, job)).id


class TestRecentTicks:
    async def test_the_last_ticks_of_each_schedule_come_with_the_states_of_their_jobs(
        self, store: Store
    ) -> None:
        first, two, idle = [await a_kept_schedule(store) for _ in range(3)]
        job = its_job(first, NOW)
        skipped = a_tick(first, NOW - MINUTE)
        other = a_tick(two, NOW)
        await store.ticks.fire(
            [a_firing(first, [skipped, ran(first, job)], [job]), a_firing(two, [other])]
        )
        await moved(store, job.id, Move.PAUSE)

        ticks = await store.ticks.recent([first.id, two.id, idle.id, new_id()], 60)

        assert set(ticks) == {first.id, two.id}
        assert [(r.due_at, r.job_id, r.job_state) for r in ticks[first.id]] == [
            (NOW, job.id, State.PAUSED),
            (NOW - MINUTE, None, None),
        ]
        [last] = ticks[two.id]
        assert (last.due_at, last.outcome, last.reason) == (NOW, other.outcome, other.reason)

    async def test_at_most_the_requested_number_of_each_is_returned(self, store: Store) -> None:
        schedules = [await a_kept_schedule(store) for _ in range(3)]
        for schedule in schedules:
            ticks = [a_tick(schedule, NOW - n * MINUTE) for n in range(5)]
            await store.ticks.fire([a_firing(schedule, ticks)])

        recent_ticks = await store.ticks.recent([s.id for s in schedules], 2)

        assert {len(ticks) for ticks in recent_ticks.values()} == {2}
        assert [r.due_at for r in recent_ticks[schedules[1].id]] == [NOW, NOW - MINUTE]

    async def test_a_job_that_was_deleted_has_no_state(self, store: Store) -> None:
        schedule = await a_kept_schedule(store)
        job = its_job(schedule)
        await store.ticks.fire([a_firing(schedule, [ran(schedule, job)], [job])])
        await store.jobs.delete(job.id, job.version, its_event(job))

        [recent] = (await store.ticks.recent([schedule.id], 60))[schedule.id]

        assert (recent.job_id, recent.job_state) == (job.id, None)

    async def test_those_of_many_schedules_come_as_well(self, store: Store) -> None:
        schedules = [await a_kept_schedule(store) for _ in range(205)]
        await store.ticks.fire([a_firing(s, [a_tick(s)]) for s in schedules])

        ticks = await store.ticks.recent([s.id for s in schedules], 60)

        assert len(ticks) == 205
        assert await store.ticks.recent([], 60) == {}


async def test_schedules_that_should_have_been_fired_come_the_latest_last(store: Store) -> None:
    late = await a_kept_schedule(store, fire_at=NOW - MINUTE, owner="ada")
    later = await a_kept_schedule(store, fire_at=NOW - 2 * MINUTE, owner="bob")
    await a_kept_schedule(store, fire_at=NOW)
    await a_kept_schedule(store, fire_at=None)
    await a_kept_schedule(store, fire_at=NOW - MINUTE, paused_at=NOW, paused_by="ada")

    assert await store.overview.overdue(None, NOW, 10) == [later, late]
    assert await store.overview.overdue(None, NOW, 1) == [later]
    assert await store.overview.overdue("ada", NOW, 10) == [late]


async def test_jobs_that_are_paused_for_long_or_for_a_reason_come_the_longest_first(
    store: Store,
) -> None:
    def paused(since: datetime, owner: str = "ada", **fields: Any) -> Job:
        fields = {"state_reason": StateReason.BY_USER} | fields
        return a_job(state=State.PAUSED, since=since, owner=owner, **fields)

    long = await added(store, paused(NOW - 2 * DAY))
    full = await added(store, paused(NOW, state_reason=StateReason.DISK_FULL))
    bobs = await added(store, paused(NOW - 3 * DAY, owner="bob"))
    await added(store, paused(NOW - DAY + MINUTE))
    deleted = await added(store, paused(NOW - 4 * DAY))
    await store.jobs.delete(deleted.id, deleted.version, its_event(deleted))
    await added(store, in_state(State.RUNNING, since=NOW - 2 * DAY))
    criteria = (NOW - DAY, [StateReason.DISK_FULL, StateReason.NOT_GRANTED])

    assert await store.overview.find_paused(None, *criteria, 10) == [bobs, long, full]
    assert await store.overview.find_paused("ada", *criteria, 10) == [long, full]
    assert await store.overview.find_paused("ada", *criteria, 1) == [long]
    assert await store.overview.find_paused("ada", NOW - DAY, [], 10) == [long]


class TestOverviewLines:
    async def test_failed_jobs_come_with_their_lines_the_last_first(self, store: Store) -> None:
        schedule, template = new_id(), new_id()
        by_schedule = await ended_job(
            store, State.FAILED, 1, "x", origin=Origin(schedule_id=schedule, template_id=template)
        )
        by_template = await ended_job(
            store, State.FAILED, 2, "x", origin=Origin(template_id=template), owner="bob"
        )
        by_name = await ended_job(store, State.FAILED, 3, "x", owner="bob")
        alone = await ended_job(store, State.FAILED, 4)
        await ended_job(store, State.FAILED, -1, "x")
        await ended_job(store, State.COMPLETED, 5, "x")
        await ended_job(store, State.CANCELLED, 5, "x")

        every = await store.overview.failures(None, NOW, 10)

        assert [(line, end.job_id) for line, end in every] == [
            (None, alone),
            (NoticeLine(kind=SubjectKind.JOB, key="x", owner="bob"), by_name),
            (NoticeLine(kind=SubjectKind.TEMPLATE, key=template, owner="bob"), by_template),
            (NoticeLine(kind=SubjectKind.SCHEDULE, key=schedule, owner="local"), by_schedule),
        ]
        assert [end.state for _, end in every] == [State.FAILED] * 4
        own = await store.overview.failures("local", NOW, 10)
        assert [end.job_id for _, end in own] == [alone, by_schedule]
        assert await store.overview.failures(None, NOW, 2) == every[:2]

    @pytest.mark.parametrize("kind", [SubjectKind.SCHEDULE, SubjectKind.TEMPLATE, SubjectKind.JOB])
    async def test_the_ends_of_a_line_are_those_of_its_own_jobs(
        self, store: Store, kind: SubjectKind
    ) -> None:
        schedule, template = new_id(), new_id()
        fields: dict[SubjectKind, dict[str, Any]] = {
            SubjectKind.SCHEDULE: {
                "origin": Origin(schedule_id=schedule, template_id=template),
                "name": "n",
            },
            SubjectKind.TEMPLATE: {"origin": Origin(template_id=template), "name": "n"},
            SubjectKind.JOB: {"name": "n"},
        }
        keys = {SubjectKind.SCHEDULE: schedule, SubjectKind.TEMPLATE: template}
        states = (State.COMPLETED, State.FAILED, State.CANCELLED, State.FAILED)
        jobs = {
            line: [await ended_job(store, state, n, **of) for n, state in enumerate(states)]
            for line, of in fields.items()
        }
        await ended_job(store, State.FAILED, 9, owner="bob", **fields[kind])
        await added(store, a_job(spec=a_spec(name="n")))
        own = NoticeLine(kind=kind, key=keys.get(kind, "n"), owner="local")

        every = await store.overview.ends({own: NOW}, 10)
        late = await store.overview.ends({own: NOW + MINUTE}, 1)
        ends = await store.overview.ends(
            {own: NOW, NoticeLine(kind=kind, key="?", owner="x"): NOW}, 10
        )

        first, second, _, fourth = jobs[kind]
        assert [end.job_id for end in every[own]] == [fourth, second, first]
        assert every[own][0].ended_at == NOW + 3 * MINUTE
        assert [end.job_id for end in late[own]] == [fourth]
        assert set(ends) == {own}
        assert await store.overview.ends({}, 10) == {}

    async def test_each_of_many_lines_has_its_own_last_ends(self, store: Store) -> None:
        template = new_id()
        of: dict[str, dict[str, Any]] = {
            "a": {"name": "a"},
            "b": {"name": "b"},
            "t": {"origin": Origin(template_id=template)},
        }
        ids = {
            line: [await ended_job(store, State.FAILED, n, **fields) for n in range(3)]
            for line, fields in of.items()
        }
        bobs = await ended_job(store, State.FAILED, 1, "a", owner="bob")
        a, b = (NoticeLine(kind=SubjectKind.JOB, key=key, owner="local") for key in "ab")
        t = NoticeLine(kind=SubjectKind.TEMPLATE, key=template, owner="local")
        his = NoticeLine(kind=SubjectKind.JOB, key="a", owner="bob")

        line_ends = await store.overview.ends({a: NOW + 2 * MINUTE, b: NOW, t: NOW, his: NOW}, 2)

        assert {line: [end.job_id for end in ends] for line, ends in line_ends.items()} == {
            a: ids["a"][:1:-1],
            b: ids["b"][:0:-1],
            t: ids["t"][:0:-1],
            his: [bobs],
        }


async def test_what_waits_is_counted_with_since_when(store: Store) -> None:
    assert await store.overview.backlog(None, NOW) == OwnerBacklog()
    await added(store, a_job(due_at=NOW, owner="ada"))
    oldest = await added(store, a_job(due_at=NOW - MINUTE, owner="bob"))
    await added(store, a_job(due_at=NOW + MINUTE, owner="ada"))
    await added(store, in_state(State.PAUSED, due_at=NOW - DAY, owner="ada"))

    every = await store.overview.backlog(None, NOW)
    own = await store.overview.backlog("ada", NOW)

    assert every == OwnerBacklog(count=2, oldest=oldest.id, since=NOW - MINUTE)
    assert (own.count, own.since) == (1, NOW)


async def test_jobs_that_ended_badly_of_late_come_the_last_first(store: Store) -> None:
    async def ended(minutes: int, state: State, reason: StateReason, owner: str = "ada") -> str:
        fields: dict[str, Any] = {
            "state_reason": reason,
            "ended_at": NOW - minutes * MINUTE,
            "owner": owner,
        }
        return (await added(store, a_job(state=state, **fields))).id

    failed = await ended(3, State.FAILED, StateReason.START_FAILED)
    limited = await ended(2, State.COMPLETED, StateReason.LIMIT_BYTES, "bob")
    await ended(1, State.COMPLETED, StateReason.EXHAUSTED)
    await ended(99, State.FAILED, StateReason.START_FAILED)

    async def bad_ids(owner: str | None, among: int = 10) -> list[str]:
        bad = await store.overview.find_ended(owner, NOW - 9 * MINUTE, 10, among)
        return [standing.job.id for standing in bad]

    assert await bad_ids(None) == [limited, failed]
    assert await bad_ids("ada") == [failed]
    assert await bad_ids(None, among=2) == [limited]


async def test_what_ran_in_a_range_comes_the_last_begun_first(store: Store) -> None:
    async def add_run(state: State, began: int | None, ends: int | None, **more: Any) -> str:
        started = None if began is None else NOW + began * MINUTE
        ended_at = None if ends is None else NOW + ends * MINUTE
        fields = {"started_at": started, "ended_at": ended_at, "owner": "ada"} | more
        return (await added(store, a_job(state=state, **fields))).id

    limit = StateReason.LIMIT_PAGES
    cut = await add_run(State.COMPLETED, 1, 5, state_reason=limit, spec=a_spec(name="news"))
    paused_id = await add_run(State.PAUSED, -9, None)
    goes = await add_run(State.RUNNING, 3, None, owner="bob")
    failed = await add_run(State.FAILED, -2, 0)
    await add_run(State.COMPLETED, -9, -1)  # ended before
    await add_run(State.COMPLETED, 10, 11)  # begun after
    await add_run(State.PENDING, None, None)
    await add_run(State.CANCELLED, None, 5)  # it never ran

    async def ran_ids(owner: str | None, limit: int = 9) -> list[str]:
        ran = await store.stats.runs(JobQuery(owner=owner), NOW, NOW + 10 * MINUTE, limit)
        return [run.job_id for run in ran]

    assert await ran_ids(None) == [goes, cut, failed, paused_id]
    assert await ran_ids("ada") == [cut, failed, paused_id]
    assert await ran_ids(None, 2) == [goes, cut]
    [news] = await store.stats.runs(JobQuery(owner="ada"), NOW, NOW + 10 * MINUTE, 1)
    assert (news.name, news.state, news.stopped) == ("news", "completed", False)
    assert (news.started_at, news.ended_at) == (NOW + MINUTE, NOW + 5 * MINUTE)


async def test_a_run_is_stopped_if_a_limit_left_something_in_the_queue(store: Store) -> None:
    claim = await claimed(store)
    await recorded(store, claim.lease, Batch(usage=Usage(pages=3, done=4, discovered=9)))
    job, event = (await store.jobs.get(claim.job.id)).job.apply_move(
        Move.COMPLETE, NOW, actor="worker:w1", reason=StateReason.LIMIT_PAGES
    )
    await store.leases.settle(claim.lease, job, event)

    [run] = await store.stats.runs(EVERY_JOB, NOW - MINUTE, NOW + MINUTE, 9)

    assert (run.stopped, run.pages, run.schedule_id) == (True, 3, None)


async def test_courses_are_those_of_jobs_that_run_or_ended_since(store: Store) -> None:
    for pages, minutes in [(1, -9), (2, 1), (3, 2), (4, None)]:
        claim = await claimed(store)
        course = Course(points=(Point(at=NOW, pages=pages),))
        answer = await recorded(store, claim.lease, Batch(usage=Usage(pages=1), course=course))
        if minutes is not None:
            at = NOW + minutes * MINUTE
            job, event = (await store.jobs.get(claim.job.id)).job.apply_move(
                Move.COMPLETE, at, actor="worker:w1"
            )
            await store.leases.settle(answer.lease, job, event)

    async def course_pages(owner: str | None, limit: int = 9) -> list[int]:
        courses = await store.stats.courses(JobQuery(owner=owner), NOW, limit)
        return [course.points[0].pages for course in courses]

    assert await course_pages(None) == [4, 3, 2]
    assert await course_pages(None, 2) == [4, 3]
    assert await course_pages("nobody") == []


async def test_due_jobs_that_need_tags_come_the_longest_due_first(store: Store) -> None:
    spec = a_spec(worker_tags=("eu",))
    late = await added(store, a_job(spec=spec, due_at=NOW - MINUTE))
    later = await added(store, a_job(spec=spec, due_at=NOW - 2 * MINUTE))
    await added(store, a_job(spec=spec, due_at=NOW + MINUTE))
    await added(store)

    assert [job.id for job in await store.overview.find_tagged(None, NOW, 9)] == [later.id, late.id]
    assert await store.overview.find_tagged("bob", NOW, 9) == []


async def test_webhooks_that_are_off_come_the_last_changed_first(store: Store) -> None:
    for number, (active, owner) in enumerate([(False, "ada"), (True, "ada"), (False, "bob")]):
        changed = NOW + number * MINUTE
        await stored_webhook(
            store, owner=owner, active=active, updated_at=changed, description=str(number)
        )

    assert [w.description for w in await store.overview.unheard(None, 10)] == ["2", "0"]
    assert [w.description for w in await store.overview.unheard(None, 1)] == ["2"]
    assert [w.description for w in await store.overview.unheard("ada", 10)] == ["0"]
