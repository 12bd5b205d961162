"""`FrontierStore`: what waits comes in the order of the strategy; what is known is never lost."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from crawlyard.core.crawl.page import Outcome, Skipped, TargetState, Via
from crawlyard.store.crawl import frontier
from crawlyard.store.store import Store
from tests.builders import NOW, a_batch, a_target, done, failed
from tests.conformance.steps import claimed, fingerprints, recorded, waiting, whole


@pytest.mark.parametrize(("depth_first", "order"), [(False, "aebcd"), (True, "dcbea")])
async def test_the_lowest_come_first_in_the_order_of_finding_or_all_the_other_way_round(
    store: Store, depth_first: bool, order: str
) -> None:
    claim = await claimed(store)
    first = [a_target("b", depth=1), a_target("a", depth=0), a_target("c", depth=1)]
    second = [a_target("e", depth=0), a_target("d", depth=1)]
    answer = await recorded(store, claim.lease, a_batch(first))
    await recorded(store, answer.lease, a_batch(second))

    loaded = await store.frontier.load(claim.lease, 10, depth_first=depth_first)

    assert "".join(t.url[-1] for t in loaded) == order


@pytest.mark.parametrize("depth_first", [False, True])
async def test_at_most_limit_come_and_they_are_the_first(store: Store, depth_first: bool) -> None:
    claim = await claimed(store)
    await recorded(store, claim.lease, a_batch([a_target(str(n), depth=n % 3) for n in range(20)]))
    no = claim.lease.job_no

    some = await store.frontier.load(whole(no), 7, depth_first=depth_first)

    assert some == (await store.frontier.load(whole(no), 100, depth_first=depth_first))[:7]
    assert len(some) == 7


async def test_only_what_waits_is_loaded(store: Store) -> None:
    claim = await claimed(store)
    targets = [a_target(str(n)) for n in range(5)]
    outcomes = [
        done(targets[0]),
        failed(targets[1]),
        Outcome(targets[2], TargetState.SKIPPED, rule="robots"),
        Outcome(targets[3], TargetState.REDIRECTED, rule="301"),
    ]

    await recorded(store, claim.lease, a_batch(targets, outcomes, [Skipped(a_target("x"), "r")]))

    assert await waiting(store, claim.lease.job_no) == [targets[4].url]


async def test_what_is_not_due_is_loaded_as_well(store: Store) -> None:
    claim = await claimed(store)
    target = a_target(due_at=NOW + timedelta(hours=1), tries=1)

    await recorded(store, claim.lease, a_batch([target]))

    assert await store.frontier.load(claim.lease, 1, depth_first=False) == [target]


async def test_hosts_are_left_out_that_are_named(store: Store) -> None:
    claim = await claimed(store)
    targets = [a_target("", host=host) for host in ("a.example", "b.example", "c.example:81")]
    await recorded(store, claim.lease, a_batch(targets))

    remaining = await waiting(store, claim.lease.job_no, without={"a.example", "c.example:81", "x"})

    assert remaining == ["https://b.example/"]


async def test_links_out_of_scope_are_counted_if_they_were_taken(store: Store) -> None:
    claim = await claimed(store)
    targets = [a_target(str(n), via=Via.EXTERNAL) for n in range(3)]
    skipped = [Skipped(a_target("x", via=Via.LINK), "scope: other host")]
    await recorded(store, claim.lease, a_batch([*targets, a_target()], [done(targets[0])], skipped))

    assert await store.frontier.externals(claim.lease.job_no) == 3


async def test_jobs_do_not_see_each_others_targets(store: Store) -> None:
    first, two = await claimed(store), await claimed(store)
    await recorded(store, first.lease, a_batch([a_target("1", via=Via.SEED, hops=1)]))

    assert await waiting(store, two.lease.job_no) == []
    assert await fingerprints(store, two.lease.job_no) == []
    assert await store.frontier.roots(two.lease.job_no) == []


async def test_everything_ever_found_or_skipped_is_known_in_chunks(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontier, "CHUNK", 3)
    claim = await claimed(store)
    targets = [a_target(str(n)) for n in range(7)]
    skipped = [Skipped(a_target(f"s{n}"), "scope") for n in range(2)]

    await recorded(
        store, claim.lease, a_batch(targets, [done(targets[0]), failed(targets[1])], skipped)
    )

    fps = sorted([*(t.fp for t in targets), *(s.target.fp for s in skipped)])
    assert await fingerprints(store, claim.lease.job_no) == fps


async def test_roots_are_where_redirects_of_seeds_led(store: Store) -> None:
    claim = await claimed(store)
    seed = a_target("seed")
    hop = a_target("1", via=Via.SEED, hops=1, origin=seed.url)
    end = a_target("2", host="other.example", via=Via.SEED, hops=2, origin=seed.url)
    link = a_target("3", via=Via.LINK, hops=1)
    redirected = [Outcome(t, TargetState.REDIRECTED, rule="301") for t in (seed, hop)]

    await recorded(store, claim.lease, a_batch([seed, hop, end, link], redirected))

    assert sorted(await store.frontier.roots(claim.lease.job_no)) == sorted([hop.url, end.url])


async def test_a_target_goes_on_where_its_tries_stand(store: Store) -> None:
    claim = await claimed(store)
    target = a_target("a", origin="https://example.com/o", parent=7, depth=3, via=Via.SITEMAP)
    answer = await recorded(store, claim.lease, a_batch([target]))
    tried = replace(target, tries=1, due_at=NOW + timedelta(microseconds=1))

    await recorded(store, answer.lease, a_batch([], [Outcome(tried, TargetState.WAITING)]))

    assert await store.frontier.load(claim.lease, 1, depth_first=True) == [tried]
