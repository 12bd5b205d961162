"""Politeness to hosts, checked by the server's own log."""

import asyncio
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from crawlyard import LOCAL, State, Yard
from crawlyard.clock import Clock
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.demo.site import Answer
from crawlyard.engine.http.client import HttpFetcher
from crawlyard.engine.http.dns import Infos, Resolver, look_up
from crawlyard.engine.http.fetch import Fetcher
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.http.proxy import Proxies
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.workers.run import JobRun
from tests.engine.rig import a_spec, crawled, opened, watched
from tests.engine.test_crawl import paths, tree
from tests.jobs import events_of, submit
from tests.site import (
    JITTER_S,
    SHARED_JITTER_S,
    GraphSite,
    Serve,
    after,
    hurried,
    most_at_once,
    refetched,
)


async def test_requests_to_a_host_are_never_closer_than_the_delay(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(4, 2)))

    run = await crawled(yard, a_spec(f"{server.url}/", delay_s=0.08))

    assert len(run.pages) == 21
    assert hurried(server.hits, 0.08, SHARED_JITTER_S) == {}  # robots.txt and all


async def test_the_delay_counts_from_when_a_request_is_sent_not_from_its_look_up(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(3, 1)), latency_s=0.05)

    def slow(_: str, port: int) -> Infos:
        time.sleep(0.4)
        return look_up("127.0.0.1", port)

    def fetcher(
        guard: Guard, timeout: timedelta, clock: Clock, *, proxies: Proxies | None = None
    ) -> Fetcher:
        return HttpFetcher(guard, timeout, clock, Resolver(8, slow), proxies=proxies)

    url = f"http://site.test:{server.port}/"
    await submit(yard, a_spec(url, delay_s=0.5))
    claim = await yard.store.leases.claim(Asker("w"), yard.clock.now(), yard.settings.lease)
    assert claim is not None
    run = JobRun(claim, replace(yard.worker_context(), fetcher=fetcher))
    async with watched(run, yard.worker_context()):
        await run.run()

    arrived = [hit.at for hit in server.hits]
    assert len(arrived) == 5
    # from its look-up, the second would come 0.1 s after the first; a busy machine is late as well
    assert min(b - a for a, b in pairwise(arrived)) >= 0.25


async def test_two_jobs_on_one_host_obey_one_pace(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(4, 2)))
    spec = a_spec(f"{server.url}/", delay_s=0.08)
    jobs = [await submit(yard, spec) for _ in range(2)]

    await yard.worker(slots=2).run(drain=True)

    states = {(await find_job(yard.store, LOCAL, job.id)).job.state for job in jobs}
    assert states == {State.COMPLETED}
    assert len(server.hits) >= 42
    assert hurried(server.hits, 0.08, SHARED_JITTER_S) == {}


async def test_two_processes_on_one_store_obey_one_pace(tmp_path: Path, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(4, 2)))
    spec = a_spec(f"{server.url}/", delay_s=0.1)

    # two yards on one file share nothing but the file, as two processes would
    async with opened(tmp_path, database_url="") as first, opened(tmp_path, database_url="") as two:
        jobs = [await submit(first, spec) for _ in range(2)]
        async with asyncio.TaskGroup() as group:
            for yard, job in zip((first, two), jobs, strict=True):
                group.create_task(yard.worker(only=job.id).run())

    assert hurried(server.hits, 0.1, SHARED_JITTER_S) == {}
    assert len(server.hits) >= 42


@pytest.mark.parametrize("per_host", [1, 3])
async def test_no_more_requests_are_under_way_at_once_than_allowed(
    yard: Yard, site_server: Serve, per_host: int
) -> None:
    server = await site_server(GraphSite(tree(5, 2)), latency_s=0.01)

    await crawled(yard, a_spec(f"{server.url}/", per_host=per_host))

    assert most_at_once(server.hits) == {server.authority: per_host}


async def test_a_slow_host_does_not_hold_up_the_others(yard: Yard, site_server: Serve) -> None:
    quick = await site_server(GraphSite(tree(4, 2)))
    slow = await site_server(GraphSite(tree(4, 1)), host="127.0.0.2", latency_s=0.2)
    spec = a_spec(f"{slow.url}/", f"{quick.url}/", per_host=1, concurrency=4)

    await crawled(yard, spec)

    quick_end = max(hit.at for hit in quick.hits)
    slow_end = max(hit.at for hit in slow.hits)
    assert len(quick.hits) == 22
    assert quick_end < slow_end


class RefusingSite(GraphSite):
    """A site that refuses some paths once."""

    def __init__(self, links: dict[str, list[str]], status: int, after: str | None) -> None:
        super().__init__(links)
        self.refusals = {"/0": Answer(status, (("Retry-After", after),) if after else ())}

    def answer(self, method: str, path: str, host: str) -> Answer:
        return self.refusals.pop(path, None) or super().answer(method, path, host)


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_delays_the_whole_host_and_the_page_is_retried(
    yard: Yard, site_server: Serve, status: int
) -> None:
    site = RefusingSite(tree(4, 2), status, "1")
    server = await site_server(site)

    run = await crawled(yard, a_spec(f"{server.url}/", url_retries=1, concurrency=1))

    refused = next(hit for hit in server.hits if hit.status == status)
    later = after(server.hits, refused.answered_at or 0.0)
    assert min(hit.at for hit in later) - (refused.answered_at or 0.0) >= 1 - JITTER_S
    assert paths(server, run.ok) == site.reachable()
    assert run.usage.errors == 0


async def test_a_host_that_refuses_without_a_time_is_backed_off(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(RefusingSite(tree(2, 1), 429, None))

    run = await crawled(yard, a_spec(f"{server.url}/", url_retries=1, concurrency=1))

    refused = next(hit for hit in server.hits if hit.status == 429)
    later = after(server.hits, refused.answered_at or 0.0)
    assert min(hit.at for hit in later) - (refused.answered_at or 0.0) >= 1 - JITTER_S
    assert run.usage.errors == 0


async def test_a_crawl_delay_is_obeyed_up_to_a_cap_that_is_reported(
    yard: Yard, site_server: Serve
) -> None:
    class Asking(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Answer:
            if path == "/robots.txt":
                return Answer(200, (), b"User-agent: *\nCrawl-delay: 50\n")
            return super().answer(method, path, host)

    server = await site_server(Asking(tree(5, 1)))
    spec = a_spec(f"{server.url}/", crawl_delay_cap_s=0.1)

    run = await crawled(yard, spec)

    pages = [hit for hit in server.hits if hit.path != "/robots.txt"]
    assert hurried(pages, 0.1, SHARED_JITTER_S) == {}
    notes = [e.data.get("note") for e in await events_of(yard, run.job.id)]
    assert any("50 s" in str(note) and "0.1 s" in str(note) for note in notes)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_robots_txt_that_is_not_there_allows_all(
    yard: Yard, site_server: Serve, status: int
) -> None:
    class Without(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Answer:
            return Answer(status) if path == "/robots.txt" else super().answer(method, path, host)

    site = Without(tree(3, 1))
    server = await site_server(site)

    run = await crawled(yard, a_spec(f"{server.url}/"))

    assert paths(server, run.ok) == site.reachable()


async def test_a_robots_txt_that_fails_closes_the_host_until_it_answers(
    yard: Yard, site_server: Serve
) -> None:
    class Late(GraphSite):
        answers: ClassVar = [Answer(503), Answer(200, (), b"User-agent: *\nDisallow: /1\n")]

        def answer(self, method: str, path: str, host: str) -> Answer:
            return (
                self.answers.pop(0) if path == "/robots.txt" else super().answer(method, path, host)
            )

    server = await site_server(Late(tree(3, 1)))

    run = await crawled(yard, a_spec(f"{server.url}/"))

    assert [hit.path for hit in server.hits[:3]] == ["/robots.txt", "/robots.txt", "/"]
    assert paths(server, run.ok) == {"/", "/0", "/2"}


async def test_ignoring_robots_does_not_request_robots_txt(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(2, 1)))

    await crawled(yard, a_spec(f"{server.url}/", ignore_robots=True))

    assert "/robots.txt" not in {hit.path for hit in server.hits}


async def test_the_client_sends_nothing_again_behind_our_back(
    yard: Yard, site_server: Serve
) -> None:
    class Dropping(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Any:
            return drop if path == "/0" else super().answer(method, path, host)

    async def drop(reader: object, writer: Any) -> None:
        writer.transport.abort()

    server = await site_server(Dropping(tree(2, 1)))

    run = await crawled(yard, a_spec(f"{server.url}/", concurrency=1))

    assert not refetched(server.hits)
    assert run.errors == {f"{server.url}/0": "connect"}


async def test_a_transient_failure_is_tried_again_and_a_lasting_one_is_not(
    yard: Yard, site_server: Serve
) -> None:
    class Faulty(GraphSite):
        counts: ClassVar[dict[str, int]] = {}

        def answer(self, method: str, path: str, host: str) -> Answer:
            if path in ("/0", "/1"):
                self.counts[path] = self.counts.get(path, 0) + 1
                if path == "/1":
                    return Answer(404)
                if self.counts[path] == 1:
                    return Answer(500)
            return super().answer(method, path, host)

    site = Faulty(tree(3, 1))
    server = await site_server(site)

    run = await crawled(yard, a_spec(f"{server.url}/", url_retries=2))

    assert site.counts == {"/0": 2, "/1": 1}
    assert f"{server.url}/0" in run.ok
    assert run.errors == {f"{server.url}/1": "http_4xx"}
