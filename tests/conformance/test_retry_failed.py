"""`JobStore.retry_failed`: failed targets wait again, as if they had never been tried."""

import pytest
from msgspec.structs import replace

from crawlyard.core.crawl.page import Body, ErrorKind
from crawlyard.core.jobs.checkpoint import Claim
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.errors import Conflict
from crawlyard.store.queries import PageQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_job, a_target, done, failed
from tests.conformance.steps import (
    claimed,
    ended,
    moved,
    names,
    recorded,
    shard_of,
    urls,
    waiting,
)

GOOD, SLOW, GONE, BUSY = (a_target(path) for path in ("good", "slow", "gone", "busy"))


async def crawled(store: Store) -> Claim:
    """Return the claim of a job with one good page and three failed ones, not yet ended."""
    claim = await claimed(store)
    outcomes = [
        done(GOOD),
        failed(replace(SLOW, tries=2, due_at=NOW), ErrorKind.TIMEOUT),
        failed(GONE, ErrorKind.HTTP_4XX, status=404),
        failed(BUSY, ErrorKind.HTTP_5XX, status=503),
    ]
    answer = await recorded(store, claim.lease, a_batch([GOOD, SLOW, GONE, BUSY], outcomes))
    return replace(claim, lease=answer.lease)


async def retried(store: Store, job_id: str, *kinds: ErrorKind) -> int:
    job = (await store.jobs.get(job_id)).job
    return await store.jobs.retry_failed(
        *job.apply_move(Move.RETRY_FAILED, NOW, actor="ada"), kinds
    )


async def test_all_failed_targets_are_requeued_with_their_tries_reset(store: Store) -> None:
    claim = await crawled(store)
    await ended(store, claim.lease)

    count = await retried(store, claim.job.id)

    assert count == 3
    assert await store.frontier.load(claim.lease, 10, depth_first=False) == [
        SLOW,
        GONE,
        BUSY,
    ]
    pages = await store.pages.pages(claim.job.id, PageQuery(), 10)
    assert urls(p.page for p in pages) == [GOOD.url]
    assert await store.pages.errors(claim.job.id) == []


async def test_the_job_is_saved_with_its_event(store: Store) -> None:
    claim = await crawled(store)
    await ended(store, claim.lease)

    await retried(store, claim.job.id)

    job = (await store.jobs.get(claim.job.id)).job
    assert (job.state, job.version) == (State.PENDING, 4)
    assert await names(store, job.id) == ["created", "started", "completed", "retried"]


async def test_only_the_kinds_that_are_named_are_retried(store: Store) -> None:
    claim = await crawled(store)
    await ended(store, claim.lease)

    count = await retried(store, claim.job.id, ErrorKind.HTTP_5XX, ErrorKind.DNS)

    assert count == 1
    assert await waiting(store, claim.lease.job_no) == [BUSY.url]
    assert [g.kind for g in await store.pages.errors(claim.job.id)] == ["http_4xx", "timeout"]


async def test_a_retry_restores_usage_and_pages_only_of_answered_targets(
    store: Store,
) -> None:
    claim = await crawled(store)
    before = (await shard_of(store, claim.job.id)).usage
    await ended(store, claim.lease)

    await retried(store, claim.job.id, ErrorKind.TIMEOUT, ErrorKind.HTTP_4XX)

    after = (await shard_of(store, claim.job.id)).usage
    assert (before.pages, before.errors, before.done) == (3, 3, 4)
    assert after == replace(before, pages=2, errors=1, done=2)


async def test_none_failed_is_none_retried(store: Store) -> None:
    claim = await claimed(store)
    answer = await recorded(store, claim.lease, a_batch([GOOD], [done(GOOD)]))
    await ended(store, answer.lease)

    assert await retried(store, claim.job.id) == 0


async def test_what_is_retried_is_recorded_like_anything_else(store: Store) -> None:
    claim = await crawled(store)
    await ended(store, claim.lease)
    await retried(store, claim.job.id)
    again = await claimed(store, claim.job)

    text = {Body.TEXT: b"at last"}
    await recorded(store, again.lease, a_batch([], [done(t, text) for t in (SLOW, GONE, BUSY)]))

    pages = await store.pages.pages(claim.job.id, PageQuery(), 10)
    assert urls(p.page for p in pages) == urls([GOOD, SLOW, GONE, BUSY])
    assert len(await store.pages.bodies([p.id for p in pages], [Body.TEXT])) == 3
    usage = (await shard_of(store, claim.job.id)).usage
    assert (usage.pages, usage.errors, usage.done, usage.discovered) == (4, 0, 4, 4)


async def test_a_reader_that_goes_on_after_its_last_page_sees_the_new_ones(store: Store) -> None:
    claim = await crawled(store)
    await ended(store, claim.lease)
    last = (await store.pages.pages(claim.job.id, PageQuery(), 10))[-1].id
    await retried(store, claim.job.id)
    again = await claimed(store, claim.job)

    await recorded(store, again.lease, a_batch([], [done(BUSY)]))

    [new] = await store.pages.pages(claim.job.id, PageQuery(after=last), 10)
    assert new.page.url == BUSY.url


async def test_a_job_that_has_moved_on_is_left_as_it_is(store: Store) -> None:
    claim = await crawled(store)
    job = await ended(store, claim.lease)
    await moved(store, job.id, Move.RESUME)

    with pytest.raises(Conflict):
        await store.jobs.retry_failed(*job.apply_move(Move.RETRY_FAILED, NOW, actor="ada"), [])

    assert await waiting(store, claim.lease.job_no) == []
    assert (await shard_of(store, job.id)).usage.errors == 3


async def test_a_job_that_is_not_there_cannot_be_retried(store: Store) -> None:
    job = a_job(state=State.FAILED)

    with pytest.raises(Conflict):
        await store.jobs.retry_failed(*job.apply_move(Move.RETRY_FAILED, NOW, actor="ada"), [])


async def test_a_job_that_is_still_held_is_refused_until_its_lease_lapses(store: Store) -> None:
    claim = await crawled(store)
    job = await moved(store, claim.job.id, Move.CANCEL)

    with pytest.raises(Conflict, match="w1"):
        await retried(store, job.id)
    in_time = job.apply_move(Move.RETRY_FAILED, NOW + LEASE, actor="ada")
    count = await store.jobs.retry_failed(*in_time, [])

    assert count == 3


# --- a failed attempt that lets its targets wait again


async def test_an_attempt_that_failed_lets_its_targets_wait_with_the_job(store: Store) -> None:
    claim = await crawled(store)
    retried_job, event = claim.job.fail_attempt(NOW, NOW + LEASE, actor="worker:w1", detail="dns")

    await store.leases.settle(claim.lease, retried_job, event, again={ErrorKind.TIMEOUT})

    standing = await store.jobs.get(claim.job.id)
    assert standing.job == retried_job
    assert (standing.shard.worker, standing.shard.usage.errors) == (None, 2)
    assert await waiting(store, claim.lease.job_no) == [SLOW.url]


async def test_what_it_did_not_name_stays_failed(store: Store) -> None:
    claim = await crawled(store)
    retried_job, event = claim.job.fail_attempt(NOW, NOW + LEASE, actor="worker:w1", detail="dns")

    await store.leases.settle(claim.lease, retried_job, event)

    assert await waiting(store, claim.lease.job_no) == []
    assert (await shard_of(store, claim.job.id)).usage.errors == 3


async def test_an_attempt_that_is_over_lets_nothing_wait(store: Store) -> None:
    claim = await crawled(store)
    await moved(store, claim.job.id, Move.PAUSE)
    failed_job, event = claim.job.fail_attempt(NOW, NOW + LEASE, actor="worker:w1", detail="dns")

    with pytest.raises(Conflict):
        await store.leases.settle(claim.lease, failed_job, event, again={ErrorKind.TIMEOUT})

    assert await waiting(store, claim.lease.job_no) == []
    assert (await shard_of(store, claim.job.id)).usage.errors == 3
