"""Rate limits shared by several processes, checked by the server's log or the send times."""

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from crawlyard.demo.hits import Hit
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import Answer
from tests.acceptance.shell import MINUTE, environment
from tests.engine.test_crawl import tree
from tests.many_hosts import ManyHosts
from tests.site import (
    JITTER_S,
    SHARED_JITTER_S,
    GraphSite,
    Serve,
    hurried,
    most_at_once,
    site_server,
)

pytestmark = pytest.mark.slow

__all__ = ["site_server"]

PROCESSES = 3
LATENCY_S = 0.05
AT_ONCE = 2
RETRY_AFTER_S = 4.0
NOTIFIED_WITHIN_S = 2.0  # processes learn of a 429 within a second; the machine may be busy


class RefusesOnce(GraphSite):
    """A site that answers one request in the middle of the crawls with 429."""

    def __init__(self, links: Mapping[str, list[str]], refuses: int | None) -> None:
        super().__init__(links)
        self.refusal_in = refuses

    def answer(self, method: str, path: str, host: str) -> Answer:
        if self.refusal_in is not None and path != "/robots.txt":
            self.refusal_in -= 1
            if self.refusal_in == 0:
                return Answer(429, (("Retry-After", f"{RETRY_AFTER_S:.0f}"),))
        return super().answer(method, path, host)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, str]:
    """The environment of commands that share a store."""
    at = {"CRAWLYARD_DATA_DIR": str(tmp_path / "data"), "XDG_CONFIG_HOME": str(tmp_path)}
    if request.param == "postgres":
        at["CRAWLYARD_DATABASE_URL"] = request.getfixturevalue("postgres_url")
    return at


async def crawled(yard: Mapping[str, str], server: SiteServer, *options: str) -> int:
    """Crawl a site in a process of its own; return how many pages it stored."""
    words = ("crawl", server.url, "--allow-private", "--per-host", str(AT_ONCE), *options)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crawlyard", *words, "--json"),
        env=environment(**yard),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), MINUTE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    done: int = json.loads(out)["progress"]["pages"]
    return done


def pages(hits: list[Hit]) -> list[Hit]:
    return [hit for hit in hits if hit.path != "/robots.txt"]


async def test_processes_without_a_delay_share_the_concurrency_limit_and_a_429(
    yard: Mapping[str, str], site_server: Serve
) -> None:
    server = await site_server(RefusesOnce(tree(4, 3), refuses=40), latency_s=LATENCY_S)

    async with asyncio.TaskGroup() as group:
        crawls = [
            group.create_task(crawled(yard, server, "--delay", "0")) for _ in range(PROCESSES)
        ]

    hits = server.hits
    refused = next(hit for hit in hits if hit.status == 429).answered_at or 0.0
    assert [crawl.result() for crawl in crawls] == [85] * PROCESSES
    assert len(pages(hits)) == 85 * PROCESSES + 1
    assert most_at_once(hits) == {server.authority: AT_ONCE}
    quiet = (refused + NOTIFIED_WITHIN_S, refused + RETRY_AFTER_S - JITTER_S)
    assert [hit.path for hit in hits if quiet[0] < hit.at < quiet[1]] == []


async def test_processes_share_the_delay_and_a_later_one_reuses_robots_txt(
    yard: Mapping[str, str], site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(3, 2)))
    delay_s = 0.2

    async with asyncio.TaskGroup() as group:
        for _ in range(PROCESSES):
            group.create_task(crawled(yard, server, "--delay", f"{delay_s}"))
    together = len(server.hits)
    robots_requests = together - len(pages(server.hits))
    again = await crawled(yard, server, "--delay", f"{delay_s}")

    assert hurried(server.hits, delay_s, SHARED_JITTER_S) == {}
    assert len(pages(server.hits[:together])) == 13 * PROCESSES
    assert 1 <= robots_requests <= PROCESSES
    assert again == 13
    assert len(server.hits) == together + 13


@pytest.mark.parametrize(("hosts", "delay_s"), [(25, 0.2), (60, 1.0)])
async def test_no_gap_between_requests_is_too_short_across_processes(
    yard: Mapping[str, str], *, hosts: int, delay_s: float
) -> None:
    many = 1000  # gaps, for each store and delay
    where = yard.get("CRAWLYARD_DATABASE_URL") or f"{yard['XDG_CONFIG_HOME']}/hosts.db"
    everywhere = "0.0.0.0"
    sent: dict[str, list[tuple[float, int]]] = defaultdict(list)
    async with SiteServer(ManyHosts(hosts, 1), host=everywhere, latency_s=LATENCY_S) as server:
        clients = [await client(where, server.port, hosts, delay_s) for _ in range(PROCESSES)]
        async with asyncio.timeout(2 * MINUTE):
            while len(server.hits) < many + hosts:  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.1)
            outs = [await process.communicate(b"") for process in clients]

    for process, (out, _) in enumerate(outs):
        for host, at in json.loads(out):
            sent[host].append((at, process))
    runs = [sorted(times) for times in sent.values()]
    gaps = [
        (after[0] - before[0], before, after) for run in runs for before, after in pairwise(run)
    ]
    assert len(gaps) >= many
    assert [gap for gap in gaps if gap[0] < delay_s - 1e-6] == []
    assert (
        sum(before[1] != after[1] for _, before, after in gaps) > many / 20
    )  # the processes alternate


async def client(where: str, port: int, hosts: int, delay_s: float) -> asyncio.subprocess.Process:
    """Start a process that sends requests until its input is closed."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.acceptance.paced_client"),
        *(where, str(port), str(hosts), str(delay_s)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
