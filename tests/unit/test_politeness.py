"""Requests for robots.txt that are cancelled."""

import asyncio

from crawlyard import JobSpec, Strategy
from crawlyard.engine.frontier import Frontier, HostTurns
from crawlyard.engine.hosts.politeness import Politeness
from crawlyard.engine.hosts.rate_limiter import RateLimiter
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.robots.cache import RobotsCache
from tests.builders import a_target
from tests.clock import FakeClock

HOST = "a.example"


async def test_a_host_is_ready_again_after_an_interrupted_robots_txt_request() -> None:
    clock = FakeClock()
    limiter = RateLimiter(clock)
    turns = HostTurns(Frontier(Strategy.BREADTH_FIRST), limiter, clock, lambda: None)

    async def never(*_: object) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    manners = Politeness(
        "job",
        "Test/1",
        limiter,
        RobotsCache(clock),
        turns,
        send=never,
        spawn=asyncio.get_running_loop().create_task,
        add_note=lambda _: None,
        add_sitemaps=lambda *_: None,
    )
    manners.adopt(JobSpec(urls=(f"http://{HOST}/",), delay_s=0))
    manners.register(HOST)
    target = a_target("1", host=HOST)
    turns.push(target)
    for began in (False, True):
        manners.begin(f"http://{HOST}", HOST)
        if began:
            await asyncio.sleep(0)
        manners.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        turn = turns.next(lambda _: False)

        assert turn is not None, began
        assert turn[0] == target
        turn[1].release_unused()
        turns.push(target)
    assert len(manners) == 0
