"""Rules of operators reach running crawls, and robots.txt files outlive them."""

import asyncio
from pathlib import Path
from typing import Any

from crawlyard import LOCAL, Scope, State, StateReason, Yard
from crawlyard.core.crawl.page import RuleKind
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.hosts.hosts import HostRule, HostState
from crawlyard.demo.site import Answer
from crawlyard.errors import NotFound
from tests.engine.rig import a_spec, crawled, opened, outcome
from tests.engine.test_crawl import paths, tree
from tests.jobs import submit
from tests.site import GraphSite, Serve, until


async def rule(yard: Yard, host: str, state: HostState = HostState.OPEN, **fields: Any) -> None:
    """Let an operator say something of a host."""
    now, rules = yard.clock.now(), yard.store.host_rules
    try:
        version = (await rules.get(host)).version + 1
    except NotFound:
        version = 1
    host_rule = HostRule(host=host, state=state, version=version, updated_at=now, **fields)
    event = Event(name=EventName.HOST_UPDATED, subject=host, owner=LOCAL.id, at=now, actor=LOCAL.id)
    await rules.save(host_rule, event)


async def test_urls_of_a_blocked_host_are_skipped_without_a_request(
    yard: Yard, site_server: Serve
) -> None:
    shut = await site_server(GraphSite({"/": [], "/a": []}), host="127.0.0.2")
    links = {"/": ["/1", f"{shut.url}/", f"{shut.url}/a"], "/1": []}
    server = await site_server(GraphSite(links))
    await rule(yard, shut.authority, HostState.BLOCKED)

    run = await crawled(yard, a_spec(f"{server.url}/", scope=Scope.ANY))

    assert run.job.state is State.COMPLETED
    assert paths(server, run.ok) == {"/", "/1"}
    assert run.rules == dict.fromkeys((f"{shut.url}/", f"{shut.url}/a"), "host blocked")
    assert shut.hits == []
    [group] = await yard.store.pages.count_skipped(run.job.id)
    assert (group.kind, group.count) == (RuleKind.HOST, 2)


async def test_a_job_that_may_ask_no_host_says_why_it_failed(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite({"/": []}))
    await rule(yard, server.authority, HostState.BLOCKED)

    run = await crawled(yard, a_spec(f"{server.url}/"))

    assert (run.job.state, run.job.state_reason) == (State.FAILED, StateReason.START_FAILED)
    assert run.job.detail == f"{server.url}/: host blocked"
    assert server.hits == []


async def test_a_block_meets_a_crawl_that_is_under_way_and_its_end_lets_new_urls_through(
    yard: Yard, site_server: Serve
) -> None:
    pages = [f"/{n}" for n in range(40)]
    links = {"/": pages} | {page: [] for page in pages[:-1]} | {pages[-1]: ["/last"], "/last": []}
    server = await site_server(GraphSite(links), latency_s=0.1)
    job = await submit(yard, a_spec(f"{server.url}/", per_host=1))

    async with asyncio.TaskGroup() as group:
        group.create_task(yard.worker(only=job.id).run())
        await until(lambda: len(server.hits) > 5)
        await rule(yard, server.authority, HostState.BLOCKED)
    run = await outcome(yard, job.id)
    request_count = len(server.hits)
    await rule(yard, server.authority)
    again = await crawled(yard, a_spec(f"{server.url}/last"))

    assert run.job.state is State.COMPLETED
    assert request_count < 41
    assert set(run.rules.values()) == {"host blocked"}
    assert len(run.ok) + len(run.rules) == 41
    assert paths(server, again.ok) == {"/last"}


async def test_a_paused_host_is_waited_for_and_its_crawl_goes_on(
    yard: Yard, site_server: Serve
) -> None:
    site = GraphSite(tree(4, 2))
    server = await site_server(site, latency_s=0.05)
    await rule(yard, server.authority, HostState.PAUSED)
    job = await submit(yard, a_spec(f"{server.url}/"))

    async with asyncio.TaskGroup() as group:
        group.create_task(yard.worker(only=job.id).run())
        async with asyncio.timeout(60):
            while not (hosts := await paused_hosts(yard)):  # noqa: ASYNC110
                await asyncio.sleep(0)
        hits = list(server.hits)
        await rule(yard, server.authority)
    run = await outcome(yard, job.id)

    assert hosts == {server.authority}
    assert hits == []
    assert paths(server, run.ok) == site.reachable()


async def paused_hosts(yard: Yard) -> set[str]:
    """Return the hosts that workers report as paused."""
    reports = await yard.store.workers.find()
    hosts = (host for report in reports for host in report.hosts)
    return {host.host for host in hosts if host.state is HostState.PAUSED and not host.idle}


async def test_a_rule_slows_down_what_jobs_wish_for(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(3, 1)))
    await rule(yard, server.authority, delay_s=0.2)

    await crawled(yard, a_spec(f"{server.url}/"))

    arrivals = sorted(hit.at for hit in server.hits)
    assert len(arrivals) == 5
    assert arrivals[-1] - arrivals[0] >= 4 * 0.2 - 0.05


class Closing(GraphSite):
    """A site whose robots.txt keeps one page out."""

    def answer(self, method: str, path: str, host: str) -> Answer:
        if path == "/robots.txt":
            return Answer(200, (), b"User-agent: *\nDisallow: /0\n")
        return super().answer(method, path, host)


async def test_robots_txt_is_requested_once_and_obeyed_after_a_restart(
    tmp_path: Path, site_server: Serve
) -> None:
    server = await site_server(Closing(tree(3, 1)))

    async with opened(tmp_path, database_url="") as yard:
        first = await crawled(yard, a_spec(f"{server.url}/"))
    async with opened(tmp_path, database_url="") as two:
        second = await crawled(two, a_spec(f"{server.url}/", user_agent="Other/1.0"))

    for run in (first, second):
        assert paths(server, run.ok) == {"/", "/1", "/2"}
    assert [hit.path for hit in server.hits].count("/robots.txt") == 1


async def test_a_stored_robots_txt_costs_no_delay(tmp_path: Path, site_server: Serve) -> None:
    server = await site_server(GraphSite({"/": []}))
    spec = a_spec(f"{server.url}/", delay_s=30)
    async with opened(tmp_path, database_url="") as yard:
        await crawled(yard, a_spec(f"{server.url}/nothing"))
    async with opened(tmp_path, database_url="") as two:
        async with asyncio.timeout(60):
            run = await crawled(two, spec)

    assert paths(server, run.ok) == {"/"}


async def test_a_dot_at_the_end_of_its_name_opens_no_blocked_host(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite({"/": []}))
    await rule(yard, f"localhost:{server.port}", HostState.BLOCKED)
    dotted = f"http://localhost.:{server.port}/"

    run = await crawled(yard, a_spec(dotted))

    assert run.job.detail == f"{dotted}: host blocked"
    assert run.rules == {dotted: "host blocked"}
    assert server.hits == []
