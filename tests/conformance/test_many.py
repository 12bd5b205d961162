"""Many jobs changed together: in few transactions, each as if it were changed alone."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.checkpoint import Asker, Order
from crawlyard.core.jobs.filter import FilterKey, condition
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.core.jobs.spec import JobSpec, Priority
from crawlyard.core.operations.bulk import BulkAction, Chosen, JobAction
from crawlyard.core.operations.operation import OperationKind, OperationState
from crawlyard.errors import Conflict, IllegalMove
from crawlyard.ids import new_id
from crawlyard.services.jobs.lookup import find_job, read_all_events
from crawlyard.services.jobs.moves import JobWriter
from crawlyard.services.jobs.submission import Submission
from crawlyard.services.operations.bulk import Bulk, _jobs_portion
from crawlyard.services.operations.operations import Operations
from crawlyard.store.queries import EventQuery, JobQuery
from crawlyard.store.store import Store
from tests.builders import LEASE
from tests.clock import FakeClock
from tests.jobs import a_submitter, a_writer

EVERY = (condition(FilterKey.CREATED_BEFORE, ["2999-01-01"]),)
ADA = Actor(id="ada")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def writer(store: Store, clock: FakeClock) -> JobWriter:
    return a_writer(store, clock)


async def submit_jobs(writer: JobWriter, count: int, by: Actor = LOCAL, **fields: Any) -> list[str]:
    """Return the ids of new jobs, the oldest first."""
    spec = JobSpec(urls=("https://example.com/",), **fields)
    submitter = a_submitter(writer.store, FakeClock())
    drafts = [await submitter.draft(by, Submission(spec=spec)) for _ in range(count)]
    return [job.id for job in await submitter.enter_all(drafts) if isinstance(job, Job)]


async def events_with_versions(store: Store, job_id: str) -> list[tuple[EventName, int]]:
    """Return the events of a job, each with the version of the job that it describes."""
    events = await read_all_events(store.events, EventQuery(subject=job_id))
    return [(event.name, int(str(event.data["version"]))) for event in events]


async def test_five_hundred_are_cancelled_in_a_dozen_transactions(
    store: Store, clock: FakeClock, writer: JobWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await submit_jobs(writer, 500)
    workers = {OperationKind.JOBS: partial(_jobs_portion, writer)}
    operations = Operations(store, clock, workers)
    written = []
    database = store.jobs._database
    write: Callable[..., Awaitable[Any]] = database.write

    async def counting(work: Callable[..., Any]) -> Any:
        written.append(work)
        return await write(work)

    monkeypatch.setattr(database, "write", counting)

    action = BulkAction(action=JobAction.CANCEL, reason="too many")
    begun = await Bulk(writer, operations).act(LOCAL, action, Chosen(where=EVERY))
    assert begun.operation is not None
    await operations.drain()

    assert len(written) <= 12
    after = await operations.get(LOCAL, begun.operation.id)
    assert (after.state, after.done, after.failed) == (OperationState.COMPLETED, 500, 0)
    counts = await writer.store.jobs.counts(JobQuery())
    assert counts == {(State.CANCELLED, Priority.NORMAL): 500}
    events = await read_all_events(store.events, EventQuery())
    cancelled = [event.subject for event in events if event.name is EventName.CANCELLED]
    assert sorted(cancelled) == sorted(ids)
    assert {event.data["version"] for event in events if event.name is EventName.CANCELLED} == {2}
    ended = (await find_job(writer.store, LOCAL, ids[0])).job
    assert (ended.detail, ended.ended_at) == ("too many", clock.now())


async def test_what_others_change_meanwhile_is_not_lost(store: Store, writer: JobWriter) -> None:
    ids = await submit_jobs(writer, 12)

    async def renamed(job_id: str) -> bool:
        try:
            await writer.edit(LOCAL, job_id, {"name": "new"})
        except (IllegalMove, Conflict):  # it was cancelled before
            return False
        return True

    async with asyncio.TaskGroup() as group:
        before = [group.create_task(renamed(job_id)) for job_id in ids[:6]]
        cancelling = group.create_task(writer.move_all(LOCAL, ids, Move.CANCEL))
        after = [group.create_task(renamed(job_id)) for job_id in ids[6:]]

    assert all(answer.refused is None for answer in cancelling.result().values())
    for job_id, task in zip(ids, before + after, strict=True):
        job, events = (
            (await find_job(writer.store, LOCAL, job_id)).job,
            await events_with_versions(store, job_id),
        )
        assert job.state is State.CANCELLED
        assert (job.spec.name == "new") is task.result()
        assert [version for _, version in events] == list(range(1, job.version + 1))


async def test_each_is_judged_alone(store: Store, writer: JobWriter) -> None:
    mine, their_ids = await submit_jobs(writer, 2), await submit_jobs(writer, 1, ADA)
    await writer.move(LOCAL, mine[1], Move.CANCEL)
    nobody = new_id()

    by_all = await writer.move_all(LOCAL, [*mine, *their_ids, nobody], Move.PAUSE)
    by_ada = await writer.move_all(ADA, [*mine, *their_ids], Move.RESUME)

    assert {job_id: answer.job.state for job_id, answer in by_all.items()} == {
        mine[0]: State.PAUSED,
        mine[1]: State.CANCELLED,
        their_ids[0]: State.PAUSED,
    }
    assert [job_id for job_id, answer in by_all.items() if answer.refused] == [mine[1]]
    assert isinstance(by_all[mine[1]].refused, IllegalMove)
    assert list(by_ada) == their_ids
    assert (await find_job(writer.store, LOCAL, mine[0])).job.state is State.PAUSED


async def test_a_running_one_is_given_an_order_and_keeps_its_lease(
    store: Store, clock: FakeClock, writer: JobWriter
) -> None:
    ids = await submit_jobs(writer, 2)
    claim = await store.leases.claim(Asker("w"), clock.now(), LEASE)
    assert claim is not None

    await writer.move_all(LOCAL, ids, Move.CANCEL)

    [order] = await store.leases.orders([claim.lease])
    standing = await find_job(writer.store, LOCAL, claim.job.id)
    assert (order, standing.shard.worker) == (Order.STOP, "w")


async def test_paused_and_resumed_together_they_are_claimed_as_before(
    store: Store, clock: FakeClock, writer: JobWriter
) -> None:
    ids = [*await submit_jobs(writer, 3, ADA), *await submit_jobs(writer, 2)]

    async def queued() -> list[str]:
        return [standing.job.id for standing in await store.queue.pending(clock.now(), 10, None)]

    before = await queued()
    await writer.move_all(LOCAL, ids, Move.PAUSE)
    assert await queued() == []
    for some in (ids[2:], ids[:2]):  # the last ones first
        await writer.move_all(LOCAL, some, Move.RESUME)

    assert await queued() == before
    assert before != sorted(before)  # owners take turns


async def test_tags_that_are_added_are_found_and_removed_again(writer: JobWriter) -> None:
    ids = await submit_jobs(writer, 3, tags=("a",))
    add = BulkAction(action=JobAction.ADD_TAGS, tags=("b", "a"))
    remove = BulkAction(action=JobAction.REMOVE_TAGS, tags=("b",))
    of_b = JobQuery(tags=frozenset({"b"}))

    await writer.edit_all(LOCAL, ids[:2], add.changes_of)
    tagged = await writer.store.jobs.ids(of_b, 10)
    twice = await writer.edit_all(LOCAL, ids[:2], add.changes_of)
    await writer.edit_all(LOCAL, ids, remove.changes_of)

    assert tagged == ids[1::-1]
    assert {(answer.job.spec.tags, answer.job.version) for answer in twice.values()} == {
        (("a", "b"), 2)
    }
    assert await writer.store.jobs.ids(of_b, 10) == []
    assert (await find_job(writer.store, LOCAL, ids[0])).job.spec.tags == ("a",)


async def test_deleted_together_they_are_gone_with_their_counts(
    store: Store, writer: JobWriter
) -> None:
    ids = await submit_jobs(writer, 3)
    await writer.move_all(LOCAL, ids[:2], Move.CANCEL)

    answers = await writer.delete_all(LOCAL, ids)

    assert [answer.refused is None for answer in map(answers.__getitem__, ids)] == [
        True,
        True,
        False,
    ]
    assert await writer.store.jobs.ids(JobQuery(), 10) == ids[2:]
    assert await writer.store.jobs.counts(JobQuery()) == {(State.PENDING, Priority.NORMAL): 1}
    assert (await events_with_versions(store, ids[0]))[-1] == (EventName.DELETED, 2)
