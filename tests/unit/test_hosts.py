import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, cycle, pairwise, repeat
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlyard.core.hosts.hosts import DelaySource, HostRule
from crawlyard.core.hosts.slots import HostTerms, SlotRequest
from crawlyard.core.jobs.checkpoint import Booking
from crawlyard.engine.hosts.host import Host
from crawlyard.engine.hosts.rate_limiter import LONGEST_HOLD_S, NEVER, RateLimiter
from crawlyard.engine.hosts.shared_limits import Pacer
from crawlyard.engine.http.fetch import NotSent
from crawlyard.errors import StoreUnavailable
from crawlyard.store.db.in_memory import open_in_memory
from tests.builders import NOW
from tests.clock import FakeClock, settle

HOST = "a.example"
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@dataclass
class Requests:
    """Requests through a rate limiter, with the instant at which each began."""

    limiter: RateLimiter
    clock: FakeClock
    prepares_s: Iterator[float] = field(default_factory=lambda: repeat(0.0))
    began: list[float] = field(default_factory=list)
    in_flight: int = 0
    most_at_once: int = 0

    async def send(self, takes_s: float = 0.0, host: str = HOST) -> None:
        slot = await self.limiter.acquire(host)
        if prepares_s := next(self.prepares_s):
            await self.clock.sleep(timedelta(seconds=prepares_s))
        await slot.wait_to_send()
        self.began.append(self.clock.monotonic())
        self.in_flight += 1
        self.most_at_once = max(self.most_at_once, self.in_flight)
        await self.clock.sleep(timedelta(seconds=takes_s))
        self.in_flight -= 1
        slot.release()

    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self.began)]


@dataclass
class RecordingPacer:
    """A pacer that records bookings, and is unavailable for the first *away* calls."""

    pacer: Pacer = field(default_factory=lambda: open_in_memory().hosts)
    away: int = 0
    booked: list[list[Booking]] = field(default_factory=list)
    sat: list[list[SlotRequest]] = field(default_factory=list)

    async def book(self, bookings: Sequence[Booking], now: datetime) -> list[datetime]:
        self._answer()
        self.booked.append(list(bookings))
        return await self.pacer.book(bookings, now)

    async def renew_slots(
        self, asker: str, wishes: Sequence[SlotRequest], now: datetime, until: datetime
    ) -> list[HostTerms]:
        self._answer()
        self.sat.append(list(wishes))
        terms = await self.pacer.renew_slots(asker, wishes, now, until)
        booked = [term.booked for term in terms if term.booked is not None]
        self.booked += [booked] if booked else []
        return terms

    async def release_slots(self, *askers: str, unused: Sequence[Booking] = ()) -> None:
        await self.pacer.release_slots(*askers, unused=unused)

    async def hold(
        self, host: str, until: datetime, strikes: int = 0, struck_at: datetime | None = None
    ) -> None:
        self._answer()
        await self.pacer.hold(host, until, strikes, struck_at)

    async def reset_refusals(self, host: str) -> None:
        await self.pacer.reset_refusals(host)

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise StoreUnavailable("away")


_limiters: list[RateLimiter] = []


@pytest.fixture(autouse=True)
async def gates_are_closed() -> AsyncIterator[None]:
    """Close the limiters of a test: some have slots to renew."""
    yield
    while _limiters:
        await _limiters.pop().close()


def a_limiter(
    clock: FakeClock, *, delay_s: float = 0.0, at_once: int = 2, pacer: Pacer | None = None
) -> RateLimiter:
    limiter = RateLimiter(clock, pacer)
    _limiters.append(limiter)
    limiter.set_limits("job", HOST, delay_s, at_once)
    return limiter


async def within(
    clock: FakeClock, duration: timedelta, *work: Coroutine[Any, Any, None]
) -> list[bool]:
    """Start all of *work*, let time pass, and return what is done; cancel the rest."""
    tasks = [asyncio.get_running_loop().create_task(coroutine) for coroutine in work]
    await clock.advance(duration)
    done = [task.done() for task in tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return done


# --- one limiter


async def test_never_more_are_under_way_than_wished_for() -> None:
    clock = FakeClock()
    requests = Requests(a_limiter(clock, at_once=2), clock)
    done = await within(clock, 3 * SECOND, *(requests.send(1.0) for _ in range(6)))
    assert all(done)
    assert requests.most_at_once == 2
    assert requests.gaps() == [0.0, 1.0, 0.0, 1.0, 0.0]


async def test_requests_are_a_delay_apart_however_fast_they_are_answered() -> None:
    clock = FakeClock()
    requests = Requests(a_limiter(clock, delay_s=0.5, at_once=16), clock)
    await within(clock, MINUTE, *(requests.send() for _ in range(5)))
    assert requests.gaps() == [0.5] * 4


async def test_the_delay_counts_from_when_a_request_is_sent() -> None:
    for paced in [False, True]:
        clock = FakeClock()
        pacer = open_in_memory().hosts if paced else None
        limiter = a_limiter(clock, delay_s=0.5, at_once=2, pacer=pacer)
        # a look-up, then connections that are there, then one that is not
        requests = Requests(
            limiter, clock, prepares_s=chain([0.375], repeat(0.0, 3), [0.25], repeat(0.0))
        )
        began_at = clock.monotonic()

        await within(clock, MINUTE, *(requests.send() for _ in range(8)))

        assert requests.began[0] == began_at + 0.375, paced
        assert min(requests.gaps()) == 0.5, paced
        assert sum(requests.gaps()) <= 7 * 0.5 + 0.25, paced


async def test_connections_are_made_ahead_and_slow_nothing_down() -> None:
    for paced in [False, True]:
        clock = FakeClock()
        pacer = open_in_memory().hosts if paced else None
        limiter = a_limiter(clock, delay_s=0.5, at_once=2, pacer=pacer)
        requests = Requests(limiter, clock, prepares_s=cycle([0.375, 0.25]))

        await within(clock, MINUTE, *(requests.send(0.125) for _ in range(10)))

        assert requests.gaps() == [0.5] * 9, paced


async def test_a_hold_that_comes_while_a_request_is_prepared_keeps_it_back() -> None:
    clock = FakeClock()
    limiter = a_limiter(clock)
    soon, patient = [await limiter.acquire(HOST) for _ in range(2)]
    limiter.record_refusal(HOST, 30.0)

    with pytest.raises(NotSent):
        await soon.wait_briefly_to_send()
    done = await within(clock, 29 * SECOND, patient.wait_to_send())

    assert done == [False]
    assert not patient.sent


async def test_a_request_that_is_prepared_waits_until_it_is_allowed() -> None:
    clock = FakeClock()
    slot = await a_limiter(clock).acquire(HOST)
    may_send = False
    going = asyncio.get_running_loop().create_task(slot.wait_to_send(lambda: may_send))
    await clock.advance(SECOND)
    before = slot.sent

    may_send = True
    await clock.advance(SECOND)
    await going

    assert (before, slot.sent) == (False, True)


async def test_a_request_that_waits_for_another_connection_is_not_sent_yet() -> None:
    clock = FakeClock()
    slot = await a_limiter(clock, delay_s=1.5).acquire(HOST)
    await slot.wait_briefly_to_send()  # but its connection was lost
    going = asyncio.get_running_loop().create_task(slot.wait_briefly_to_send())
    await clock.advance(SECOND)
    before = slot.sent

    await clock.advance(SECOND)
    await going

    assert (before, slot.sent) == (False, True)


async def test_a_slow_answer_is_waited_for_without_the_delay_in_addition() -> None:
    clock = FakeClock()
    requests = Requests(a_limiter(clock, delay_s=0.5, at_once=1), clock)
    await within(clock, MINUTE, *(requests.send(2.0) for _ in range(3)))
    assert requests.gaps() == [2.0, 2.0]


async def test_hosts_do_not_wait_for_each_other() -> None:
    clock = FakeClock()
    limiter = a_limiter(clock, delay_s=10.0)
    limiter.set_limits("job", "b.example", 10.0, 2)
    requests = Requests(limiter, clock)
    await within(clock, SECOND, requests.send(), requests.send(host="b.example"), requests.send())
    assert requests.gaps() == [0.0]


async def test_the_longest_delay_and_the_fewest_at_once_hold_for_all_jobs() -> None:
    clock = FakeClock()
    limiter = a_limiter(clock, delay_s=0.25, at_once=1)
    limiter.set_limits("another", HOST, 2.0, 8)
    requests = Requests(limiter, clock)

    await within(clock, MINUTE, requests.send(), requests.send(3.0), requests.send())

    assert requests.gaps() == [2.0, 3.0]
    assert requests.most_at_once == 1


async def test_the_wishes_of_a_job_end_with_it() -> None:
    clock = FakeClock()
    limiter = a_limiter(clock, delay_s=0.25)
    limiter.set_limits("another", HOST, 2.0, 8)
    requests = Requests(limiter, clock)
    await within(clock, 2 * SECOND, requests.send())

    limiter.remove_job("another")
    await within(clock, MINUTE, requests.send(), requests.send())

    assert requests.gaps() == [2.0, 0.25]


async def test_the_last_wish_of_a_job_holds() -> None:
    clock = FakeClock()
    limiter = a_limiter(clock, delay_s=5.0)
    limiter.set_limits("job", HOST, 0.5, 2)
    requests = Requests(limiter, clock)
    await within(clock, MINUTE, requests.send(), requests.send())
    assert requests.gaps() == [0.5]


async def test_the_queue_of_a_host_is_reported_by_job_with_its_shards_together() -> None:
    limiter = a_limiter(FakeClock())
    for key, waiting in {"a/1": 3, "a/2": 4, "b": 2012, "idle": 0}.items():
        limiter.set_limits(key, HOST, 0.5, 2)
        limiter.register_queue(key, {HOST: waiting}.__getitem__)

    [report] = limiter.reports()

    assert (report.waiting, report.queues) == (2019, {"a": 7, "b": 2012})


async def test_what_sets_the_delay_of_a_host_is_reported() -> None:
    limiter = a_limiter(FakeClock(), delay_s=0.5)

    def source() -> tuple[float, DelaySource]:
        [report] = limiter.reports()
        return report.delay_s, report.delay_from

    own = source()
    limiter.set_limits("asked", HOST, 5.0, 2, by_robots=True)
    robots_delay = source()
    limiter.set_limits("as slow", HOST, 5.0, 2)
    chosen = source()
    limiter.remove_job("as slow")
    limiter.remove_job("asked")

    assert own == source() == (0.5, DelaySource.JOB)
    assert (robots_delay, chosen) == ((5.0, DelaySource.ROBOTS), (5.0, DelaySource.JOB))


def test_a_delay_is_an_operators_or_another_workers_only_if_it_is_the_longest() -> None:
    host, rule = Host(), HostRule(host=HOST, delay_s=2.0, updated_at=NOW)
    sources = []
    for job_delay_s, fleet_delay_s in ((1.0, 1.5), (3.0, 1.5), (1.0, 4.0)):
        host.set_limits("job", job_delay_s, 1)
        host.apply_terms(HostTerms(rule=rule, others_s=fleet_delay_s))
        sources.append((host.delay_s, host.delay_from))
    assert sources == [
        (2.0, DelaySource.RULE),
        (3.0, DelaySource.JOB),
        (4.0, DelaySource.OTHERS),
    ]


async def test_an_unused_host_is_dropped_after_its_delay() -> None:
    clock = FakeClock()
    limiter = a_limiter(clock, delay_s=10.0)
    await within(clock, SECOND, Requests(limiter, clock).send())
    limiter.remove_job("job")

    limiter.set_limits("next", HOST, 10.0, 2)
    assert limiter.ready_in(HOST) == 9.0  # the last request was a second ago
    await clock.advance(MINUTE)
    limiter.remove_job("next")

    with pytest.raises(KeyError):
        limiter.ready_in(HOST)


async def test_a_waiter_is_called_once_when_a_slot_is_released() -> None:
    clock, calls = FakeClock(), []
    limiter = a_limiter(clock, at_once=1)
    slot = limiter.take(HOST)
    assert limiter.ready_in(HOST) is NEVER
    limiter.notify_ready(HOST, lambda: calls.append(clock.monotonic()))

    slot.release()
    limiter.take(HOST).release()

    assert len(calls) == 1
    assert limiter.ready_in(HOST) == 0.0


@settings(max_examples=25, deadline=None)
@given(
    delay=st.integers(0, 8),
    at_once=st.integers(1, 3),
    work=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=8),
    paced=st.booleans(),
)
async def test_neither_delay_nor_number_is_ever_exceeded(
    delay: int, at_once: int, work: list[tuple[int, int]], *, paced: bool
) -> None:
    clock = FakeClock()
    pacer = open_in_memory().hosts if paced else None
    limiter = a_limiter(clock, delay_s=delay / 8, at_once=at_once, pacer=pacer)
    requests = Requests(limiter, clock)

    async def sent_after(wait: int, takes: int) -> None:
        await clock.sleep(wait * SECOND / 8)
        await requests.send(takes / 8)

    done = await within(clock, MINUTE, *(sent_after(*eighths) for eighths in work))

    assert all(done)
    assert requests.most_at_once <= at_once
    assert all(gap >= delay / 8 for gap in requests.gaps())


# --- a host that refuses


async def test_a_host_gets_no_requests_for_its_retry_after() -> None:
    clock = FakeClock()
    limiter = a_limiter(clock)
    requests = Requests(limiter, clock)

    assert limiter.record_refusal(HOST, 90.0) == 90.0
    done = await within(clock, 90 * SECOND - SECOND / 4, requests.send())
    assert done == [False]
    await within(clock, SECOND, requests.send())

    assert len(requests.began) == 1


async def test_a_host_is_never_left_alone_for_more_than_an_hour() -> None:
    limiter = a_limiter(FakeClock())
    assert limiter.record_refusal(HOST, 10.0**9) == LONGEST_HOLD_S
    assert limiter.ready_in(HOST) == LONGEST_HOLD_S


async def test_a_shorter_hold_does_not_end_a_longer_one() -> None:
    limiter = a_limiter(FakeClock())
    limiter.record_refusal(HOST, 60.0)
    limiter.record_refusal(HOST, 1.0)
    assert limiter.ready_in(HOST) == 60.0


async def test_each_refusal_in_a_row_doubles_the_wait_up_to_five_minutes() -> None:
    clock = FakeClock()
    limiter = a_limiter(clock)

    holds = []
    for _ in range(11):
        holds.append(limiter.record_refusal(HOST, None))
        await clock.advance(timedelta(seconds=holds[-1]))

    assert holds == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0]


async def test_the_first_wait_is_at_least_the_delay() -> None:
    assert a_limiter(FakeClock(), delay_s=10.0).record_refusal(HOST, None) == 10.0


async def test_an_answer_ends_the_refusals() -> None:
    limiter = a_limiter(FakeClock())
    for _ in range(5):
        limiter.record_refusal(HOST, None)
    limiter.record_success(HOST)
    assert limiter.record_refusal(HOST, None) == 1.0


async def test_thousands_of_refusals_do_not_overflow() -> None:
    clock = FakeClock()
    limiter = a_limiter(clock)
    for _ in range(2000):
        hold_s = limiter.record_refusal(HOST, None)
        await clock.advance(timedelta(seconds=hold_s))
    assert hold_s == 300.0


async def test_refusals_of_one_burst_count_once() -> None:
    clock = FakeClock()
    limiter = a_limiter(clock)

    burst = {limiter.record_refusal(HOST, None) for _ in range(8)}
    longer = limiter.record_refusal(HOST, 7.0)
    await clock.advance(timedelta(seconds=7))

    assert burst == {1.0}
    assert longer == 7.0
    assert limiter.record_refusal(HOST, None) == 2.0


# --- several processes on one store


async def test_a_refusal_holds_up_the_other_processes_as_well() -> None:
    clock, store = FakeClock(), open_in_memory()
    refused, other = (a_limiter(clock, delay_s=0.5, pacer=store.hosts) for _ in range(2))
    requests = Requests(other, clock)
    began_at = clock.monotonic()

    refused.record_refusal(HOST, 30.0)
    await settle()
    await within(clock, MINUTE, requests.send())

    assert requests.began == [began_at + 30.0]


async def test_who_is_alone_books_once_a_second_however_fast_the_pace_is() -> None:
    clock, pacer = FakeClock(), RecordingPacer()
    requests = Requests(a_limiter(clock, delay_s=1 / 16, pacer=pacer), clock)
    await within(clock, 4.5 * SECOND, *(requests.send() for _ in range(64)))
    assert requests.gaps() == [1 / 16] * 63
    assert len(pacer.booked) == len(pacer.sat) == 5  # all with the slots


async def test_a_request_that_takes_time_to_leave_counts_from_when_it_has_left() -> None:
    for pacer in [None, open_in_memory().hosts]:
        clock = FakeClock()
        limiter = a_limiter(clock, delay_s=0.5, pacer=pacer)
        requests, began_at = Requests(limiter, clock), clock.monotonic()
        slot = await limiter.acquire(HOST)
        await slot.wait_to_send()
        clock.stall(0.25 * SECOND)  # before it is written, in the same step of the loop

        await within(clock, MINUTE, requests.send())

        assert requests.began == [began_at + 0.75]


async def test_time_that_was_booked_and_not_used_is_not_made_up_for() -> None:
    clock, pacer = FakeClock(), RecordingPacer()
    requests = Requests(a_limiter(clock, delay_s=1 / 16, pacer=pacer), clock)
    await within(clock, MINUTE, requests.send())
    await within(clock, MINUTE, *(requests.send() for _ in range(3)))
    assert requests.gaps() == [60.0, 1 / 16, 1 / 16]


async def test_a_request_that_is_late_is_sent_at_once_and_the_next_a_delay_later() -> None:
    clock = FakeClock()
    limiter = a_limiter(clock, delay_s=0.5, at_once=1, pacer=RecordingPacer())
    requests = Requests(limiter, clock)

    # answers that take too long, as where slots are scarce: each is asked when it may be
    await within(clock, MINUTE, *(requests.send(takes) for takes in (0.75, 0.625, 0.0, 0.0)))

    assert requests.gaps() == [0.75, 0.625, 0.5]


async def test_hosts_that_need_bookings_at_the_same_time_share_one_transaction() -> None:
    clock, pacer = FakeClock(), RecordingPacer()
    limiter = a_limiter(clock, delay_s=0.5, pacer=pacer)
    limiter.set_limits("job", "b.example", 0.25, 2)
    requests = Requests(limiter, clock)
    await within(clock, SECOND / 2, requests.send(), requests.send(host="b.example"))
    assert [[b.host for b in bookings] for bookings in pacer.booked] == [[HOST, "b.example"]]


async def test_hosts_with_a_long_delay_release_slots_and_share_transactions() -> None:
    clock, pacer = FakeClock(), RecordingPacer()
    limiter = a_limiter(clock, delay_s=8.0, pacer=pacer)
    requests = Requests(limiter, clock)

    async def ask(number: int) -> None:
        host = f"h{number}.example"
        limiter.set_limits("job", host, 8.0, 2)
        await clock.sleep(number * SECOND / 128)
        while True:
            await requests.send(host=host)

    await within(clock, 39 * SECOND, *(ask(number) for number in range(20)))

    assert len(requests.began) == 5 * 20
    assert len(pacer.sat) <= 20 + 4 * 4  # at first contact one by one, then a few each time
    assert sum(map(len, pacer.sat)) <= 5 * 20 * 4


async def test_nothing_is_booked_where_there_is_no_delay() -> None:
    clock, pacer = FakeClock(), RecordingPacer()
    requests = Requests(a_limiter(clock, pacer=pacer), clock)
    await within(clock, SECOND, *(requests.send() for _ in range(3)))
    assert len(requests.began) == 3
    assert pacer.booked == []


async def test_an_unavailable_store_is_retried_before_any_request_is_sent() -> None:
    clock, pacer = FakeClock(), RecordingPacer(away=3)
    requests = Requests(a_limiter(clock, delay_s=0.25, pacer=pacer), clock)
    began_at = clock.monotonic()
    await within(clock, MINUTE, requests.send())
    assert requests.began == [began_at + 1.5]


async def test_a_refusal_drops_what_was_booked_before_it() -> None:
    clock, pacer = FakeClock(), RecordingPacer()
    limiter = a_limiter(clock, delay_s=1 / 16, pacer=pacer)
    requests = Requests(limiter, clock)
    await within(clock, SECOND / 16, requests.send())

    limiter.record_refusal(HOST, 8.0)
    await within(clock, MINUTE, requests.send(), requests.send())

    assert requests.gaps() == [8.0 + 1 / 16, 1 / 16]


async def test_a_host_that_is_held_is_not_booked_before_the_end_is_near() -> None:
    clock, pacer = FakeClock(), RecordingPacer()
    limiter, began_at = a_limiter(clock, delay_s=0.5, pacer=pacer), clock.monotonic()
    limiter.record_refusal(HOST, 30.0)
    requests = Requests(limiter, clock)

    await within(clock, 29 * SECOND, requests.send())
    assert pacer.booked == []
    await within(clock, SECOND, requests.send())

    assert requests.began == [began_at + 30.0]


async def test_closing_stops_what_runs_in_the_background() -> None:
    clock = FakeClock()
    limiter = a_limiter(clock, delay_s=0.5, pacer=RecordingPacer(away=10**9))
    assert limiter.ready_in(HOST) is NEVER
    await settle()
    await limiter.close()
    assert len(asyncio.all_tasks()) == 1
