"""Spread jobs: how workers share one, its hosts and its limits, until it ends."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from crawlyard.core.crawl.page import Skipped
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.spread import REST
from crawlyard.engine.shard import Part
from crawlyard.store.queries import EVERY_JOB, EventQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_spec, a_target, done
from tests.conformance.spread_rig import (
    HOSTS,
    SHARDS,
    begun,
    joined,
    leave_shard,
    of,
    sent,
    state,
    state_of_lease,
    targets,
)
from tests.conformance.steps import added, claimed, moved
from tests.conformance.test_spread_edges import LATER, cut_into


async def test_a_spread_job_is_claimed_with_one_shard_and_others_join_it(store: Store) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))

    joined_claims = [await joined(store, f"w{n}") for n in range(2, 7)]

    shard_numbers = [first.lease.shard, *(c.lease.shard for c in joined_claims if c is not None)]
    assert sorted(shard_numbers) == [1, 2, 3, 4]
    assert joined_claims[-1] is None
    assert (await store.jobs.get(first.job.id)).shard.worker is None
    assert await store.leases.holders() == {"w1": 1, "w2": 1, "w3": 1, "w4": 1}
    assert [e.name for e in await store.events.events(EventQuery(subject=first.job.id))] == [
        "job.created",
        "job.started",
    ]


async def test_a_job_says_how_many_workers_have_it_or_parts_of_it(store: Store) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))
    assert await joined(store, "w2") is not None
    whole = await added(store, spec=a_spec())
    assert await store.leases.claim(Asker("w3", only=whole.id), NOW, LEASE) is not None
    waits = await added(store, spec=a_spec())

    listed = {
        standing.job.id: standing.workers for standing in await store.jobs.find(EVERY_JOB, 10)
    }

    assert listed == {first.job.id: 2, whole.id: 1, waits.id: 0}
    assert [(await store.jobs.get(job_id)).workers for job_id in listed] == list(listed.values())
    for number in (1, 2):  # one worker with two shards is one worker
        later = await joined(store, "w1", NOW + REST * (1 + number))
        assert later is not None
    assert (await store.jobs.get(first.job.id)).workers == 2


async def test_the_log_of_a_job_that_has_ended_goes_on_while_a_shard_of_it_is_held(
    store: Store,
) -> None:
    first = await begun(store)
    await moved(store, first.job.id, Move.CANCEL)

    meanwhile = (await store.journal.ends([first.job.id]))[first.job.id]
    await leave_shard(store, first.lease)
    afterwards = (await store.journal.ends([first.job.id]))[first.job.id]

    assert not meanwhile.over(NOW)
    assert meanwhile.over(NOW + LEASE)
    assert afterwards.over(NOW)


async def test_no_worker_joins_a_shard_without_waiting_urls(store: Store) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets(of(first.lease.shard))))

    assert await joined(store, "w2") is None


async def test_a_shard_loads_its_own_hosts_alone_in_the_order_of_the_strategy(
    store: Store,
) -> None:
    first = await begun(store)
    deep = [a_target("deep", host=host, depth=3) for host in HOSTS]
    await sent(store, first.lease, a_batch(found=[*deep, *targets()]))
    second = await joined(store, "w2")
    assert second is not None

    for lease in (first.lease, second.lease):
        mine = await store.frontier.load(lease, 100, depth_first=False)
        assert {t.host for t in mine} == set(of(lease.shard))
        assert [t.depth for t in mine] == sorted(t.depth for t in mine)
        upside_down = await store.frontier.load(lease, 100, depth_first=True)
        assert upside_down == list(reversed(mine))
        without = await store.frontier.load(
            lease, 100, depth_first=False, without=of(lease.shard)[:1]
        )
        assert {t.host for t in without} == set(of(lease.shard)[1:])
        assert len(await store.frontier.load(lease, 2, depth_first=False)) == 2


async def test_targets_that_waited_before_a_job_was_spread_are_dealt(store: Store) -> None:
    job = await added(store, spec=a_spec())
    whole = await store.leases.claim(Asker("w1", only=job.id), NOW, LEASE)
    assert whole is not None
    await sent(store, whole.lease, a_batch(found=targets()))
    paused = await moved(store, job.id, Move.PAUSE)
    await store.leases.free(whole.lease)
    edited, event = paused.edit(a_spec(spread=SHARDS), NOW, actor="local", changed={"spread": 4})
    await store.jobs.save(edited, event)
    await moved(store, job.id, Move.RESUME)

    first = await store.leases.claim(Asker("w1", only=job.id), NOW, LEASE)
    assert first is not None
    joined_claims = [await joined(store, f"w{n}") for n in range(2, 5)]

    leases = [first.lease, *(c.lease for c in joined_claims if c is not None)]
    loaded = [
        t for lease in leases for t in await store.frontier.load(lease, 100, depth_first=False)
    ]
    assert sorted(t.url for t in loaded) == sorted(t.url for t in targets())


@pytest.mark.parametrize("chunk", [100, 5])
@pytest.mark.parametrize("before", [False, True])
async def test_a_shard_knows_the_urls_of_its_hosts_and_no_others(
    store: Store, monkeypatch: pytest.MonkeyPatch, chunk: int, *, before: bool
) -> None:
    monkeypatch.setattr("crawlyard.store.crawl.frontier.CHUNK", chunk)
    plain = await claimed(store) if before else None
    old = targets(pages=1)
    if plain is not None:  # targets closed before the job was cut have no bucket
        await sent(store, plain.lease, a_batch(old, [done(target) for target in old]))
        await moved(store, plain.job.id, Move.PAUSE)
        await cut_into(store, plain.job.id, SHARDS)
        first = await store.leases.claim(Asker("w1"), LATER, LEASE)
        assert first is not None
    else:
        first = await begun(store)
    waiting, untold = targets(pages=3), [a_target("untold", host=host) for host in HOSTS]
    kept_out = [Skipped(a_target("out", host=host), "exclude: *out") for host in HOSTS]
    batch = a_batch(waiting, [done(target) for target in untold], skipped=kept_out)
    await sent(store, first.lease, batch, LATER)

    every = {t.fp: t.host for t in (*waiting, *untold, *(lease.target for lease in kept_out))}
    for shard in range(1, SHARDS + 1):
        chunks = [c async for c in store.frontier.read_known_fps(replace(first.lease, shard=shard))]
        read = [fp for some in chunks for fp in some]
        assert sorted(read) == sorted(fp for fp, host in every.items() if host in of(shard))
    some = [*list(every)[:3], 1, 2]
    monkeypatch.setattr("crawlyard.store.crawl.frontier.FPS_AT_ONCE", 2)
    assert await store.frontier.filter_known(first.lease.job_no, some) == set(some[:3])


async def test_start_hosts_are_dealt_to_the_shards_evenly_and_stay_there(store: Store) -> None:
    urls = tuple(f"http://127.0.0.{n}:8080/" for n in range(1, 9))
    job = await added(store, spec=a_spec(spread=SHARDS, urls=urls))
    claim = await store.leases.claim(Asker("w1", only=job.id), NOW, LEASE)
    assert claim is not None
    seeds = [a_target("", host=f"127.0.0.{n}:8080") for n in range(1, 9)]
    await sent(store, claim.lease, a_batch(found=seeds))

    joined_claims = [await joined(store, f"j{n}") for n in range(3)]
    leases = [claim.lease, *(other.lease for other in joined_claims if other is not None)]
    of_each = [
        [t.host for t in await store.frontier.load(lease, 100, depth_first=False)]
        for lease in leases
    ]

    assert [len(hosts) for hosts in of_each] == [2, 2, 2, 2]
    for lease, hosts in zip(leases, of_each, strict=True):
        part = Part(lease.shard, lease.of, lease.starts)
        assert [t.host for t in seeds if part.owns is None or part.owns(t.host)] == sorted(hosts)
        await leave_shard(store, lease)
    await moved(store, job.id, Move.PAUSE)
    await cut_into(store, job.id, 2)
    again = await store.leases.claim(Asker("w1", only=job.id), NOW, LEASE)
    assert again is not None
    assert len(await store.frontier.load(again.lease, 100, depth_first=False)) == 4


async def test_what_two_shards_find_is_counted_once(store: Store) -> None:
    first = await begun(store)
    links = targets()
    await sent(store, first.lease, a_batch(found=links))
    second = await joined(store, "w2")
    assert second is not None

    answer = await sent(store, second.lease, a_batch(found=[*links[:5], a_target("new")]))

    assert answer.usage.discovered == len(links) + 1


async def test_running_time_is_counted_per_job_across_workers(store: Store) -> None:
    first = await begun(store)
    second_of = timedelta(seconds=1)
    tick = a_batch(found=targets())
    tick = replace(tick, usage=replace(tick.usage, duration_s=1))
    await sent(store, first.lease, tick, NOW + second_of)
    second = await joined(store, "w2", NOW + second_of)
    assert second is not None

    same_time = a_batch()
    same_time = replace(same_time, usage=replace(same_time.usage, duration_s=0.5))
    answer = await sent(store, second.lease, same_time, NOW + second_of * 1.25)

    assert answer.usage.duration_s == 1.25


async def test_the_shards_together_never_have_more_than_is_left_of_a_limit(store: Store) -> None:
    first = await begun(store, limits=Limits(pages=10, bytes=12_000))
    links = targets()
    await sent(store, first.lease, a_batch(found=links))
    claims = [first, *[await joined(store, f"w{n}") for n in range(2, 5)]]

    shards = await store.spread.shards(first.job.id)
    budgets = [shard.budget for shard in shards.values() if shard.worker]
    assert all(c is not None for c in claims)
    assert sum(budget["pages"] for budget in budgets) <= 10
    assert sum(budget["bytes"] for budget in budgets) <= 12_000
    assert all(budget["pages"] > 0 for budget in budgets)


async def test_a_shard_that_leaves_gives_its_part_of_a_limit_back(store: Store) -> None:
    first = await begun(store, limits=Limits(pages=10))
    await sent(store, first.lease, a_batch(found=targets()))
    second = await joined(store, "w2")
    assert second is not None
    assert second.share is not None

    await leave_shard(store, first.lease)
    page_budgets = [second.share.budget["pages"]]
    for _ in range(10):  # a batch with a page each: until the limit is used up
        [target, *_] = await store.frontier.load(second.lease, 1, depth_first=False)
        answer = await sent(store, second.lease, a_batch(outcomes=[done(target)]))
        assert answer.share is not None
        second = replace(second, lease=answer.lease)
        page_budgets.append(answer.share.budget["pages"])
        if answer.share.over:
            break
        if not await store.frontier.load(second.lease, 1, depth_first=False):
            break

    assert sum(s.usage.pages for s in (await store.spread.shards(first.job.id)).values()) <= 10
    assert all(left_over >= 1 for left_over in page_budgets[:-1])


async def test_the_answer_says_which_limit_of_the_job_is_used_up(store: Store) -> None:
    first = await begun(store, limits=Limits(pages=1))
    [target] = targets(of(first.lease.shard)[:1], pages=1)

    answer = await sent(store, first.lease, a_batch([target], [done(target)]))

    assert answer.share is not None
    assert answer.share.over == "pages"


async def test_the_job_ends_with_its_last_shard_when_nothing_waits(store: Store) -> None:
    first = await begun(store)
    links = targets(pages=1)
    await sent(store, first.lease, a_batch(found=links))
    second = await joined(store, "w2")
    assert second is not None
    mine = [t for t in links if t.host in of(second.lease.shard)]
    rest = [t for t in links if t not in mine]
    await sent(store, second.lease, a_batch(outcomes=[done(t) for t in mine]))
    await leave_shard(store, second.lease)
    still = await state(store, first.lease)
    [lease] = [(await state_of_lease(store, first.lease))]

    await sent(store, lease, a_batch(outcomes=[done(t) for t in rest]))
    await leave_shard(store, lease)

    ended = await state(store, first.lease)
    assert still.state is State.RUNNING
    assert (ended.state, ended.state_reason) == (State.COMPLETED, StateReason.EXHAUSTED)
    assert await store.leases.holders() == {}


async def test_a_shard_that_leaves_goes_on_with_another_in_which_something_waits(
    store: Store,
) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets(of(first.lease.shard % SHARDS + 1))))

    onward = await leave_shard(store, await state_of_lease(store, first.lease), further=True)

    assert onward is not None
    assert onward.lease.shard == first.lease.shard % SHARDS + 1
    assert (await state(store, first.lease)).state is State.RUNNING


async def test_a_job_whose_last_shard_is_left_while_something_waits_is_queued_again(
    store: Store,
) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))

    await leave_shard(store, await state_of_lease(store, first.lease))

    assert (await state(store, first.lease)).state is State.PENDING
    again = await store.leases.claim(Asker("w2"), NOW, LEASE)
    assert again is not None
    assert again.lease.shard > 0
