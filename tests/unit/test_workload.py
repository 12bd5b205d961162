"""Host queues: a crawl's count of the work that is left."""

from datetime import timedelta

from msgspec.structs import replace

from crawlyard import Strategy
from crawlyard.core.crawl.page import Target
from crawlyard.engine.frontier import Frontier, HostTurns
from crawlyard.engine.hosts.rate_limiter import RateLimiter
from crawlyard.engine.hosts.workload import WorkloadTracker
from tests.builders import a_target
from tests.clock import FakeClock

SECOND = timedelta(seconds=1)
A, B = "a.example", "b.example"


class HostQueues:
    """Targets that wait for hosts, and the queues that count them."""

    def __init__(self, *hosts: str, delay_s: float = 0.0) -> None:
        self.clock = FakeClock()
        self.limiter = RateLimiter(self.clock)
        self.turns = HostTurns(
            Frontier(Strategy.BREADTH_FIRST), self.limiter, self.clock, lambda: None
        )
        self.tracker = WorkloadTracker(self.turns, self.limiter, self.clock)
        for host in hosts:
            self.limiter.set_limits("job", host, delay_s, 2)

    def wait(self, count: int, host: str = A, depth: int = 0) -> list[Target]:
        targets = [a_target(f"{host}{depth}{n}", host=host, depth=depth) for n in range(count)]
        for target in targets:
            self.turns.push(target)
            self.tracker.add(target)
        return targets


async def test_the_host_that_takes_longest_at_its_own_pace_is_named() -> None:
    site = HostQueues(A, B)
    fast, slow = site.wait(40, A), site.wait(40, B)
    for n in range(1, 40):
        await site.clock.advance(SECOND / 2)
        site.tracker.close(fast[n])
        if n % 4 == 0:
            site.tracker.close(slow[n])

    workload = site.tracker.workload(None, 2)

    assert workload.lane_waiting == 40
    assert 0.4 < workload.lane_rate < 0.6  # one each two seconds


async def test_delays_say_how_long_it_takes_at_least() -> None:
    site = HostQueues(A, B, delay_s=5.0)
    site.wait(3, A)
    site.wait(10, B)
    assert site.tracker.workload(None, 2).least_s == 45.0


async def test_a_retry_says_how_long_it_takes_at_least() -> None:
    site = HostQueues(A)
    [target] = site.wait(1)
    turn = site.turns.next(lambda _: False)
    assert turn is not None
    assert turn[0] == target
    site.turns.push_later(replace(target, tries=1), 30.0)

    assert site.tracker.workload(None, 2).least_s == 30.0


async def test_tries_that_are_still_to_come_are_counted() -> None:
    site = HostQueues(A)
    first, second = site.wait(2)
    site.tracker.add_request(4.0)
    site.tracker.add_failure(replace(first, tries=1), 4.0)

    workload = site.tracker.workload(None, 2)
    assert (workload.retries, workload.failed, workload.retried) == (2, 1, 0)
    assert (workload.failed_s, workload.busy_s) == (4.0, 4.0)

    site.tracker.add_failure(replace(first, tries=2), 4.0)
    assert site.tracker.workload(None, 2).retries == 1
    site.tracker.close(replace(first, tries=2))
    site.tracker.close(second)
    workload = site.tracker.workload(None, 2)
    assert (workload.retries, workload.retried, workload.failed_again) == (0, 2, 1)


async def test_urls_at_the_maximum_depth_are_counted() -> None:
    site = HostQueues(A)
    site.wait(3, depth=1)
    deep = site.wait(5, depth=2)

    assert site.tracker.workload(None, 2).barren == 0
    assert site.tracker.workload(2, 2).barren == 5
    site.tracker.close(deep[0])
    assert site.tracker.workload(2, 2).barren == 4
    assert site.tracker.workload(1, 2).barren == 7


async def test_time_in_which_all_hosts_are_held_back_is_counted() -> None:
    site = HostQueues(A, B)
    site.wait(5, A)
    assert not site.tracker.is_held()
    site.limiter.record_refusal(A, 60.0)
    assert site.tracker.is_held()
    site.wait(5, B)
    assert not site.tracker.is_held()
    site.limiter.record_refusal(B, 20.0)
    for _ in range(2):
        since = site.clock.monotonic()
        await site.clock.advance(2 * SECOND)
        site.tracker.add_hold(since)

    workload = site.tracker.workload(None, 2)

    assert (workload.holds, workload.held_s, workload.hold_s) == (1, 4.0, 16.0)


async def test_a_host_that_could_be_asked_more_often_is_not_full() -> None:
    site = HostQueues(A, delay_s=1.0)
    for target in site.wait(9)[:6]:
        await site.clock.advance(SECOND)
        site.tracker.close(target)
    assert not site.tracker.workload(None, 2).lane_full

    site.limiter.take(A)

    assert site.tracker.workload(None, 2).lane_full
