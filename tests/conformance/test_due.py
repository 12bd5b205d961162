"""What a dispatcher asks the queue: which jobs are due, by what they need of a worker."""

from datetime import timedelta

from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.queue import Wakeup
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_job, a_spec, its_event

SECOND = timedelta(seconds=1)


async def test_nothing_is_due_where_nothing_waits(store: Store) -> None:
    assert set(await store.queue.due(NOW)) == set()


async def test_what_is_due_is_told_once_for_all_that_need_the_same(store: Store) -> None:
    for tags in ((), (), ("gpu",), ("gpu", "eu"), ("eu", "gpu")):
        job = a_job(spec=a_spec(worker_tags=tags))
        await store.jobs.add(job, its_event(job))

    assert sorted(await store.queue.due(NOW)) == [Wakeup(NOW, n) for n in ("", "eu\ngpu", "gpu")]


async def test_what_is_urgent_is_told_apart(store: Store) -> None:
    for tags in ((), ("gpu",)):
        for priority in (Priority.URGENT, Priority.URGENT, Priority.HIGH, Priority.LOW):
            job = a_job(spec=a_spec(worker_tags=tags, priority=priority))
            await store.jobs.add(job, its_event(job))

    once = sorted(await store.queue.due(NOW))
    await store.leases.claim(Asker("w", frozenset({"gpu"})), NOW, LEASE)  # marks what is due
    then = sorted(await store.queue.due(NOW))

    kinds = [Wakeup(NOW, needs, urgent=u) for needs in ("", "gpu") for u in (False, True)]
    assert once == then == kinds


async def test_what_waits_for_its_time_is_not_due_before(store: Store) -> None:
    for tags in ((), ("gpu",)):
        job = a_job(spec=a_spec(worker_tags=tags), due_at=NOW + SECOND)
        await store.jobs.add(job, its_event(job))

    assert set(await store.queue.due(NOW)) == set()
    later = NOW + SECOND
    assert sorted(await store.queue.due(later)) == [Wakeup(later), Wakeup(later, "gpu")]


async def test_what_runs_or_was_deleted_is_not_due(store: Store) -> None:
    job = a_job()
    await store.jobs.add(job, its_event(job))
    await store.leases.claim(Asker("w"), NOW, LEASE)

    assert set(await store.queue.due(NOW)) == set()
