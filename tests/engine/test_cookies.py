"""Cookies of a crawl: a cookie goes back only to the site that set it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from crawlyard import LOCAL, Limits, Move, Scope, State, Yard
from crawlyard.core.crawl.page import Body, ErrorKind
from crawlyard.demo.request import HttpRequest
from crawlyard.demo.site import Answer
from crawlyard.engine.crawl import BATCH_PAGES
from crawlyard.services.access.cookies import Sealer
from crawlyard.services.results.records import page_records
from crawlyard.store.queries import PageQuery
from tests.cookie_sites import CookieWall, SessionSite, cookies_in, page, to
from tests.engine.rig import a_spec, crawled, opened, outcome, run, until_state
from tests.engine.test_spread import spread, working
from tests.jobs import events_of, submit
from tests.many_hosts import ManyHosts, address
from tests.site import Serve


@pytest.fixture
async def stored(database_url: str, tmp_path: Path) -> AsyncIterator[Yard]:
    async with opened(tmp_path, database_url=database_url) as yard:
        yield yard


@pytest.mark.parametrize("by_way_of_check", [False, True])
async def test_a_site_behind_a_cookie_wall_is_crawled_whole(
    yard: Yard, site_server: Serve, by_way_of_check: bool
) -> None:
    site = CookieWall(9, by_way_of_check=by_way_of_check)
    server = await site_server(site)

    run = await crawled(yard, a_spec(f"{server.url}/0"))

    assert run.job.state is State.COMPLETED
    assert run.ok == {f"{server.url}/{n}" for n in range(9)}
    assert not run.errors
    assert max(run.stored.values()) == 1
    assert {p.session for p in run.pages} == {"job"}
    [(session, requests)] = site.sessions[server.authority].items()
    assert (session, requests) == (f"{server.authority}-0", 9 + (not by_way_of_check))
    check = await yard.services.checking.job(LOCAL, run.job.id)
    assert not check.items


async def test_a_crawl_that_keeps_no_cookies_sends_none(yard: Yard, site_server: Serve) -> None:
    site, wall = SessionSite(4), CookieWall(4)
    server, walled = await site_server(site), await site_server(wall)

    run = await crawled(yard, a_spec(f"{server.url}/0", f"{walled.url}/0", cookies="off"))

    assert run.errors == {f"{walled.url}/0": ErrorKind.BAD_REDIRECT}
    [failed] = [p.error.detail for p in run.pages if p.error]
    assert failed.endswith("leads back to itself; the site sets a cookie, which is not kept")
    assert len(site.sessions[server.authority]) == 4
    assert not any("cookie" in hit.headers for hit in (*server.hits, *walled.hits))
    assert {p.session for p in run.pages} == {""}


class HardWall(CookieWall):
    """A wall that takes no session, but gives a new one each time, until it tires."""

    def answer_request(self, request: HttpRequest) -> Answer:
        request_count = len(self.sessions[request.host])
        return super().answer_request(
            replace(request, headers={} if request_count < 9 else request.headers)
        )


async def test_a_cookie_wall_that_stays_closed_is_requested_twice(
    yard: Yard, site_server: Serve
) -> None:
    site = HardWall(1)
    server = await site_server(site)

    run = await crawled(yard, a_spec(f"{server.url}/0"))

    [failed] = run.pages
    assert failed.error is not None
    assert failed.error.detail == (
        "redirect loop: it leads back to itself, also with the cookies that the site sets"
    )
    assert len(site.sessions[server.authority]) == 2


class Crossing:
    """Hosts that set a cookie each and redirect to one another, in turn."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.by_robots: dict[str, str] = {}

    def answer(self, method: str, path: str, host: str) -> Answer:
        raise NotImplementedError

    def answer_request(self, request: HttpRequest) -> Answer:
        if request.path == "/robots.txt":
            self.by_robots |= cookies_in(request)
            return Answer(404, (("Set-Cookie", "robots=1; Path=/"),))
        name, _, port = request.host.partition(":")
        other = "127.0.0.2" if name == "127.0.0.1" else "127.0.0.1"
        self.requests.append((name, request.path, cookies_in(request)))
        number = int(request.path.removeprefix("/"))
        if number == 5:
            return page(f'<a href="http://{other}:{port}/6">on</a>')
        sets = ("Set-Cookie", f"of={name}; Path=/"), ("Set-Cookie", f"leak={name}; Domain={other}")
        if number > 6:
            return page("<p>end")
        return to(f"http://{other}:{port}/{number + 1}", *sets)


async def test_cookies_stay_at_their_host_wherever_redirects_lead(
    yard: Yard, site_server: Serve
) -> None:
    site = Crossing()
    server = await site_server(site, host="0.0.0.0")
    mine = ("Cookie", "mine=1; of=me")

    spec = a_spec(f"http://127.0.0.1:{server.port}/0", scope=Scope.ANY, headers=(mine,))
    run = await crawled(yard, spec)

    assert not run.errors
    assert [(name, cookies) for name, _, cookies in site.requests] == [
        # cookies of the spec come first, and replace those of the site
        ("127.0.0.1", {"mine": "1", "of": "me"}),
        ("127.0.0.2", {}),
        ("127.0.0.1", {"mine": "1", "of": "me"}),
        ("127.0.0.2", {"of": "127.0.0.2"}),
        ("127.0.0.1", {"mine": "1", "of": "me"}),
        ("127.0.0.2", {"of": "127.0.0.2"}),
        ("127.0.0.1", {"mine": "1", "of": "me"}),
        ("127.0.0.2", {"of": "127.0.0.2"}),
    ]
    assert site.by_robots == {"mine": "1", "of": "me"}  # which are the spec's
    assert {p.final_url[7:16]: p.session for p in run.pages} == {"127.0.0.2": "job"}


async def test_links_out_of_scope_are_checked_without_cookies(
    yard: Yard, site_server: Serve
) -> None:
    outside = SessionSite(2)
    away = await site_server(outside)
    site = SessionSite(1)
    server = await site_server(site, host="127.0.0.2")
    links = "".join(f'<a href="{away.url}/{n}">{n}</a>' for n in range(2))
    site.inside = lambda request, number: page(links)  # type: ignore[method-assign]

    await crawled(yard, a_spec(f"{server.url}/0", max_externals=2))

    assert len(away.hits) >= 2
    assert not any("cookie" in hit.headers for hit in away.hits)


async def test_a_job_goes_on_elsewhere_with_the_cookies_that_it_had(
    stored: Yard, site_server: Serve, tmp_path: Path
) -> None:
    site = SessionSite(6)
    server = await site_server(site)
    spec = a_spec(f"{server.url}/0", concurrency=1, limits=Limits(pages=2))
    job = (await crawled(stored, spec)).job
    assert site.sessions[server.authority] == {f"{server.authority}-0": 2}

    async with opened(tmp_path, database_url=stored.settings.database_url) as other:
        await other.services.writer.edit(LOCAL, job.id, {"limits": Limits()})
        await other.services.writer.move(LOCAL, job.id, Move.RESUME)
        await run(other, job.id)
        finished = await outcome(other, job.id)

    assert finished.usage.pages == 6
    assert site.sessions[server.authority] == {f"{server.authority}-0": 6}


async def test_a_session_is_stored_as_soon_as_it_is_given(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawlyard.engine.crawl.BATCH_S", 3600.0)
    monkeypatch.setattr("crawlyard.engine.crawl.HEARTBEAT_S", 3600.0)
    site = SessionSite(500)
    server = await site_server(site, latency_s=0.05)
    job = await submit(yard, a_spec(f"{server.url}/0", concurrency=1))
    working = asyncio.create_task(run(yard, job.id))
    async with asyncio.timeout(60):
        while not await yard.store.cookies.of_job(job.id):  # noqa: ASYNC110 - a store
            await asyncio.sleep(0)
    assert sum(site.sessions[server.authority].values()) < BATCH_PAGES
    await yard.services.writer.move(LOCAL, job.id, Move.CANCEL)
    await working


async def test_a_spread_job_has_one_session_with_each_host(
    stored: Yard, site_server: Serve
) -> None:
    site = ManyHosts(12, 4)
    sessions = SessionSite(4)
    sessions.inside = lambda request, number: site.answer("GET", request.path, request.host)  # type: ignore[method-assign]
    server = await site_server(sessions, host="0.0.0.0", latency_s=0.005)
    job = await spread(stored, server, site, per_host=1)

    async with working(stored, 2):
        await until_state(stored, job.id, State.COMPLETED)

    run = await outcome(stored, job.id)
    assert run.ok == site.urls(server.port)
    assert {host: list(mine.values()) for host, mine in sessions.sessions.items()} == {
        f"{address(number)}:{server.port}": [4] for number in range(12)
    }
    assert len(await stored.store.cookies.of_job(job.id)) == 12


async def test_a_cookie_is_in_no_answer_and_in_the_store_only_sealed(
    site_server: Serve, tmp_path: Path
) -> None:
    site = SessionSite(2)
    server = await site_server(site)
    async with opened(tmp_path, database_url="") as yard:
        run = await crawled(yard, a_spec(f"{server.url}/0", keep_html=True))
        [session] = site.sessions[server.authority]
        events = await events_of(yard, run.job.id)
        stored_texts = [
            dict(json.loads(bodies[Body.HEADERS]))
            async for _, bodies in page_records(yard.store, run.job.id, PageQuery(), [Body.HEADERS])
        ]
        [sealed] = await yard.store.cookies.of_job(run.job.id)
        jar, problem = await Sealer(yard.store).jar(run.job.id)
        lost = await Sealer(yard.store, "another").jar(run.job.id)
    assert [headers.get("Set-Cookie") for headers in stored_texts] == [
        "sid=***; Path=/; HttpOnly",
        None,
    ]
    assert session not in f"{events} {run.pages} {run.job}"
    assert jar.header(f"{server.url}/1", run.job.created_at) == f"sid={session}"
    assert not problem
    assert len(lost[0]) == 0
    assert lost[1].startswith("the crawl begins without the cookies that it had: it was sealed")
    stored = b"".join(file.read_bytes() for file in (tmp_path / "data").glob("crawlyard.db*"))
    assert sealed in stored
    assert session.encode() not in stored
