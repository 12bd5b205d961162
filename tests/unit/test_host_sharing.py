"""Processes that share hosts: slots and windows of each."""

import asyncio
from collections.abc import AsyncIterator
from itertools import cycle, pairwise, repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlyard.core.hosts.slots import LAST
from tests.clock import settle
from tests.unit.sharing_rig import MINUTE, SECOND, SharingRig


@pytest.fixture
async def rig() -> AsyncIterator[SharingRig]:
    rig = SharingRig()
    yield rig
    await rig.end()


# --- slots


async def test_two_processes_share_the_slots_of_a_host_within_two_seconds(rig: SharingRig) -> None:
    first, second = rig.process(), rig.process()
    first.begin()
    await rig.clock.advance(5 * SECOND)
    second.begin()
    await rig.clock.advance(2 * SECOND)

    shares = await rig.sent_in(10 * SECOND, first, second)

    assert rig.site.most == 4
    assert shares == [80, 80]  # of 16 a second, half and half


async def test_slots_that_another_process_waits_for_are_released_within_a_second(
    rig: SharingRig,
) -> None:
    first, second = rig.process(), rig.process()
    first.begin()
    await rig.clock.advance(5.5 * SECOND)  # half a second before it knows of others
    second.begin()
    await rig.clock.advance(1.25 * SECOND)
    assert await rig.sent_in(10 * SECOND, first, second) == [80, 80]


async def test_a_process_that_ends_releases_its_slots_immediately(rig: SharingRig) -> None:
    first, second = rig.process(), rig.process()
    first.begin()
    second.begin()
    await rig.clock.advance(5 * SECOND)

    await first.end()
    await rig.clock.advance(SECOND)

    assert await rig.sent_in(5 * SECOND, second) == [80]
    assert rig.site.most == 4


async def test_released_slots_of_a_removed_job_are_free_immediately(
    rig: SharingRig,
) -> None:
    first, second = rig.process(delay_s=1.0), rig.process(delay_s=1.0)
    first.begin()
    await rig.clock.advance(5.5 * SECOND)
    for task in first.tasks:
        task.cancel()
    await settle()
    first.limiter.remove_job("job")

    first.limiter.release_unused_slots()
    await settle()
    second.begin()
    await rig.clock.advance(SECOND / 2)

    assert second.sent == 1  # a second after the last request of the first


async def test_slots_of_a_killed_process_are_free_when_they_expire(
    rig: SharingRig,
) -> None:
    first, second = rig.process(), rig.process()
    first.begin()
    second.begin()
    await rig.clock.advance(5 * SECOND)

    await first.die()
    half = await rig.sent_in(8 * SECOND, second)
    await rig.clock.advance(LAST)

    assert half == [64]
    assert await rig.sent_in(5 * SECOND, second) == [80]


async def test_slots_last_no_longer_than_a_lease(rig: SharingRig) -> None:
    first, second = (rig.process(lease=6 * SECOND) for _ in range(2))
    first.begin()
    second.begin()
    await rig.clock.advance(5 * SECOND)

    await first.die()
    half = await rig.sent_in(4 * SECOND, second)
    await rig.clock.advance(3 * SECOND)

    assert half == [32]
    assert await rig.sent_in(5 * SECOND, second) == [80]


async def test_a_process_that_may_be_presumed_dead_does_not_use_reassigned_slots(
    rig: SharingRig,
) -> None:
    first, second = rig.process(name="one"), rig.process()
    first.begin()
    second.begin()
    await rig.clock.advance(5 * SECOND)

    first.limiter.expire_slots()
    first.line.cut = True
    await rig.clock.advance(SECOND)
    await rig.store.hosts.release_slots("one")
    alone = await rig.sent_in(3 * SECOND, second)
    first.line.cut = False
    back = await rig.sent_in(10 * SECOND, first)

    assert alone[0] >= 40  # of 48
    assert 0 < back[0] <= 80
    assert rig.site.most == 4


async def test_a_process_without_the_store_does_not_use_expired_slots(
    rig: SharingRig,
) -> None:
    first = rig.process()
    first.begin()
    await rig.clock.advance(5 * SECOND)

    first.line.cut = True
    await rig.clock.advance(LAST)
    away = await rig.sent_in(MINUTE, first)
    first.line.cut = False
    await rig.clock.advance(SECOND)

    assert away == [0]
    assert await rig.sent_in(5 * SECOND, first) == [80]


async def test_no_process_starves_with_fewer_slots_than_processes(rig: SharingRig) -> None:
    processes = [rig.process(at_once=1) for _ in range(3)]
    for process in processes:
        process.begin()

    sent = await rig.sent_in(2 * MINUTE, *processes)

    assert rig.site.most == 1
    assert min(sent) > 50
    assert sum(sent) > 300  # of 480 at best: a slot is idle while it changes hands


@pytest.mark.parametrize(
    "takes_s", [*(pytest.param(n, marks=pytest.mark.slow) for n in (5, 10, 20, 30)), 40]
)
@pytest.mark.parametrize("many", [2, pytest.param(3, marks=pytest.mark.slow)])
async def test_no_process_starves_on_a_slow_host(rig: SharingRig, many: int, takes_s: int) -> None:
    processes = [rig.process(at_once=1) for _ in range(many)]
    for process in processes:
        process.begin(takes_s=takes_s)
        await rig.clock.advance(3 * SECOND)

    sent = await rig.sent_in(20 * MINUTE, *processes)

    assert rig.site.most == 1
    assert min(sent) >= 0.7 * max(sent)
    assert sum(sent) >= 0.7 * 20 * 60 / takes_s


async def test_a_process_renews_its_slots_once_a_second_only_while_in_use(
    rig: SharingRig,
) -> None:
    first = rig.process()
    first.begin()
    await rig.clock.advance(10 * SECOND)
    asking = len(first.line.renewals)
    for task in first.tasks:
        task.cancel()
    await rig.clock.advance(5 * SECOND)
    after = len(first.line.renewals)

    await rig.clock.advance(MINUTE)

    assert asking == 11  # at first contact, and then each second
    assert len(first.line.renewals) == after <= asking + 4
    other = rig.process()
    other.begin()
    assert await rig.sent_in(SECOND, other) == [20]  # 4 at once, 5 times: all slots are free


async def test_hosts_that_are_met_together_share_a_transaction(rig: SharingRig) -> None:
    first = rig.process()
    for n in range(20):
        first.limiter.set_limits("job", f"h{n}.example", 0.0, 2)
        assert first.limiter.ready_in(f"h{n}.example") > 0
    await settle()

    assert first.line.renewals == [20]
    assert {first.limiter.ready_in(f"h{n}.example") for n in range(20)} == {0.0}
    await rig.clock.advance(SECOND)
    assert first.line.renewals == [20, 20]


@settings(max_examples=15, deadline=None)
@given(
    at_once=st.integers(1, 4),
    delay=st.integers(0, 2),
    slow=st.integers(0, 3),
    comings=st.lists(
        st.tuples(st.integers(0, 20), st.integers(3, 20), st.booleans()), min_size=2, max_size=4
    ),
)
async def test_however_processes_come_and_go_the_host_has_one_pace(
    at_once: int, delay: int, slow: int, comings: list[tuple[int, int, bool]]
) -> None:
    rig = SharingRig()

    async def live(begins_s: int, lasts_s: int, *, killed: bool) -> None:
        process = rig.process(at_once=at_once, delay_s=delay / 4)
        process.line.slow = slow * SECOND / 4
        await rig.clock.sleep(begins_s * SECOND)
        process.begin(takes_s=0.75)
        await rig.clock.sleep(lasts_s * SECOND)
        # its requests die with it: the host is not asked for them any more
        await (process.die() if killed else process.end())

    loop = asyncio.get_running_loop()
    lives = [loop.create_task(live(b, n, killed=killed)) for b, n, killed in comings]
    await rig.clock.advance(MINUTE)

    assert all(life.done() and life.exception() is None for life in lives)
    assert rig.site.most <= at_once
    began = sorted(rig.site.began)
    assert all(b - a >= delay / 4 for a, b in pairwise(began))
    assert began


async def test_slots_offered_to_other_processes_are_not_used_meanwhile(rig: SharingRig) -> None:
    first, second = rig.process(crawls=3), rig.process(crawls=2)
    await rig.take_slot(first)
    second.begin(takes_s=60)
    first.line.slow = SECOND / 2
    await rig.clock.advance(SECOND)  # a renewal has begun: half of the slots may be given away

    first.begin(takes_s=60)
    meanwhile = await rig.sent_in(SECOND / 2, first)
    await rig.clock.advance(5 * SECOND)

    assert meanwhile == [1]
    assert (first.sent, second.sent) == (1, 2)


async def test_slots_being_released_are_not_used(rig: SharingRig) -> None:
    first, second = rig.process(crawls=4), rig.process(crawls=4)
    slot = await rig.take_slot(first)
    slot.release()
    first.line.slow = SECOND / 2
    await rig.clock.advance(3 * SECOND)  # a renewal has begun that wants none

    first.begin(takes_s=60)
    meanwhile = await rig.sent_in(SECOND / 2, first)
    second.begin(takes_s=60)
    await settle()

    assert meanwhile == [0]
    assert second.sent == 4
    assert await rig.sent_in(5 * SECOND, first) == [0]


async def test_a_long_delay_is_kept_exactly_also_where_the_store_is_slow(rig: SharingRig) -> None:
    first = rig.process(delay_s=30.0)
    first.begin()
    await settle()
    first.line.slow = SECOND / 4
    await rig.clock.advance(3 * MINUTE)
    assert [b - a for a, b in pairwise(rig.site.began)] == [30.0] * 6


async def test_processes_keep_one_delay_however_long_their_requests_take_to_prepare(
    rig: SharingRig,
) -> None:
    slow, quick = rig.process(delay_s=0.5), rig.process(delay_s=0.5)
    slow.prepares_s = cycle([0.375, 0.0, 0.75, 0.125, 0.0])
    for process in (slow, quick):
        process.begin()

    shares = await rig.sent_in(MINUTE, slow, quick)

    assert min(b - a for a, b in pairwise(rig.site.began)) >= 0.5
    assert sum(shares) >= 80  # of 104: what a slow connection missed of its window is lost
    assert min(shares) >= 20


async def test_what_is_offered_to_others_of_a_window_is_not_used_meanwhile(rig: SharingRig) -> None:
    first = rig.process(delay_s=1 / 16)
    first.begin(takes_s=0.0)
    await rig.clock.advance(0.75 * SECOND)
    first.line.slow = SECOND
    await rig.clock.advance(0.25 * SECOND)  # a renewal has begun: the window lasts for 0.45 s more

    meanwhile = await rig.sent_in(0.4 * SECOND, first)
    await rig.clock.advance(1.6 * SECOND)

    assert meanwhile[0] <= 2  # no other process sends before, with any reply
    assert (await rig.sent_in(0.25 * SECOND, first))[0] >= 3


async def test_processes_that_share_a_delay_take_turns_and_lose_little_of_it(
    rig: SharingRig,
) -> None:
    processes = [rig.process(delay_s=0.25) for _ in range(3)]
    for process in processes:
        process.begin(takes_s=0.0)
    await rig.clock.advance(5 * SECOND)

    shares = await rig.sent_in(MINUTE, *processes)

    assert min(b - a for a, b in pairwise(rig.site.began)) >= 0.25
    assert min(shares) >= 0.9 * max(shares)
    assert sum(shares) >= 0.8 * 240


async def test_what_a_process_had_booked_when_it_ends_is_free_at_once(rig: SharingRig) -> None:
    first, second = rig.process(delay_s=0.25), rig.process(delay_s=0.25)
    first.begin(takes_s=0.0)
    await rig.clock.advance(5 * SECOND)

    await first.end()
    second.begin(takes_s=0.0)

    assert await rig.sent_in(SECOND, second) == [4]
    assert min(b - a for a, b in pairwise(rig.site.began)) == 0.25


async def test_a_connection_that_takes_long_costs_no_long_delay(rig: SharingRig) -> None:
    far_process = rig.process(delay_s=30.0)
    far_process.prepares_s = repeat(0.25)
    far_process.begin()

    await rig.clock.advance(3 * MINUTE)

    first, *rest = rig.site.began
    assert first == rig.clock.monotonic() - 179.75
    assert [b - a for a, b in pairwise([first, *rest])] == [30.0] * 5


@pytest.mark.parametrize("shorter_s", [0.0, 0.5])
async def test_the_longest_delay_that_any_process_wishes_for_holds_for_all(
    rig: SharingRig, shorter_s: float
) -> None:
    quick, gentle = rig.process(delay_s=shorter_s), rig.process(delay_s=8.0)
    quick.begin()
    await rig.clock.advance(3 * SECOND)
    gentle.begin()
    await rig.clock.advance(10 * SECOND)
    before = len(rig.site.began)

    shares = await rig.sent_in(4 * MINUTE, quick, gentle)
    gaps = [b - a for a, b in pairwise(sorted(rig.site.began[before:]))]

    assert min(gaps) >= 8.0
    assert min(shares) >= 10
    await gentle.end()
    await rig.clock.advance(MINUTE / 2)  # bookings stay
    [alone] = await rig.sent_in(MINUTE, quick)
    assert alone > 100


async def test_a_process_far_from_the_store_keeps_the_whole_pace_of_a_host(rig: SharingRig) -> None:
    first = rig.process(delay_s=0.2)
    first.line.slow = 0.45 * SECOND  # a renewal takes nine round trips of 100 ms
    first.begin(0.1)
    await rig.clock.advance(10 * SECOND)

    [sent] = await rig.sent_in(MINUTE, first)

    assert sent == 300
    assert min(b - a for a, b in pairwise(rig.site.began)) >= 0.2 - 1e-6
