"""Shards of a job, and the share of its limits that each may use."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.jobs.checkpoint import Batch, Lease
from crawlyard.core.jobs.job import Shard
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.core.jobs.spec import MOST_SHARDS, Spread
from crawlyard.core.jobs.spread import (
    BUCKETS,
    Allowance,
    Extent,
    Share,
    bucket_of,
    buckets_of,
    grant_budget,
    once,
    shard_of,
    shards_for,
    starts_of,
    subtract_usage,
    to_give_back,
    usable,
)
from crawlyard.errors import Invalid
from crawlyard.store.jobs.shard_rules import Parts, apply_part_batch, cut, follow
from tests.builders import NOW, a_spec

SECOND = timedelta(seconds=1)


@given(st.integers(1, MOST_SHARDS), st.text(min_size=1, max_size=30))
def test_a_host_is_of_the_shard_that_has_its_bucket(of: int, host: str) -> None:
    shard = shard_of(host, of)
    assert bucket_of(host) in buckets_of(shard, of)


@given(st.integers(1, MOST_SHARDS))
def test_the_shards_have_all_buckets_and_none_twice(of: int) -> None:
    dealt = [bucket for shard in range(1, of + 1) for bucket in buckets_of(shard, of)]
    assert sorted(dealt) == list(range(BUCKETS))
    assert all(buckets_of(shard, of) for shard in range(1, of + 1))


def test_a_host_stays_in_its_bucket_for_ever() -> None:
    """A frontier that was cut by another version is still cut in the same way."""
    buckets = [bucket_of(host) for host in ("example.org", "docs.python.org", "127.0.0.1:8080")]
    assert buckets == [6, 9, 43]


def test_the_first_start_hosts_have_buckets_in_turn_whatever_their_ports() -> None:
    urls = [f"http://{name}/{page}" for name in ("b.example", "a.example:8080") for page in "xy"]
    assert starts_of(urls) == ("b.example", "a.example:8080")
    many = starts_of(f"https://h{n}.example/" for n in range(100))
    assert [bucket_of(host, many) for host in many] == list(range(BUCKETS))
    assert bucket_of("h99.example", many) == bucket_of("h99.example")
    for of in range(2, 9):
        counts = Counter(shard_of(host, of, many[:8]) for host in many[:8])
        assert max(counts.values()) - min(counts[n] for n in range(1, of + 1)) <= 1


def test_a_job_is_cut_as_asked_or_by_what_waits() -> None:
    cases: list[tuple[int | Spread, Extent, int]] = [
        (0, Extent(hosts=100, waiting=100), 0),
        (1, Extent(hosts=100, waiting=100), 0),
        (4, Extent(hosts=1, waiting=1), 4),
        (Spread.AUTO, Extent(hosts=15, waiting=10_000), 0),
        (Spread.AUTO, Extent(hosts=16, waiting=10_000), 2),
        (Spread.AUTO, Extent(hosts=1_000, waiting=10_000), 8),
        (Spread.AUTO, Extent(hosts=1_000, waiting=5_999, rate=100.0), 0),
        (Spread.AUTO, Extent(hosts=1_000, waiting=6_000, rate=100.0), 8),
    ]
    for wanted_shards, extent, shards in cases:
        assert shards_for(wanted_shards, extent) == shards, (wanted_shards, extent)


def test_a_number_of_shards_out_of_range_is_refused(subtests: pytest.Subtests) -> None:
    for count in [-1, MOST_SHARDS + 1]:
        with (
            subtests.test(asked=count),
            pytest.raises(Invalid, match='expected 0 to 64, or "auto"'),
        ):
            a_spec(spread=count)


@given(
    st.dictionaries(st.integers(1, MOST_SHARDS), st.sampled_from("abcd"), min_size=1),
    st.sets(st.sampled_from("abcd"), min_size=1),
)
def test_shards_are_given_back_until_all_with_free_slots_have_their_part(
    holders: dict[int, str], free: set[str]
) -> None:
    moved = 0
    while moves := [(n, w) for w in free if (n := to_give_back(holders, (), w)) is not None]:
        number, asker = moves[0]
        assert holders[number] != asker
        holders[number] = asker
        moved += 1
        assert moved < MOST_SHARDS
    counts = Counter(holders.values())
    assert max(counts.values()) - min(counts[worker] for worker in free) <= 1


def test_a_shard_that_is_on_its_way_to_a_worker_counts_as_its_own() -> None:
    holders = {1: "a", 2: "a", 3: "a"}
    assert to_give_back(holders, (), "b") == 3
    assert to_give_back(holders, ("b",), "c") == 3
    assert to_give_back(holders, ("b", "b"), "b") is None
    assert to_give_back({1: "a"}, ("a",), "b") == 1


amounts = st.integers(0, 5_000)


@given(
    st.integers(1, 5_000),
    amounts,
    amounts,
    st.lists(amounts, max_size=5),
    st.integers(2, MOST_SHARDS),
)
def test_no_portion_takes_what_others_have_or_what_was_used(
    ceiling: int, used: int, mine: int, allowances: list[int], of: int
) -> None:
    budgets = [{"pages": other} for other in allowances]
    allowance = grant_budget(Limits(pages=ceiling), Usage(pages=used), {"pages": mine}, budgets, of)
    assert 0 <= allowance["pages"] <= max(0, ceiling - used - sum(allowances))


def test_portions_get_smaller_near_the_end_and_follow_only_limits() -> None:
    limits = Limits(pages=10_000)
    portions = [
        grant_budget(limits, Usage(pages=used), {}, (), 4)["pages"]
        for used in (0, 5_000, 9_900, 9_999)
    ]
    assert portions == [1_000, 625, 12, 1]
    allowance = grant_budget(Limits(errors=10), Usage(), {}, (), 2)
    assert allowance == {"errors": 2}


def test_a_portion_is_spent_down_to_nothing_and_not_below() -> None:
    rest = subtract_usage({"pages": 3, "bytes": 100}, Usage(pages=2, bytes=500))
    assert rest == {"pages": 1, "bytes": 0}
    assert not usable(rest)
    assert usable({"pages": 1})


def test_running_time_that_was_counted_is_not_counted_again() -> None:
    for duration, apart, counted in [
        (1.0, None, 1.0),
        (1.0, 3.0, 1.0),
        (1.0, 0.25, 0.25),
        (1.0, -1.0, 0.0),
    ]:
        assert once(duration, apart) == counted, apart


def test_a_shard_fetches_as_long_as_its_portion_lasts_all_in_flight_counted() -> None:
    allowance = Allowance(Usage(pages=10), Share(budget={"pages": 3}))
    assert allowance.decide(Usage(pages=10), 2).allowed
    assert not allowance.decide(Usage(pages=10), 3).allowed
    assert not allowance.decide(Usage(pages=12), 1).allowed
    assert not allowance.decide(Usage(pages=13)).used_up, "the next answer may bring more"


def test_a_shard_stops_at_the_limits_of_time_and_of_the_whole_job() -> None:
    timed = Allowance(Usage(duration_s=1.0), Share(left_s=1.0))
    over = Allowance(Usage(), Share(over="bytes"))
    assert timed.decide(Usage(duration_s=1.5)).allowed
    assert timed.decide(Usage(duration_s=2.0)).limit == "duration"
    assert over.decide(Usage()).limit == "bytes"


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.floats(0.2, 2), st.booleans()), min_size=6, max_size=30
    )
)
def test_shards_that_work_at_the_same_time_count_their_running_time_once(
    checkpoints: list[tuple[int, float, bool]],
) -> None:
    parts, now, began, pages = Parts(job_no=1, total=Shard(usage=Usage(pages=7))), NOW, NOW, 7
    cut(parts, 3, now)
    parts.rebase()
    last_of = dict.fromkeys((1, 2, 3), now)
    for number, later_s, is_free in checkpoints:
        now += timedelta(seconds=later_s)
        worked_s = (now - last_of[number]).total_seconds()
        last_of[number], pages = now, pages + 1
        lease = Lease(job_id="", job_no=1, worker="w", attempt=0, seq=0, version=0, shard=number)
        batch = Batch(usage=Usage(pages=1, duration_s=worked_s))
        apply_part_batch(parts, lease, batch, 0, 0, now)
        if is_free:  # the row with the totals: others may have added them up later than now
            follow(parts, batch, now - timedelta(seconds=0.1))
        assert parts.usage().pages == pages
    parts.add_up()

    work = sum(shard.usage.duration_s for shard in parts.shards.values())
    assert parts.total.usage.pages == pages
    assert parts.total.usage.duration_s <= min(work, (now - began).total_seconds()) + 1e-6
