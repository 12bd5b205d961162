from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlyard import Strategy
from crawlyard.core.crawl.page import Target
from crawlyard.engine.frontier import Frontier, HostTurns
from crawlyard.engine.hosts.rate_limiter import NEVER, RateLimiter, Slot
from crawlyard.store.db.in_memory import open_in_memory
from tests.builders import a_target
from tests.clock import FakeClock, settle

SECOND = timedelta(seconds=1)
A, B, C = "a.example", "b.example", "c.example"
BREADTH, DEPTH = Strategy

finds = st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(0, 3)), max_size=20)


def targets_of(links: list[tuple[str, int]]) -> list[Target]:
    return [a_target(f"{n}", host=host, depth=depth) for n, (host, depth) in enumerate(links)]


def in_order(strategy: Strategy, links: list[Target]) -> list[Target]:
    """Sort targets by depth and time; depth first reverses both."""
    numbered = sorted(enumerate(links), key=lambda pair: (pair[1].depth, pair[0]))
    order = [target for _, target in numbered]
    return order if strategy is BREADTH else order[::-1]


# --- the order of one host


@settings(max_examples=50, deadline=None)
@given(strategy=st.sampled_from(Strategy), links=finds)
def test_the_targets_of_a_host_come_in_the_order_of_a_plain_sort(
    strategy: Strategy, links: list[tuple[str, int]]
) -> None:
    frontier, targets = Frontier(strategy), targets_of(links)
    for target in targets:
        frontier.push(target)

    for host in (A, B, C):
        of_host = [target for target in targets if target.host == host]
        popped = [frontier.pop(host)[2] for _ in of_host]
        assert popped == in_order(strategy, of_host)
        assert host not in frontier
    assert len(frontier) == 0


def test_a_target_that_is_put_back_has_its_old_place() -> None:
    frontier = Frontier(BREADTH)
    first, second = a_target("1"), a_target("2")
    frontier.push(first)
    frontier.push(second)

    frontier.put_back(frontier.pop(first.host))

    assert len(frontier) == 2
    assert frontier.pop(first.host)[2] is first


def test_hosts_with_many_targets_are_crowded() -> None:
    frontier = Frontier(BREADTH)
    for target in targets_of([(A, 0)] * 3 + [(B, 0)] * 2):
        frontier.push(target)
    assert list(frontier.hosts_with(3)) == [A]
    assert list(frontier.hosts_with(2)) == [A, B]
    assert list(frontier.hosts_with(4)) == []


# --- whose turn it is


def fetch(target: Target) -> bool:
    """Return False: every target needs a request."""
    return False


@dataclass
class PacedTurns:
    """Turns of hosts at a rate limiter with *delay_s*, driven as a crawl drives them."""

    strategy: Strategy = BREADTH
    delay_s: float = 0.0
    at_once: int = 100
    clock: FakeClock = field(default_factory=FakeClock)
    woken: int = 0
    slots: dict[str, Slot] = field(default_factory=dict)  # the last of each host

    def __post_init__(self) -> None:
        self.limiter = RateLimiter(self.clock)
        for host in (A, B, C):
            self.limiter.set_limits("job", host, self.delay_s, self.at_once)
        self.turns = HostTurns(Frontier(self.strategy), self.limiter, self.clock, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def push(self, *targets: Target) -> None:
        for target in targets:
            self.turns.push(target)

    def ready(self, settled: Callable[[Target], bool] = fetch) -> list[Target]:
        """Take all targets that may be requested now."""
        ready = []
        while (turn := self.turns.next(settled)) is not None:
            ready.append(turn[0])
            self.slots[turn[0].host] = turn[1]
        return ready


@settings(max_examples=50, deadline=None)
@given(strategy=st.sampled_from(Strategy), links=finds)
def test_targets_of_several_hosts_come_in_the_order_of_a_plain_sort(
    strategy: Strategy, links: list[tuple[str, int]]
) -> None:
    queue, targets = PacedTurns(strategy), targets_of(links)
    queue.push(*targets)
    assert queue.ready() == in_order(strategy, targets)
    assert len(queue.turns) == 0


@settings(max_examples=50, deadline=None)
@given(strategy=st.sampled_from(Strategy), steps=st.lists(finds, max_size=6))
def test_what_is_found_on_the_way_takes_its_place(
    strategy: Strategy, steps: list[list[tuple[str, int]]]
) -> None:
    queue = PacedTurns(strategy)
    targets = targets_of([link for step in steps for link in step])
    waiting: list[Target] = []
    for step in steps:
        batch, targets = targets[: len(step)], targets[len(step) :]
        queue.push(*batch)
        waiting += batch
        turn = queue.turns.next(fetch)
        target = turn[0] if turn is not None else None
        assert target == (in_order(strategy, waiting)[0] if waiting else None)
        if target is not None:
            waiting.remove(target)

    assert queue.ready() == in_order(strategy, waiting)


async def test_a_host_that_must_wait_holds_up_no_other() -> None:
    queue = PacedTurns(delay_s=60.0)
    slow, quick = targets_of([(A, 0), (A, 0), (A, 0)]), targets_of([(B, 5)])
    queue.push(*slow, *quick)

    assert queue.ready() == [slow[0], *quick]
    assert queue.turns.wait_s() == 60.0
    await queue.clock.advance(60 * SECOND)

    assert queue.ready() == [slow[1]]


@pytest.mark.parametrize("strategy", Strategy)
async def test_hosts_that_are_ready_at_a_delay_are_served_in_turn(strategy: Strategy) -> None:
    queue = PacedTurns(strategy, delay_s=0.5)
    # by the order of its targets, one host would come before the others again and again
    queue.push(
        *targets_of([(A, 0), (A, 0), (A, 0), (B, 1), (B, 1), (B, 1), (C, 2), (C, 2), (C, 2)])
    )
    served = []
    for _ in range(9):  # one slot: all hosts are ready long before it is free
        turn = queue.turns.next(fetch)
        assert turn is not None
        served.append(turn[0].host)
        await queue.clock.advance(5 * SECOND)

    first = [A, B, C] if strategy is BREADTH else [C, B, A]
    assert served == first * 3


async def test_the_store_is_queried_only_for_hosts_that_soon_have_a_slot() -> None:
    clock, store = FakeClock(), open_in_memory()
    limiter = RateLimiter(clock, store.hosts)
    hosts = [f"h{number}.example" for number in range(5)]
    for host in hosts:
        limiter.set_limits("job", host, 60.0, 1)
    turns = HostTurns(Frontier(BREADTH), limiter, clock, lambda: None)
    turns.max_requesting = 2
    for target in targets_of([(host, 0) for host in hosts]):
        turns.push(target)

    served: list[list[str]] = []
    for _ in range(4):
        served.append([])
        while (turn := turns.next(fetch)) is not None:
            served[-1].append(turn[0].host)
        booking = [host for host in hosts if limiter.is_booking(host)]
        assert len(booking) <= 2
        await settle()
    await limiter.close()

    assert served == [[], hosts[:2], hosts[2:4], hosts[4:]]


async def test_a_host_without_free_slots_is_ready_again_when_one_is_released() -> None:
    queue = PacedTurns(at_once=1)
    first, second = targets_of([(A, 0), (A, 0)])
    queue.push(first, second)

    assert queue.ready() == [first]
    assert queue.turns.wait_s() == NEVER
    assert queue.woken == 0
    queue.slots[A].release()

    assert queue.woken == 1
    assert queue.ready() == [second]


async def test_a_refusing_host_is_ready_again_after_its_hold() -> None:
    queue = PacedTurns()
    first, second = targets_of([(A, 0), (A, 0)])
    queue.push(first)
    queue.ready()
    queue.limiter.record_refusal(A, 30.0)
    queue.push(second)

    assert queue.ready() == []
    assert queue.turns.wait_s() == 30.0
    await queue.clock.advance(30 * SECOND)

    assert queue.ready() == [second]


async def test_a_target_that_must_wait_lets_others_of_its_host_pass() -> None:
    queue = PacedTurns()
    later, now = targets_of([(A, 0), (A, 0)])
    queue.turns.push_later(later, 5.0)
    queue.push(now)

    assert queue.ready() == [now]
    assert len(queue.turns) == 1
    assert queue.turns.wait_s() == 5.0
    await queue.clock.advance(5 * SECOND)

    assert queue.ready() == [later]


def test_no_target_of_a_blocked_host_comes_until_it_is_unblocked() -> None:
    queue = PacedTurns()
    first, second, other = targets_of([(A, 0), (A, 0), (B, 1)])
    queue.push(first, other)

    def unknown(target: Target) -> bool:
        if target.host == A:
            queue.turns.block(A)
        return False

    assert queue.ready(unknown) == [other]
    queue.push(second)
    assert queue.ready() == []
    assert len(queue.turns) == 2
    queue.turns.unblock(A)

    assert queue.ready() == [first, second]


async def test_a_temporarily_blocked_host_is_ready_again_afterwards() -> None:
    queue = PacedTurns()
    target = a_target(host=A)
    queue.push(target)
    queue.turns.block(A)
    assert queue.ready() == []

    queue.turns.block_for(A, 8.0)
    assert queue.ready() == []
    assert queue.turns.wait_s() == 8.0
    await queue.clock.advance(8 * SECOND)

    assert queue.ready() == [target]


def test_a_target_that_needs_no_request_takes_no_slot() -> None:
    queue = PacedTurns(delay_s=60.0)
    targets = targets_of([(A, 0)] * 5)
    queue.push(*targets)
    ready = queue.ready(lambda target: target is not targets[3])
    assert ready == [targets[3]]
    assert len(queue.turns) == 1  # the last one waits its turn


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("settled", [True, False])
def test_what_is_found_while_a_target_is_judged_is_judged_by_itself(
    strategy: Strategy, *, settled: bool
) -> None:
    queue = PacedTurns(strategy)
    page, sitemap = a_target("page", host=A, depth=1), a_target("sitemap", host=A)
    deeper = a_target("deeper", host=A, depth=2)
    checked: list[Target] = []

    def judge(target: Target) -> bool:
        checked.append(target)
        if target is page:
            queue.push(sitemap, deeper)
            return settled
        return False

    queue.push(page)
    ready = queue.ready(judge)

    rest = in_order(strategy, [sitemap, deeper])
    assert checked == [page, *rest]
    assert ready == (rest if settled else checked)


def test_a_host_that_went_ahead_with_what_was_found_goes_back_in_line() -> None:
    queue = PacedTurns()
    page, deep = a_target("page", host=A, depth=1), a_target("deep", host=A, depth=3)
    sitemap, other = a_target("sitemap", host=A), a_target("other", host=B, depth=2)

    def judge(target: Target) -> bool:
        if target is page:
            queue.push(sitemap)
        return target is page

    queue.push(page, deep, other)

    assert queue.ready(judge) == [sitemap, other, deep]


@settings(max_examples=50, deadline=None)
@given(strategy=st.sampled_from(Strategy), links=finds, delay=st.integers(0, 4))
async def test_every_target_comes_exactly_once_and_at_the_pace_of_its_host(
    strategy: Strategy, links: list[tuple[str, int]], delay: int
) -> None:
    queue, targets = PacedTurns(strategy, delay_s=delay, at_once=1), targets_of(links)
    queue.push(*targets)
    order: list[Target] = []
    for _ in range(len(targets) * max(1, delay)):
        at_once = queue.ready()
        assert len({target.host for target in at_once}) == len(at_once)
        order += at_once
        for target in at_once:
            queue.slots[target.host].release()
        await queue.clock.advance(SECOND)

    assert sorted(order, key=targets.index) == targets
    for host in (A, B, C):
        of_host = partial(filter, lambda target, host=host: target.host == host)
        assert list(of_host(order)) == in_order(strategy, list(of_host(targets)))
