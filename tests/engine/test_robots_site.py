import asyncio
from urllib.parse import urlsplit

import pytest

from crawlyard.demo.server import SiteServer
from tests.hazards import VERDICTS, Kind, RobotsSite, robots
from tests.site import Reply, Serve, ask, site_server, walk

__all__ = ["site_server"]


async def robots_of(server: SiteServer) -> Reply:
    """Follow robots.txt as far as it leads, six hops at most."""
    reply = await ask(server, "/robots.txt")
    for _ in range(6):
        if "location" not in reply.headers:
            break
        reply = await ask(server, urlsplit(reply.headers["location"]).path)
    return reply


def test_every_kind_of_robots_has_its_verdict() -> None:
    assert set(VERDICTS) == set(Kind)


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.SLOW, Kind.RESET, Kind.LOOP}))
async def test_a_robots_txt_is_served(site_server: Serve, kind: Kind) -> None:
    server = await site_server(RobotsSite(kind))
    odd = {Kind.NOT_FOUND: 404, Kind.FORBIDDEN: 403, Kind.GONE: 410, Kind.UNAVAILABLE: 503}
    odd[Kind.UNAVAILABLE_FIRST] = 503

    reply = await robots_of(server)

    assert reply.status == odd.get(kind, 200)
    assert (await ask(server, "/")).status == 200


async def test_robots_txt_may_not_come(site_server: Serve) -> None:
    slow, dropped = (
        await site_server(RobotsSite(Kind.SLOW)),
        await site_server(RobotsSite(Kind.RESET)),
    )

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(slow, "/robots.txt"), 0.05)
    with pytest.raises(ConnectionResetError):
        await ask(dropped, "/robots.txt")


async def test_robots_txt_may_be_away_once(site_server: Serve) -> None:
    server = await site_server(RobotsSite(Kind.UNAVAILABLE_FIRST))

    statuses = [(await ask(server, "/robots.txt")).status for _ in range(2)]

    assert statuses == [503, 200]


@pytest.mark.parametrize(
    ("kind", "hops"),
    [(Kind.HOPS, 3), (Kind.FIVE_HOPS, 5), (Kind.SIX_HOPS, 6), (Kind.LOOP, 9)],
)
async def test_robots_txt_lies_behind_hops(site_server: Serve, kind: Kind, hops: int) -> None:
    server = await site_server(RobotsSite(kind))

    assert len(await walk(server, "/robots.txt", most=10)) - 1 == hops


async def test_robots_txt_may_lie_over_another_host(site_server: Serve) -> None:
    other = await site_server(RobotsSite(Kind.HOPS))
    server = await site_server(RobotsSite(Kind.HOPS, other=other.authority))

    first = (await ask(server, "/robots.txt")).headers["location"]
    second = (await ask(server, "/hop/2")).headers["location"]

    assert (first, second) == ("/hop/2", f"{other.url}/hop/1")


async def test_a_rule_lies_across_the_end_of_what_must_be_parsed(site_server: Serve) -> None:
    server = await site_server(RobotsSite(Kind.CUT_RULE))

    body = (await ask(server, "/robots.txt")).body

    assert body[: robots.LEAST_PARSED].endswith(b"\nDisallow: /")
    assert body[robots.LEAST_PARSED :] == b"nothing-here\n"


async def test_late_rules_lie_within_what_must_be_parsed(site_server: Serve) -> None:
    server = await site_server(RobotsSite(Kind.HUGE_LATE))

    body = (await ask(server, "/robots.txt")).body

    assert robots.RULES.encode() in body[: robots.LEAST_PARSED]
    assert body.index(robots.RULES.encode()) > 480 * 1024
