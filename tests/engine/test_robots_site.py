import pytest

from tests.hazards import RobotsKind, RobotsSite, robots
from tests.site import Serve, ask, site_server, walk

__all__ = ["site_server"]


async def test_robots_txt_may_be_away_once(site_server: Serve) -> None:
    server = await site_server(RobotsSite(RobotsKind.UNAVAILABLE_FIRST))

    statuses = [(await ask(server, "/robots.txt")).status for _ in range(2)]

    assert statuses == [503, 200]


@pytest.mark.parametrize(
    ("kind", "hops"),
    [
        (RobotsKind.HOPS, 3),
        (RobotsKind.FIVE_HOPS, 5),
        (RobotsKind.SIX_HOPS, 6),
        (RobotsKind.LOOP, 9),
    ],
)
async def test_robots_txt_lies_behind_hops(site_server: Serve, kind: RobotsKind, hops: int) -> None:
    server = await site_server(RobotsSite(kind))

    assert len(await walk(server, "/robots.txt", most=10)) - 1 == hops


async def test_robots_txt_may_lie_over_another_host(site_server: Serve) -> None:
    other = await site_server(RobotsSite(RobotsKind.HOPS))
    server = await site_server(RobotsSite(RobotsKind.HOPS, other=other.authority))

    first = (await ask(server, "/robots.txt")).headers["location"]
    second = (await ask(server, "/hop/2")).headers["location"]

    assert (first, second) == ("/hop/2", f"{other.url}/hop/1")


async def test_a_rule_lies_across_the_end_of_what_must_be_parsed(site_server: Serve) -> None:
    server = await site_server(RobotsSite(RobotsKind.CUT_RULE))

    body = (await ask(server, "/robots.txt")).body

    assert body[: robots.LEAST_PARSED].endswith(b"\nDisallow: /")
    assert body[robots.LEAST_PARSED :] == b"nothing-here\n"


async def test_late_rules_lie_within_what_must_be_parsed(site_server: Serve) -> None:
    server = await site_server(RobotsSite(RobotsKind.HUGE_LATE))

    body = (await ask(server, "/robots.txt")).body

    assert robots.RULES.encode() in body[: robots.LEAST_PARSED]
    assert body.index(robots.RULES.encode()) > 480 * 1024
