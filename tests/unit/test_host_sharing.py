"""Several gates on one store: seats, rules, holds and refusals are those of all of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle, pairwise, repeat
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlyard.core.checkpoint import Booking
from crawlyard.core.event import Event, EventName
from crawlyard.core.host_rule import HostRule, HostState
from crawlyard.core.seats import LAST, HostTerms, SeatWish
from crawlyard.engine.failing import FetchFailed
from crawlyard.engine.hosts import NEVER, HostGate, Slot
from crawlyard.errors import StoreUnavailable
from crawlyard.store.base import Store
from crawlyard.store.sql.in_memory import open_in_memory
from tests.builders import NOW
from tests.clock import FakeClock, settle

HOST = "a.example"
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@dataclass
class Line:
    """The store's hosts as one process reaches them: counted, and cut off when a test says so."""

    store: Store
    clock: FakeClock
    slow: timedelta = timedelta(0)  # each way
    cut: bool = False
    said: list[int] = field(default_factory=list)  # hosts of each renewal

    async def book(self, bookings: Sequence[Booking], now: datetime) -> list[datetime]:
        self._check()
        return await self.store.hosts.book(bookings, now)

    async def sit(
        self, asker: str, wishes: Sequence[SeatWish], now: datetime, until: datetime
    ) -> list[HostTerms]:
        self._check()
        self.said.append(len(wishes))
        if not self.slow:
            return await self.store.hosts.sit(asker, wishes, now, until)
        await self.clock.sleep(self.slow)
        terms = await self.store.hosts.sit(asker, wishes, now, until)
        await self.clock.sleep(self.slow)
        return terms

    async def leave(self, asker: str) -> None:
        self._check()
        await self.store.hosts.leave(asker)

    async def hold(
        self, host: str, until: datetime, strikes: int = 0, struck_at: datetime | None = None
    ) -> None:
        self._check()
        await self.store.hosts.hold(host, until, strikes, struck_at)

    async def forgive(self, host: str) -> None:
        self._check()
        await self.store.hosts.forgive(host)

    def _check(self) -> None:
        if self.cut:
            raise StoreUnavailable("cut off")


@dataclass
class Site:
    """A host that counts what is under way, whoever sends it."""

    clock: FakeClock
    began: list[float] = field(default_factory=list)
    under_way: int = 0
    most: int = 0

    async def asked(self, takes_s: float) -> None:
        self.began.append(self.clock.monotonic())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.clock.sleep(timedelta(seconds=takes_s))
        finally:
            self.under_way -= 1


@dataclass
class Process:
    """One process: a gate of its own, and crawls that ask the host without a pause."""

    clock: FakeClock
    store: Store
    site: Site
    delay_s: float = 0.0
    at_once: int = 4
    crawls: int = 4
    sent: int = 0
    prepares_s: Iterator[float] = field(default_factory=lambda: repeat(0.0))
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.line = Line(self.store, self.clock)
        self.gate = HostGate(self.clock, self.line)
        self.gate.wish("job", HOST, self.delay_s, self.at_once)

    def begin(self, takes_s: float = 0.25) -> None:
        loop = asyncio.get_running_loop()
        self.tasks = [loop.create_task(self._crawl(takes_s)) for _ in range(self.crawls)]

    async def _crawl(self, takes_s: float) -> None:
        while True:
            slot = await self.gate.acquire(HOST)
            try:
                if prepares_s := next(self.prepares_s):
                    await self.clock.sleep(timedelta(seconds=prepares_s))
                await slot.go()
                self.sent += 1
                await self.site.asked(takes_s)
            finally:
                slot.give()

    async def end(self) -> None:
        """End as on a signal: what is under way is broken off, seats are given back."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.gate.close()

    async def die(self) -> None:
        """End as by kill -9: nothing is told to anybody."""
        self.line.cut = True
        await self.end()


class Rig:
    """A clock, a store and a site for processes."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = open_in_memory()
        self.site = Site(self.clock)
        self.processes: list[Process] = []

    def process(self, **fields: Any) -> Process:
        made = Process(self.clock, self.store, self.site, **fields)
        self.processes.append(made)
        return made

    async def rule(self, version: int = 1, **fields: Any) -> None:
        rule = HostRule(host=HOST, version=version, updated_at=NOW, **fields)
        event = Event(name=EventName.HOST_UPDATED, subject=HOST, owner="", at=NOW, actor="ada")
        await self.store.host_rules.put(rule, event)

    async def barred(self) -> Process:
        """Return a process that has heard that the host is blocked."""
        await self.rule(state=HostState.BLOCKED)
        process = self.process()
        process.gate.ready_in(HOST)
        await settle()
        assert process.gate.is_blocked(HOST)
        return process

    async def sent_in(self, duration: timedelta, *of: Process) -> list[int]:
        """Return how many requests each process sends while time passes."""
        before = [process.sent for process in of]
        await self.clock.advance(duration)
        return [process.sent - was for process, was in zip(of, before, strict=True)]

    async def taken(self, process: Process) -> Slot:
        """Take a slot, which is to be had at once, and send a request."""
        taking = asyncio.get_running_loop().create_task(process.gate.acquire(HOST))
        await settle()
        assert taking.done()
        slot = await taking
        await slot.go()
        return slot

    async def end(self) -> None:
        for process in self.processes:
            await process.end()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    yield made
    await made.end()


# --- seats


async def test_two_processes_share_the_seats_of_a_host_within_two_seconds(rig: Rig) -> None:
    one, two = rig.process(), rig.process()
    one.begin()
    await rig.clock.advance(5 * SECOND)
    two.begin()
    await rig.clock.advance(2 * SECOND)

    shares = await rig.sent_in(10 * SECOND, one, two)

    assert rig.site.most == 4
    assert shares == [80, 80]  # of 16 a second, half and half


async def test_seats_that_others_wait_for_are_given_up_before_the_next_second(rig: Rig) -> None:
    one, two = rig.process(), rig.process()
    one.begin()
    await rig.clock.advance(5.5 * SECOND)  # half a second before it hears of others
    two.begin()
    await rig.clock.advance(1.25 * SECOND)

    assert await rig.sent_in(10 * SECOND, one, two) == [80, 80]


async def test_a_process_that_ends_leaves_its_seats_to_the_others_at_once(rig: Rig) -> None:
    one, two = rig.process(), rig.process()
    one.begin()
    two.begin()
    await rig.clock.advance(5 * SECOND)

    await one.end()
    await rig.clock.advance(SECOND)

    assert await rig.sent_in(5 * SECOND, two) == [80]
    assert rig.site.most == 4


async def test_the_seats_of_a_process_that_was_killed_are_free_when_they_lapse(rig: Rig) -> None:
    one, two = rig.process(), rig.process()
    one.begin()
    two.begin()
    await rig.clock.advance(5 * SECOND)

    await one.die()
    half = await rig.sent_in(8 * SECOND, two)
    await rig.clock.advance(LAST)

    assert half == [64]
    assert await rig.sent_in(5 * SECOND, two) == [80]


async def test_a_process_that_is_cut_off_from_the_store_sends_nothing_on_lapsed_seats(
    rig: Rig,
) -> None:
    one = rig.process()
    one.begin()
    await rig.clock.advance(5 * SECOND)

    one.line.cut = True
    await rig.clock.advance(LAST)
    away = await rig.sent_in(MINUTE, one)
    one.line.cut = False
    await rig.clock.advance(SECOND)

    assert away == [0]
    assert await rig.sent_in(5 * SECOND, one) == [80]


async def test_nobody_starves_where_there_are_fewer_seats_than_processes(rig: Rig) -> None:
    processes = [rig.process(at_once=1) for _ in range(3)]
    for process in processes:
        process.begin()

    sent = await rig.sent_in(2 * MINUTE, *processes)

    assert rig.site.most == 1
    assert min(sent) > 50
    assert sum(sent) > 300  # of 480 at best: a seat is idle while it changes hands


@pytest.mark.parametrize("takes_s", [5, 10, 20, 30, 40])
@pytest.mark.parametrize("many", [2, 3])
async def test_nobody_starves_however_slow_the_host_is(rig: Rig, many: int, takes_s: int) -> None:
    processes = [rig.process(at_once=1) for _ in range(many)]
    for process in processes:
        process.begin(takes_s=takes_s)
        await rig.clock.advance(3 * SECOND)

    sent = await rig.sent_in(20 * MINUTE, *processes)

    assert rig.site.most == 1
    assert min(sent) >= 0.7 * max(sent)
    assert sum(sent) >= 0.7 * 20 * 60 / takes_s


async def test_a_process_renews_its_seats_once_a_second_and_only_while_it_asks(rig: Rig) -> None:
    one = rig.process()
    one.begin()
    await rig.clock.advance(10 * SECOND)
    asking = len(one.line.said)
    for task in one.tasks:
        task.cancel()
    await rig.clock.advance(5 * SECOND)
    after = len(one.line.said)

    await rig.clock.advance(MINUTE)

    assert asking == 11  # at first contact, and then each second
    assert len(one.line.said) == after <= asking + 4
    other = rig.process()
    other.begin()
    assert await rig.sent_in(SECOND, other) == [20]  # 4 at once, 5 times: nobody has a seat


async def test_hosts_that_are_met_together_share_a_transaction(rig: Rig) -> None:
    one = rig.process()
    for n in range(20):
        one.gate.wish("job", f"h{n}.example", 0.0, 2)
        assert one.gate.ready_in(f"h{n}.example") > 0
    await settle()

    assert one.line.said == [20]
    assert {one.gate.ready_in(f"h{n}.example") for n in range(20)} == {0.0}
    await rig.clock.advance(SECOND)
    assert one.line.said == [20, 20]


@settings(max_examples=40, deadline=None)
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
    rig = Rig()

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


async def test_seats_that_are_offered_to_others_are_not_used_meanwhile(rig: Rig) -> None:
    one, two = rig.process(crawls=3), rig.process(crawls=2)
    await rig.taken(one)
    two.begin(takes_s=60)
    one.line.slow = SECOND / 2
    await rig.clock.advance(SECOND)  # a renewal has begun: half of the seats may be given away

    one.begin(takes_s=60)
    meanwhile = await rig.sent_in(SECOND / 2, one)
    await rig.clock.advance(5 * SECOND)

    assert meanwhile == [1]
    assert (one.sent, two.sent) == (1, 2)


async def test_seats_that_are_being_given_back_are_not_used_any_more(rig: Rig) -> None:
    one, two = rig.process(crawls=4), rig.process(crawls=4)
    slot = await rig.taken(one)
    slot.give()
    one.line.slow = SECOND / 2
    await rig.clock.advance(3 * SECOND)  # a renewal has begun that wants none

    one.begin(takes_s=60)
    meanwhile = await rig.sent_in(SECOND / 2, one)
    two.begin(takes_s=60)
    await settle()

    assert meanwhile == [0]
    assert two.sent == 4
    assert await rig.sent_in(5 * SECOND, one) == [0]


async def test_a_long_delay_is_kept_exactly_also_where_the_store_is_slow(rig: Rig) -> None:
    one = rig.process(delay_s=30.0)
    one.begin()
    await settle()
    one.line.slow = SECOND / 4

    await rig.clock.advance(3 * MINUTE)

    assert [b - a for a, b in pairwise(rig.site.began)] == [30.0] * 6


async def test_processes_keep_one_delay_however_long_their_requests_take_to_prepare(
    rig: Rig,
) -> None:
    slow, quick = rig.process(delay_s=0.5), rig.process(delay_s=0.5)
    slow.prepares_s = cycle([0.375, 0.0, 0.75, 0.125, 0.0])
    for process in (slow, quick):
        process.begin()

    shares = await rig.sent_in(MINUTE, slow, quick)

    assert min(b - a for a, b in pairwise(rig.site.began)) >= 0.5 - 0.05  # as late as may be
    assert sum(shares) >= 90  # of 120: an instant that a slow connection missed is lost
    assert min(shares) >= 20


async def test_a_connection_that_takes_long_costs_no_long_delay(rig: Rig) -> None:
    one = rig.process(delay_s=30.0)
    one.prepares_s = repeat(0.25)
    one.begin()

    await rig.clock.advance(3 * MINUTE)

    first, *rest = rig.site.began
    assert first == rig.clock.monotonic() - 179.75
    assert [b - a for a, b in pairwise([first, *rest])] == [30.0] * 5


@pytest.mark.parametrize("shorter_s", [0.0, 0.5])
async def test_the_longest_delay_that_any_process_wishes_for_holds_for_all(
    rig: Rig, shorter_s: float
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
    await rig.clock.advance(MINUTE / 2)  # what is booked already stays so
    [alone] = await rig.sent_in(MINUTE, quick)
    assert alone > 100


# --- what operators say


async def test_a_host_is_slowed_within_a_second(rig: Rig) -> None:
    one = rig.process()
    one.begin()
    await rig.clock.advance(3 * SECOND)

    await rig.rule(delay_s=2.0)
    await rig.clock.advance(3 * SECOND)

    assert await rig.sent_in(20 * SECOND, one) == [10]


async def test_a_host_is_slowed_from_the_first_request_on(rig: Rig) -> None:
    await rig.rule(delay_s=2.0, at_once=1)
    one, two = rig.process(delay_s=0.01), rig.process()
    one.begin()
    two.begin()

    await rig.clock.advance(MINUTE)

    assert min(b - a for a, b in pairwise(rig.site.began)) >= 2.0
    assert rig.site.most == 1


async def test_fewer_requests_at_once_hold_within_two_seconds(rig: Rig) -> None:
    one = rig.process()
    one.begin()
    await rig.clock.advance(3 * SECOND)

    await rig.rule(at_once=1)
    await rig.clock.advance(2 * SECOND)

    assert await rig.sent_in(5 * SECOND, one) == [20]


async def test_a_paused_host_is_asked_by_nobody_until_it_is_open_again(rig: Rig) -> None:
    one = rig.process()
    one.begin()
    await rig.clock.advance(3 * SECOND)

    await rig.rule(state=HostState.PAUSED)
    await rig.clock.advance(SECOND)
    paused = await rig.sent_in(MINUTE, one)
    [report] = one.gate.reports()
    await rig.rule(2)
    await rig.clock.advance(SECOND)

    assert paused == [0]
    assert (report.state, report.idle) == (HostState.PAUSED, False)
    assert await rig.sent_in(5 * SECOND, one) == [80]


async def test_a_blocked_host_is_ready_to_be_told_so_and_gives_no_slot(rig: Rig) -> None:
    one = rig.process()
    one.begin()
    await rig.clock.advance(3 * SECOND)

    await rig.rule(state=HostState.BLOCKED)
    await rig.clock.advance(SECOND)

    assert one.gate.ready_in(HOST) == 0.0
    assert one.gate.is_blocked(HOST)
    with pytest.raises(FetchFailed, match=r"an operator has blocked a\.example"):
        await one.gate.acquire(HOST)
    assert [type(task.exception()) for task in one.tasks] == [FetchFailed] * 4
    assert await rig.sent_in(MINUTE, one) == [0]


async def test_a_host_that_was_blocked_is_asked_again_when_it_is_open(rig: Rig) -> None:
    one = await rig.barred()

    await rig.rule(2)
    await rig.clock.advance(5 * SECOND)
    one.begin()

    assert await rig.sent_in(SECOND, one) == [20]


async def test_a_job_that_comes_just_after_a_host_was_opened_is_not_told_that_it_is_blocked(
    rig: Rig,
) -> None:
    one = await rig.barred()

    await rig.rule(2)
    one.gate.leave("job")
    one.gate.wish("another", HOST, 0.0, 4)

    await rig.taken(one)


@pytest.mark.parametrize("state", [HostState.PAUSED, HostState.BLOCKED])
async def test_what_was_said_of_a_host_that_nobody_asked_meanwhile_is_looked_up_anew(
    rig: Rig, state: HostState
) -> None:
    await rig.rule(state=state)
    one = rig.process()
    one.gate.ready_in(HOST)
    await rig.clock.advance(4 * SECOND)

    await rig.rule(2)
    one.begin()

    assert await rig.sent_in(SECOND, one) == [20]


# --- refusals


@pytest.mark.parametrize("delay_s", [0.0, 0.5])
async def test_a_refusal_holds_all_processes_within_a_second(rig: Rig, delay_s: float) -> None:
    one, two = (rig.process(delay_s=delay_s) for _ in range(2))
    one.begin()
    two.begin()
    await rig.clock.advance(5 * SECOND)

    one.gate.refused(HOST, 30.0)
    await rig.clock.advance(SECOND)

    assert await rig.sent_in(28 * SECOND, one, two) == [0, 0]
    assert sum(await rig.sent_in(5 * SECOND, one, two)) > 5


async def test_who_waits_for_a_seat_when_a_refusal_comes_gets_one_after_it(rig: Rig) -> None:
    processes = [rig.process(at_once=2, crawls=2) for _ in range(3)]
    for process, takes_s in zip(processes, (20.0, 0.25, 0.25), strict=True):
        process.begin(takes_s)
    await rig.clock.advance(timedelta(milliseconds=500))
    asking, waiting = ([p for p in processes if bool(p.sent) is sent] for sent in (True, False))

    asking[0].gate.refused(HOST, 8.0)
    await rig.clock.advance(8 * SECOND)
    for process in asking:
        await process.end()

    assert waiting
    assert min(await rig.sent_in(10 * SECOND, *waiting)) > 10


@pytest.mark.parametrize("delay_s", [0.0, 0.5])
async def test_a_hold_is_kept_over_a_restart(rig: Rig, delay_s: float) -> None:
    one = rig.process(delay_s=delay_s)
    one.begin()
    await rig.clock.advance(SECOND)
    one.gate.refused(HOST, 30.0)
    await settle()
    await one.end()

    two = rig.process(delay_s=delay_s)
    two.begin()

    assert await rig.sent_in(29 * SECOND, two) == [0]
    assert (await rig.sent_in(5 * SECOND, two))[0] > 5


async def test_the_wait_doubles_whichever_process_is_refused(rig: Rig) -> None:
    holds = []
    for _ in range(4):
        process = rig.process()  # each knows of the others by the store alone
        slot = await rig.taken(process)
        holds.append(process.gate.refused(HOST, None))
        slot.give()
        await settle()
        await process.end()
        await rig.clock.advance(timedelta(seconds=holds[-1]))

    assert holds == [1.0, 2.0, 4.0, 8.0]


async def test_an_answer_to_one_process_ends_the_refusals_of_all(rig: Rig) -> None:
    one, two = rig.process(), rig.process()
    for _ in range(3):
        one.gate.refused(HOST, None)
        await rig.clock.advance(8 * SECOND)
    one.gate.answered(HOST)
    await settle()

    await rig.taken(two)

    assert two.gate.refused(HOST, None) == 1.0


async def test_an_answer_to_what_was_sent_before_the_refusal_does_not_end_it(rig: Rig) -> None:
    one = rig.process()
    one.gate.refused(HOST, None)
    one.gate.answered(HOST)
    await rig.clock.advance(SECOND)

    assert one.gate.refused(HOST, None) == 2.0


# --- slots that were not needed


@pytest.mark.parametrize("delay_s", [0.0, 0.5])
async def test_a_slot_that_was_not_used_costs_no_delay(rig: Rig, delay_s: float) -> None:
    one = rig.process(delay_s=delay_s, at_once=1)
    one.gate.ready_in(HOST)
    await settle()
    assert one.gate.ready_in(HOST) == 0.0
    slot = one.gate.take(HOST)

    slot.give_unused()

    assert one.gate.ready_in(HOST) == 0.0
    one.gate.take(HOST).give()
    assert one.gate.ready_in(HOST) > 0 or not delay_s


async def test_an_instant_that_was_missed_meanwhile_is_not_used_late(rig: Rig) -> None:
    one = rig.process(delay_s=0.5)
    one.gate.ready_in(HOST)
    await settle()
    slot = one.gate.take(HOST)
    await rig.clock.advance(0.375 * SECOND)  # others may have booked the next one

    slot.give_unused()

    assert one.gate.ready_in(HOST) > 0


async def test_who_asks_after_the_end_begins_nothing_that_nobody_would_end(rig: Rig) -> None:
    one = rig.process()
    await one.end()

    assert one.gate.ready_in(HOST) == NEVER
    await settle()

    assert asyncio.all_tasks() == {asyncio.current_task()}
