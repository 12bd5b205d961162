"""What a dispatcher asks the queue: which jobs are due, by what they need of a worker."""

from datetime import timedelta

from crawlyard.core.checkpoint import Asker
from crawlyard.store.base import Store
from tests.builders import LEASE, NOW, a_job, a_spec, its_event

SECOND = timedelta(seconds=1)


async def test_nothing_is_due_where_nothing_waits(store: Store) -> None:
    assert set(await store.queue.due(NOW)) == set()


async def test_what_is_due_is_told_once_for_all_that_need_the_same(store: Store) -> None:
    for tags in ((), (), ("gpu",), ("gpu", "eu"), ("eu", "gpu")):
        job = a_job(spec=a_spec(worker_tags=tags))
        await store.jobs.add(job, its_event(job))

    assert sorted(await store.queue.due(NOW)) == ["", "eu\ngpu", "gpu"]


async def test_what_waits_for_its_time_is_not_due_before(store: Store) -> None:
    for tags in ((), ("gpu",)):
        job = a_job(spec=a_spec(worker_tags=tags), due_at=NOW + SECOND)
        await store.jobs.add(job, its_event(job))

    assert set(await store.queue.due(NOW)) == set()
    assert sorted(await store.queue.due(NOW + SECOND)) == ["", "gpu"]


async def test_what_runs_or_was_deleted_is_not_due(store: Store) -> None:
    job = a_job()
    await store.jobs.add(job, its_event(job))
    await store.leases.claim(Asker("w"), NOW, LEASE)

    assert set(await store.queue.due(NOW)) == set()
