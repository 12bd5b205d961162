"""Processes that share hosts: rules of operators, and refusals of the host itself."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise

import pytest

from crawlyard.core.hosts.hosts import HostState
from crawlyard.engine.hosts.rate_limiter import NEVER
from crawlyard.engine.http.fetch import FetchFailed
from tests.clock import settle
from tests.unit.sharing_rig import HOST, MINUTE, SECOND, SharingRig


@pytest.fixture
async def rig() -> AsyncIterator[SharingRig]:
    rig = SharingRig()
    yield rig
    await rig.end()


# --- what operators say


async def test_a_host_is_slowed_within_a_second(rig: SharingRig) -> None:
    first = rig.process()
    first.begin()
    await rig.clock.advance(3 * SECOND)
    await rig.rule(delay_s=2.0)
    await rig.clock.advance(3 * SECOND)
    assert await rig.sent_in(20 * SECOND, first) == [10]


async def test_a_host_is_slowed_from_the_first_request_on(rig: SharingRig) -> None:
    await rig.rule(delay_s=2.0, at_once=1)
    first, second = rig.process(delay_s=0.01), rig.process()
    first.begin()
    second.begin()

    await rig.clock.advance(MINUTE)

    assert min(b - a for a, b in pairwise(rig.site.began)) >= 2.0
    assert rig.site.most == 1


async def test_fewer_requests_at_once_hold_within_two_seconds(rig: SharingRig) -> None:
    first = rig.process()
    first.begin()
    await rig.clock.advance(3 * SECOND)
    await rig.rule(at_once=1)
    await rig.clock.advance(2 * SECOND)
    assert await rig.sent_in(5 * SECOND, first) == [20]


async def test_a_paused_host_gets_no_requests_until_it_is_open(rig: SharingRig) -> None:
    first = rig.process()
    first.begin()
    await rig.clock.advance(3 * SECOND)

    await rig.rule(state=HostState.PAUSED)
    await rig.clock.advance(SECOND)
    paused = await rig.sent_in(MINUTE, first)
    [report] = first.limiter.reports()
    await rig.rule(2)
    await rig.clock.advance(SECOND)

    assert paused == [0]
    assert (report.state, report.idle) == (HostState.PAUSED, False)
    assert await rig.sent_in(5 * SECOND, first) == [80]


async def test_a_blocked_host_fails_its_fetches_and_grants_no_slot(rig: SharingRig) -> None:
    first = rig.process()
    first.begin()
    await rig.clock.advance(3 * SECOND)

    await rig.rule(state=HostState.BLOCKED)
    await rig.clock.advance(SECOND)

    assert first.limiter.ready_in(HOST) == 0.0
    assert first.limiter.is_blocked(HOST)
    with pytest.raises(FetchFailed, match=r"an operator has blocked a\.example"):
        await first.limiter.acquire(HOST)
    assert [type(task.exception()) for task in first.tasks] == [FetchFailed] * 4
    assert await rig.sent_in(MINUTE, first) == [0]


async def test_an_unblocked_host_gets_requests_again(rig: SharingRig) -> None:
    first = await rig.barred()
    await rig.rule(2)
    await rig.clock.advance(5 * SECOND)
    first.begin()
    assert await rig.sent_in(SECOND, first) == [20]


async def test_a_new_job_on_a_host_just_opened_is_not_blocked(
    rig: SharingRig,
) -> None:
    first = await rig.barred()
    await rig.rule(2)
    first.limiter.remove_job("job")
    first.limiter.set_limits("another", HOST, 0.0, 4)
    await rig.take_slot(first)


@pytest.mark.parametrize("state", [HostState.PAUSED, HostState.BLOCKED])
async def test_the_rule_of_an_idle_host_is_looked_up_again(
    rig: SharingRig, state: HostState
) -> None:
    await rig.rule(state=state)
    first = rig.process()
    first.limiter.ready_in(HOST)
    await rig.clock.advance(4 * SECOND)

    await rig.rule(2)
    first.begin()

    assert await rig.sent_in(SECOND, first) == [20]


# --- refusals


@pytest.mark.parametrize("delay_s", [0.0, 0.5])
async def test_a_refusal_holds_all_processes_within_a_second(
    rig: SharingRig, delay_s: float
) -> None:
    first, second = (rig.process(delay_s=delay_s) for _ in range(2))
    first.begin()
    second.begin()
    await rig.clock.advance(5 * SECOND)

    first.limiter.record_refusal(HOST, 30.0)
    await rig.clock.advance(SECOND)

    assert await rig.sent_in(28 * SECOND, first, second) == [0, 0]
    assert sum(await rig.sent_in(5 * SECOND, first, second)) > 5


async def test_a_process_waiting_for_a_slot_during_a_refusal_gets_one_after_it(
    rig: SharingRig,
) -> None:
    processes = [rig.process(at_once=2, crawls=2) for _ in range(3)]
    for process, takes_s in zip(processes, (20.0, 0.25, 0.25), strict=True):
        process.begin(takes_s)
    await rig.clock.advance(timedelta(milliseconds=500))
    asking, waiting = ([p for p in processes if bool(p.sent) is sent] for sent in (True, False))

    asking[0].limiter.record_refusal(HOST, 8.0)
    await rig.clock.advance(8 * SECOND)
    for process in asking:
        await process.end()

    assert waiting
    assert min(await rig.sent_in(10 * SECOND, *waiting)) > 10


@pytest.mark.parametrize("delay_s", [0.0, 0.5])
async def test_a_hold_is_kept_over_a_restart(rig: SharingRig, delay_s: float) -> None:
    first = rig.process(delay_s=delay_s)
    first.begin()
    await rig.clock.advance(SECOND)
    first.limiter.record_refusal(HOST, 30.0)
    await settle()
    await first.end()

    second = rig.process(delay_s=delay_s)
    second.begin()

    assert await rig.sent_in(29 * SECOND, second) == [0]
    assert (await rig.sent_in(5 * SECOND, second))[0] > 5


async def test_the_wait_doubles_whichever_process_is_refused(rig: SharingRig) -> None:
    holds = []
    for _ in range(4):
        process = rig.process()  # each knows of the others by the store alone
        slot = await rig.take_slot(process)
        holds.append(process.limiter.record_refusal(HOST, None))
        slot.release()
        await settle()
        await process.end()
        await rig.clock.advance(timedelta(seconds=holds[-1]))

    assert holds == [1.0, 2.0, 4.0, 8.0]


async def test_an_answer_to_one_process_ends_the_refusals_of_all(rig: SharingRig) -> None:
    first, second = rig.process(), rig.process()
    for _ in range(3):
        first.limiter.record_refusal(HOST, None)
        await rig.clock.advance(8 * SECOND)
    first.limiter.record_success(HOST)
    await settle()

    await rig.take_slot(second)

    assert second.limiter.record_refusal(HOST, None) == 1.0


async def test_an_answer_to_what_was_sent_before_the_refusal_does_not_end_it(
    rig: SharingRig,
) -> None:
    first = rig.process()
    first.limiter.record_refusal(HOST, None)
    first.limiter.record_success(HOST)
    await rig.clock.advance(SECOND)
    assert first.limiter.record_refusal(HOST, None) == 2.0


# --- slots that were not needed


@pytest.mark.parametrize("delay_s", [0.0, 0.5])
async def test_a_slot_that_was_not_used_costs_no_delay(rig: SharingRig, delay_s: float) -> None:
    first = rig.process(delay_s=delay_s, at_once=1)
    first.limiter.ready_in(HOST)
    await settle()
    assert first.limiter.ready_in(HOST) == 0.0
    slot = first.limiter.take(HOST)

    slot.release_unused()

    assert first.limiter.ready_in(HOST) == 0.0
    first.limiter.take(HOST).release()
    assert first.limiter.ready_in(HOST) > 0 or not delay_s


async def test_a_window_that_is_over_meanwhile_is_not_used_late(rig: SharingRig) -> None:
    first = rig.process(delay_s=0.5)
    first.limiter.ready_in(HOST)
    await settle()
    slot = first.limiter.take(HOST)
    first.line.cut = True  # no other is booked
    await rig.clock.advance(5 * SECOND)

    slot.release_unused()

    assert first.limiter.ready_in(HOST) > 0


async def test_a_request_after_the_end_starts_no_task(rig: SharingRig) -> None:
    first = rig.process()
    await first.end()
    assert first.limiter.ready_in(HOST) == NEVER
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}
