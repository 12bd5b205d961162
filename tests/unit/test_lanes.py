"""What a crawl knows of the work that is left."""

from datetime import timedelta

from msgspec.structs import replace

from crawlyard import Strategy
from crawlyard.core.crawl.page import Target
from crawlyard.engine.frontier import Frontier, HostTurns
from crawlyard.engine.hosts.gate import HostGate
from crawlyard.engine.hosts.lanes import Lanes
from tests.builders import a_target
from tests.clock import FakeClock

SECOND = timedelta(seconds=1)
A, B = "a.example", "b.example"


class Site:
    """Targets that wait for hosts, and the lanes that follow them."""

    def __init__(self, *hosts: str, delay_s: float = 0.0) -> None:
        self.clock = FakeClock()
        self.gate = HostGate(self.clock)
        self.turns = HostTurns(
            Frontier(Strategy.BREADTH_FIRST), self.gate, self.clock, lambda: None
        )
        self.lanes = Lanes(self.turns, self.gate, self.clock)
        for host in hosts:
            self.gate.wish("job", host, delay_s, 2)

    def wait(self, count: int, host: str = A, depth: int = 0) -> list[Target]:
        targets = [a_target(f"{host}{depth}{n}", host=host, depth=depth) for n in range(count)]
        for target in targets:
            self.turns.push(target)
            self.lanes.admitted(target)
        return targets


async def test_the_host_that_takes_longest_at_its_own_pace_is_named() -> None:
    site = Site(A, B)
    fast, slow = site.wait(40, A), site.wait(40, B)
    for n in range(1, 40):
        await site.clock.advance(SECOND / 2)
        site.lanes.closed(fast[n])
        if n % 4 == 0:
            site.lanes.closed(slow[n])

    workload = site.lanes.workload(None, 2)

    assert workload.lane_waiting == 40
    assert 0.4 < workload.lane_rate < 0.6  # one each two seconds


async def test_delays_say_how_long_it_takes_at_least() -> None:
    site = Site(A, B, delay_s=5.0)
    site.wait(3, A)
    site.wait(10, B)
    assert site.lanes.workload(None, 2).least_s == 45.0


async def test_a_retry_says_how_long_it_takes_at_least() -> None:
    site = Site(A)
    [target] = site.wait(1)
    turn = site.turns.next(lambda _: False)
    assert turn is not None
    assert turn[0] == target
    site.turns.push_later(replace(target, tries=1), 30.0)

    assert site.lanes.workload(None, 2).least_s == 30.0


async def test_tries_that_are_still_to_come_are_counted() -> None:
    site = Site(A)
    first, second = site.wait(2)
    site.lanes.visited(4.0)
    site.lanes.failed(replace(first, tries=1), 4.0)

    workload = site.lanes.workload(None, 2)
    assert (workload.retries, workload.failed, workload.retried) == (2, 1, 0)
    assert (workload.failed_s, workload.busy_s) == (4.0, 4.0)

    site.lanes.failed(replace(first, tries=2), 4.0)
    assert site.lanes.workload(None, 2).retries == 1
    site.lanes.closed(replace(first, tries=2))
    site.lanes.closed(second)
    workload = site.lanes.workload(None, 2)
    assert (workload.retries, workload.retried, workload.failed_again) == (0, 2, 1)


async def test_urls_at_the_maximum_depth_are_counted() -> None:
    site = Site(A)
    site.wait(3, depth=1)
    deep = site.wait(5, depth=2)

    assert site.lanes.workload(None, 2).barren == 0
    assert site.lanes.workload(2, 2).barren == 5
    site.lanes.closed(deep[0])
    assert site.lanes.workload(2, 2).barren == 4
    assert site.lanes.workload(1, 2).barren == 7


async def test_time_in_which_all_hosts_are_held_back_is_counted() -> None:
    site = Site(A, B)
    site.wait(5, A)
    assert not site.lanes.held()
    site.gate.refused(A, 60.0)
    assert site.lanes.held()
    site.wait(5, B)
    assert not site.lanes.held()
    site.gate.refused(B, 20.0)
    for _ in range(2):
        since = site.clock.monotonic()
        await site.clock.advance(2 * SECOND)
        site.lanes.waited(since)

    workload = site.lanes.workload(None, 2)

    assert (workload.holds, workload.held_s, workload.hold_s) == (1, 4.0, 16.0)


async def test_a_host_that_could_be_asked_more_often_is_not_full() -> None:
    site = Site(A, delay_s=1.0)
    for target in site.wait(9)[:6]:
        await site.clock.advance(SECOND)
        site.lanes.closed(target)
    assert not site.lanes.workload(None, 2).lane_full

    site.gate.take(A)

    assert site.lanes.workload(None, 2).lane_full
