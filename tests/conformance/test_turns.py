"""The order of the queue: levels, turns between owners, and tags, as the pure rules say."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import LIFECYCLE, Move, State, StateReason
from crawlyard.core.jobs.queue import PriorityQueue, takes
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.jobs.waiting import WaitReason
from crawlyard.store.queries import JobQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_job, a_spec, its_event
from tests.builders_serve import quoted
from tests.conformance.model import turn_of
from tests.conformance.steps import added, claimed, ended, moved

SECOND = timedelta(seconds=1)
TAGS: tuple[tuple[str, ...], ...] = ((), ("eu",), ("eu", "gpu"))


async def owners(store: Store, count: int = 100) -> str:
    """Claim up to *count* jobs; return the first letters of their owners."""
    letters = ""
    while len(letters) < count and (claim := await store.leases.claim(Asker("w"), NOW, LEASE)):
        letters += claim.job.owner[0]
    return letters


async def many(store: Store, owner: str, count: int, **fields: Any) -> list[Job]:
    """Return *count* jobs of *owner*, added one after the other."""
    return [await added(store, a_job(owner=owner, **fields)) for _ in range(count)]


async def emptied(store: Store) -> None:
    """Delete all jobs."""
    for standing in await store.jobs.find(JobQuery(), 100):
        job = standing.job
        await store.jobs.delete(job.id, job.version, its_event(job, EventName.DELETED))


class TestTurns:
    async def test_owners_take_turns_in_a_level(self, store: Store) -> None:
        await many(store, "ada", 3)
        await many(store, "bob", 2)

        assert await owners(store) == "ababa"

    async def test_ten_thousand_of_one_do_not_hold_up_anothers_first(self, store: Store) -> None:
        await many(store, "ada", 8)
        before = await owners(store, 5)
        await many(store, "bob", 1)

        assert before + await owners(store, 2) == "aaaaa" + "ab"

    async def test_an_owner_without_jobs_accumulates_no_turns(self, store: Store) -> None:
        await many(store, "ada", 8)
        await owners(store, 4)
        await many(store, "bob", 6)

        assert await owners(store) == "abababab" + "bb"

    async def test_a_level_goes_before_any_turn(self, store: Store) -> None:
        await many(store, "ada", 2, priority=Priority.HIGH)
        await many(store, "bob", 1)

        assert await owners(store) == "aab"

    async def test_turns_of_one_level_say_nothing_of_another(self, store: Store) -> None:
        await many(store, "ada", 3, priority=Priority.HIGH)
        await many(store, "ada", 1)
        await many(store, "bob", 1)

        assert await owners(store) == "aaa" + "ab"

    @pytest.mark.parametrize("move", [Move.REQUEUE, Move.PAUSE])
    async def test_a_job_that_comes_back_is_where_it_was(self, store: Store, move: Move) -> None:
        first, *_ = await many(store, "ada", 4)
        await ended(store, (await claimed(store, first)).lease, move)
        if move is Move.PAUSE:
            await moved(store, first.id, Move.RESUME)

        claim = await store.leases.claim(Asker("w"), NOW, LEASE)

        assert claim is not None
        assert claim.job.id == first.id

    async def test_turns_stay_fair_after_a_restart_of_turn_numbers(self, store: Store) -> None:
        first = (await many(store, "ada", 4))[-1]
        for _ in range(3):
            claim = await store.leases.claim(Asker("w"), NOW, LEASE)
            assert claim is not None
            await ended(store, claim.lease)
        await moved(store, first.id, Move.PAUSE)
        await many(store, "bob", 2)
        await moved(store, first.id, Move.RESUME)

        assert await owners(store) == "abb"

    async def test_paused_and_resumed_jobs_do_not_delay_the_first_job_of_another_owner(
        self, store: Store
    ) -> None:
        their_jobs = await many(store, "ada", 5)
        for move in (Move.PAUSE, Move.RESUME):
            for job in their_jobs:
                await moved(store, job.id, move)
        await many(store, "bob", 2)

        assert await owners(store) == "ababaaa"

    async def test_retried_jobs_do_not_delay_the_first_job_of_another_owner(
        self, store: Store
    ) -> None:
        their_jobs = await many(store, "ada", 4)
        for job in their_jobs:
            await moved(store, job.id, Move.CANCEL)
        await many(store, "bob", 8)
        before = await owners(store, 6)
        for job in their_jobs:
            await moved(store, job.id, Move.RETRY_FAILED)

        assert before + await owners(store) == "bbbbbb" + "ababaa"

    async def test_a_job_that_waits_and_is_edited_keeps_its_turn(self, store: Store) -> None:
        await many(store, "ada", 2)
        [late] = await many(store, "ada", 1)
        await many(store, "bob", 3)
        job = (await store.jobs.get(late.id)).job
        await store.jobs.save(*job.edit(a_spec(name="new"), NOW, actor="ada", changed={}))

        assert await owners(store) == "ababab"

    async def test_one_that_is_given_another_priority_is_the_last_of_its_owner(
        self, store: Store
    ) -> None:
        low = await many(store, "ada", 2, priority=Priority.LOW)
        await many(store, "ada", 2)
        await many(store, "bob", 3)
        for low_job in low:
            job = (await store.jobs.get(low_job.id)).job
            raised = replace(job.spec, priority=Priority.NORMAL)
            await store.jobs.save(*job.edit(raised, NOW, actor="ada", changed={}))

        assert await owners(store) == "abababa"


class TestTags:
    async def test_a_worker_for_one_job_ignores_its_worker_tags(self, store: Store) -> None:
        job = await added(store, spec=a_spec(worker_tags=("eu",)))

        assert await store.leases.claim(Asker("w", only=job.id), NOW, LEASE) is not None

    async def test_pending_jobs_are_counted_by_what_a_worker_cannot_wait_for(
        self, store: Store
    ) -> None:
        for tags in TAGS:
            await added(store, spec=a_spec(worker_tags=tags))
        await added(store, due_at=NOW + SECOND)
        await added(store, due_at=NOW + SECOND, state_reason=StateReason.WAITING_RETRY)
        await quoted(store, running=0)
        await added(store, owner="ada")
        await claimed(store)
        later = {WaitReason.DUE_TIME: 1, WaitReason.QUOTA: 1}

        counts = [await store.queue.waits(NOW, tags) for tags in (*TAGS, ("gpu",))]

        assert counts == [
            {None: 2, WaitReason.WORKER_TAGS: 2} | later,
            {None: 3, WaitReason.WORKER_TAGS: 1} | later,
            {None: 4} | later,
            {None: 2, WaitReason.WORKER_TAGS: 2} | later,
        ]
        await added(store, priority=Priority.URGENT)
        assert await store.queue.waits(NOW, (), Priority.URGENT) == {
            None: 1,
            WaitReason.WORKER_TAGS: 2,
            WaitReason.SLOT: 4,
        }
        assert await store.queue.waits(NOW + SECOND, TAGS[2]) == {None: 6, WaitReason.QUOTA: 1}


@dataclass
class ModelQueue:
    """The jobs as the model has them."""

    jobs: dict[str, Job] = field(default_factory=dict)

    def save(self, job: Job) -> None:
        """Save a job with its expected turn."""
        turn = turn_of(job, self.jobs.get(job.id), self.jobs.values())
        self.jobs[job.id] = replace(job, turn=turn)

    def pick(self, pick: int, *states: State) -> Job | None:
        fitting = [job for job in self.jobs.values() if job.state in states]
        return fitting[pick % len(fitting)] if fitting else None


PICK, PRIORITY = st.integers(0, 100), st.sampled_from(Priority)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abc"), PRIORITY, st.sampled_from(TAGS)),
        st.tuples(st.just("claim"), PRIORITY, st.sampled_from(TAGS)),
        st.tuples(st.just("move"), PICK, st.sampled_from(Move)),
        st.tuples(st.just("edit"), PICK, PRIORITY),
    ),
    max_size=30,
)


async def stepped(store: Store, queue: ModelQueue, step: tuple[Any, ...]) -> None:
    """Do one step in both, and see that they agree about what is claimed."""
    match step:
        case ("add", owner, priority, tags):
            job = a_job(owner=owner, spec=a_spec(priority=priority, worker_tags=tags))
            await added(store, job)
            queue.save(job)
        case ("claim", least, tags):
            asker = Asker("w", frozenset(tags), least)
            claim = await store.leases.claim(asker, NOW, LEASE)
            expected = PriorityQueue(j for j in queue.jobs.values() if takes(asker, j)).next(NOW)
            assert (claim and claim.job.id) == (expected and expected.id)
            if claim is not None:
                queue.save(claim.job)
                await store.leases.free(claim.lease)  # so that nothing keeps it from coming back
        case ("move", pick, move) if move is not Move.CLAIM:
            picked = queue.pick(pick, *(s for s in State if move in LIFECYCLE[s]))
            if picked is not None:
                after, event = picked.apply_move(move, NOW, actor="ada")
                await store.jobs.save(after, event)
                queue.save(after)
        case ("edit", pick, priority):
            picked = queue.pick(pick, State.PENDING, State.PAUSED)
            if picked is not None:
                spec = replace(picked.spec, priority=priority)
                after, event = picked.edit(spec, NOW, actor="ada", changed={})
                await store.jobs.save(after, event)
                queue.save(after)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
async def test_jobs_are_claimed_in_the_order_of_the_model(
    store: Store, steps: list[tuple[Any, ...]]
) -> None:
    await emptied(store)
    queue = ModelQueue()

    for step in steps:
        await stepped(store, queue, step)

    everything = ("claim", Priority.LOW, TAGS[-1])
    for _ in range(len(queue.jobs) + 1):
        await stepped(store, queue, everything)
    assert not [job for job in queue.jobs.values() if job.state is State.PENDING]


class TestAgeing:
    async def test_a_job_rises_a_level_for_each_step_that_it_waits(self, store: Store) -> None:
        low, high, urgent = [
            await added(store, priority=p) for p in (Priority.LOW, Priority.HIGH, Priority.URGENT)
        ]
        levels = []
        for steps in (0.9, 1, 2, 3, 9):
            await store.queue.age(NOW + steps * SECOND, SECOND)
            levels.append((await store.jobs.get(low.id)).job.level)

        other_levels = [(await store.jobs.get(job.id)).job.level for job in (high, urgent)]
        assert levels == [Priority.LOW, Priority.NORMAL, *[Priority.HIGH] * 3]
        assert other_levels == [Priority.HIGH, Priority.URGENT]

    async def test_it_comes_behind_what_waits_there_and_before_what_comes_later(
        self, store: Store
    ) -> None:
        await many(store, "ada", 2, priority=Priority.LOW)
        await many(store, "ada", 1, since=NOW + SECOND)
        await many(store, "bob", 1, since=NOW + SECOND)

        assert await store.queue.age(NOW + SECOND, SECOND) == 2
        await many(store, "ada", 1, since=NOW + SECOND)
        assert await store.queue.age(NOW + SECOND, SECOND) == 0

        claims = [await store.leases.claim(Asker("w"), NOW, LEASE) for _ in range(6)]
        claimed_jobs = [(c.job.owner[0], c.job.priority) for c in claims if c is not None]
        low, normal = Priority.LOW, Priority.NORMAL
        assert claimed_jobs == [
            ("a", normal),
            ("b", normal),
            ("a", low),
            ("a", low),
            ("a", normal),
        ]

    async def test_time_before_it_was_due_does_not_count(self, store: Store) -> None:
        job = await added(store, priority=Priority.LOW, due_at=NOW + 10 * SECOND)

        assert await store.queue.age(NOW + 10 * SECOND, SECOND) == 0
        assert await store.queue.age(NOW + 11 * SECOND, SECOND) == 1
        assert (await store.jobs.get(job.id)).job.level is Priority.NORMAL

    async def test_a_job_that_has_run_loses_its_aging(self, store: Store) -> None:
        job = await added(store, priority=Priority.LOW)
        await store.queue.age(NOW + SECOND, SECOND)
        claim = await claimed(store, job)
        running = claim.job.level
        await ended(store, claim.lease, Move.REQUEUE)

        assert running is Priority.NORMAL
        assert (await store.jobs.get(job.id)).job.level is Priority.LOW

    async def test_an_edit_keeps_what_it_has_risen_and_another_priority_does_not(
        self, store: Store
    ) -> None:
        job = await added(store, priority=Priority.LOW)
        await store.queue.age(NOW + SECOND, SECOND)
        levels = []
        for spec in (a_spec(priority=Priority.LOW, name="n"), a_spec(priority=Priority.NORMAL)):
            read = (await store.jobs.get(job.id)).job
            await store.jobs.save(*read.edit(spec, NOW, actor="ada", changed={}))
            levels.append((await store.jobs.get(job.id)).job.level)

        assert levels == [Priority.NORMAL, Priority.NORMAL]
        assert (await store.jobs.get(job.id)).job.aged == 0

    async def test_a_few_rise_at_a_time_the_first_in_front(self, store: Store) -> None:
        high = await many(store, "ada", 2, priority=Priority.HIGH)  # they rise no more
        jobs = await many(store, "ada", 5, priority=Priority.LOW)

        counts = [await store.queue.age(NOW + SECOND, SECOND, 2) for _ in range(4)]

        assert counts == [2, 2, 1, 0]
        claims = [await store.leases.claim(Asker("w"), NOW, LEASE) for _ in range(7)]
        job_ids = [c.job.id for c in claims if c is not None]
        assert job_ids == [job.id for job in (*high, *jobs)]
