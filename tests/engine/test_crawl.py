"""Crawls: pages found and limits, checked from the server's side where possible."""

from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard import (
    LOCAL,
    Limits,
    Move,
    Scope,
    State,
    StateReason,
    Strategy,
    TextMode,
    Yard,
)
from crawlyard.core.crawl.page import Body, ErrorKind
from crawlyard.core.jobs.job_log import Level
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import Answer, DemoSite
from crawlyard.engine import crawl
from crawlyard.errors import IllegalMove, Invalid
from crawlyard.services.results.records import page_records
from crawlyard.services.workers import run as services_run
from crawlyard.store.queries import PageQuery
from tests.engine.rig import a_spec, crawled, outcome, run
from tests.jobs import submit
from tests.site import GraphSite, Serve, refetched
from tests.unit.test_pdf import document, encrypted, scan, text_content


def tree(width: int, depth: int) -> dict[str, list[str]]:
    """Return the links of a full tree of pages below "/"."""
    links: dict[str, list[str]] = {}
    level = ["/"]
    for _ in range(depth):
        below = []
        for path in level:
            links[path] = [f"{path.rstrip('/')}/{n}" for n in range(width)]
            below += links[path]
        level = below
    return links | {path: ["/"] for path in level}


def paths(server: SiteServer, urls: set[str]) -> set[str]:
    return {url.removeprefix(server.url) for url in urls}


async def test_every_page_that_is_linked_is_stored_once(yard: Yard, site_server: Serve) -> None:
    site = DemoSite(pages=120)
    server = await site_server(site)

    run = await crawled(yard, a_spec(server.url))

    assert run.job.state is State.COMPLETED
    assert run.job.state_reason is StateReason.EXHAUSTED
    assert paths(server, run.ok) == site.reachable()
    assert max(run.stored.values()) == 1
    assert paths(server, set(run.errors)) == set(site.failing)
    assert not refetched(server.hits)
    assert run.rules[f"{server.url}/private/"].startswith("robots: Disallow")
    assert run.usage.pages == len(run.pages)
    assert run.usage.errors == len(run.errors)
    assert run.usage.done == run.usage.discovered


@pytest.mark.parametrize("concurrency", [1, 4, 16, 64])
@pytest.mark.parametrize("pages", [1, 17, 50])
async def test_a_page_limit_is_exact_at_any_concurrency(
    yard: Yard, site_server: Serve, concurrency: int, pages: int
) -> None:
    server = await site_server(GraphSite(tree(4, 4)), latency_s=0.002)
    spec = a_spec(
        server.url, limits=Limits(pages=pages), concurrency=concurrency, per_host=concurrency
    )

    run = await crawled(yard, spec)

    assert run.job.state_reason is StateReason.LIMIT_PAGES
    assert run.usage.pages == len(run.pages) == pages
    assert len([hit for hit in server.hits if hit.path != "/robots.txt"]) == pages


async def test_a_page_that_fails_without_an_answer_gives_its_place_to_another(
    yard: Yard, site_server: Serve
) -> None:
    class Flaky(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Any:
            if path.endswith("3"):
                return hang_up
            return super().answer(method, path, host)

    async def hang_up(reader: object, writer: Any) -> None:
        writer.transport.abort()

    server = await site_server(Flaky(tree(4, 3)))

    run = await crawled(yard, a_spec(server.url, limits=Limits(pages=30)))

    assert run.usage.pages == 30
    assert run.usage.errors > 0
    assert run.job.state_reason is StateReason.LIMIT_PAGES


async def test_a_raised_limit_continues_the_same_job_without_refetching(
    yard: Yard, site_server: Serve
) -> None:
    site = GraphSite(tree(4, 3))
    server = await site_server(site)
    first = await crawled(yard, a_spec(server.url, limits=Limits(pages=20)))
    with pytest.raises(IllegalMove, match=r"limits\.pages"):
        await yard.services.writer.move(LOCAL, first.job.id, Move.RESUME)

    await yard.services.writer.edit(LOCAL, first.job.id, {"limits": Limits(pages=60)})
    await yard.services.writer.move(LOCAL, first.job.id, Move.RESUME)
    await run(yard, first.job.id)
    second = await outcome(yard, first.job.id)
    await yard.services.writer.edit(LOCAL, first.job.id, {"limits": Limits()})
    await yard.services.writer.move(LOCAL, first.job.id, Move.RESUME)
    await run(yard, first.job.id)
    last = await outcome(yard, first.job.id)

    assert (first.usage.pages, second.usage.pages) == (20, 60)
    assert last.job.state_reason is StateReason.EXHAUSTED
    assert paths(server, last.ok) == site.reachable()
    assert not refetched(server.hits)
    with pytest.raises(IllegalMove, match="nothing left"):
        await yard.services.writer.move(LOCAL, first.job.id, Move.RESUME)


async def test_a_limit_of_bytes_stops_within_what_is_in_flight_and_says_by_how_much(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(4, 4)))

    run = await crawled(yard, a_spec(server.url, limits=Limits(bytes=5000), concurrency=4))

    largest = max(page.bytes for page in run.pages)
    assert run.job.state_reason is StateReason.LIMIT_BYTES
    assert 5000 <= run.usage.bytes < 5000 + 4 * largest
    over = run.usage.bytes - 5000
    assert f"passed by {over} bytes" in run.job.detail


async def test_a_limit_of_duration_stops_the_job_and_pauses_do_not_count(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(8, 5)), latency_s=0.02)
    limit_s = 0.4

    run = await crawled(yard, a_spec(server.url, limits=Limits(duration_s=limit_s), concurrency=2))

    assert run.job.state_reason is StateReason.LIMIT_DURATION
    assert limit_s <= run.usage.duration_s < limit_s + 2


async def test_a_limit_of_errors_ends_the_job(yard: Yard, site_server: Serve) -> None:
    links = {"/": [f"/gone/{n}" for n in range(50)]}
    server = await site_server(GraphSite(links))

    run = await crawled(yard, a_spec(server.url, limits=Limits(errors=5), concurrency=1))

    assert run.job.state_reason is StateReason.LIMIT_ERRORS
    assert run.usage.errors == 5


async def test_depth_counts_links_from_the_start(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(3, 4)))

    run = await crawled(yard, a_spec(server.url, max_depth=2))

    assert len(run.pages) == 1 + 3 + 9
    assert max(page.depth for page in run.pages) == 2


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_the_strategy_orders_the_requests(
    yard: Yard, site_server: Serve, strategy: Strategy
) -> None:
    server = await site_server(GraphSite(tree(2, 3)))

    await crawled(yard, a_spec(server.url, strategy=strategy, concurrency=1))

    paths = [hit.path for hit in server.hits if hit.path != "/robots.txt"]
    depths = [0 if path == "/" else path.count("/") for path in paths]
    if strategy is Strategy.BREADTH_FIRST:
        assert depths == sorted(depths)
    else:
        assert depths[:4] == [0, 1, 2, 3]


async def test_patterns_choose_what_is_fetched(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(4, 3)))

    run = await crawled(yard, a_spec(server.url, include=("/0*", "/1*"), exclude=("re:/2$",)))

    fetched = paths(server, run.ok)
    assert "/" in fetched
    assert all(path == "/" or path[1] in "01" for path in fetched)
    assert not any(path.endswith("/2") for path in fetched)
    assert run.rules[f"{server.url}/0/2"] == "exclude: re:/2$"


async def test_the_start_url_may_lead_elsewhere_and_widens_the_scope(
    yard: Yard, site_server: Serve
) -> None:
    there = await site_server(GraphSite({"/": ["/a"], "/a": []}), host="127.0.0.2")

    class Moved:
        def answer(self, method: str, path: str, host: str) -> Answer:
            return Answer(301 if path == "/" else 404, (("Location", f"{there.url}/"),))

    here = await site_server(Moved())

    run = await crawled(yard, a_spec(here.url))

    assert run.ok == {f"{there.url}/", f"{there.url}/a"}
    assert run.pages[0].url == f"{here.url}/"
    assert run.usage.redirects == 1


async def test_a_start_url_that_cannot_be_fetched_fails_the_job_with_the_reason(
    yard: Yard, site_server: Serve, unused_tcp_port: int
) -> None:
    run = await crawled(yard, a_spec(f"http://127.0.0.1:{unused_tcp_port}/", ignore_robots=True))

    assert run.job.state is State.FAILED
    assert run.job.state_reason is StateReason.START_FAILED
    assert "refused" in run.job.detail.lower() or "connect" in run.job.detail.lower()


async def test_a_start_url_forbidden_by_robots_fails_the_job_without_a_request(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(DemoSite(pages=10))

    run = await crawled(yard, a_spec(f"{server.url}/private/"))

    assert run.job.state_reason is StateReason.START_FAILED
    assert "robots" in run.job.detail
    assert [hit.path for hit in server.hits] == ["/robots.txt"]


async def test_sitemaps_are_read_for_seeds_and_not_kept_as_pages(
    yard: Yard, site_server: Serve
) -> None:
    site = DemoSite(pages=60, faults=False)
    server = await site_server(site)
    spec = a_spec(sitemaps=(f"{server.url}/sitemap.xml",), max_depth=0)

    run = await crawled(yard, spec)

    assert paths(server, run.ok) == set(site.pages)
    assert run.rules[f"{server.url}/sitemap.xml"].startswith("sitemap: ")


async def test_an_index_of_sitemaps_may_name_another_one_and_no_more(
    yard: Yard, site_server: Serve
) -> None:
    class Nested(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Answer:
            level = path.removeprefix("/index/")
            if level == path or int(level) > 6:  # without a bound, its own error would end it
                return super().answer(method, path, host)
            entry = f"<sitemap><loc>http://{host}/index/{int(level) + 1}</loc></sitemap>"
            body = f"<sitemapindex>{entry}</sitemapindex>"
            return Answer(200, (("Content-Type", "application/xml"),), body.encode())

    server = await site_server(Nested({"/": []}))

    await crawled(yard, a_spec(server.url, sitemaps=(f"{server.url}/index/0",)))

    paths = {hit.path for hit in server.hits if hit.path.startswith("/index/")}
    assert paths == {"/index/0", "/index/1", "/index/2"}


async def test_sitemaps_listed_in_robots_are_read_on_request(
    yard: Yard, site_server: Serve
) -> None:
    site = DemoSite(pages=40)
    server = await site_server(site)

    run = await crawled(yard, a_spec(server.url, sitemaps=("robots",), max_depth=0))

    assert set(site.pages) <= paths(server, run.ok)


async def test_requested_bodies_are_stored_with_the_page(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite({"/": []}))
    spec = a_spec(
        server.url, text=TextMode.MARKDOWN, keep_html=True, extract=(("words", "p"), ("t", "title"))
    )

    run = await crawled(yard, spec)

    kinds = list(Body)
    records = page_records(yard.store, run.job.id, PageQuery(), kinds)
    ((stored, bodies),) = [record async for record in records]
    assert stored.page.title == "/"
    assert stored.page.extracted == {"words": ("Page /",), "t": ("/",)}
    assert bodies[Body.HTML].startswith(b"<!doctype html>")
    assert b"Page /" in bodies[Body.TEXT]
    assert b"Content-Type" in bodies[Body.HEADERS]


async def test_pages_that_need_scripts_are_marked_and_counted(
    yard: Yard, site_server: Serve
) -> None:
    shell = b'<title>Shop</title><div id="root"></div><script src="/app.js"></script>'

    class Shells(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Answer:
            if path == "/":
                return super().answer(method, path, host)
            return Answer(404 if path == "/gone" else 200, (("Content-Type", "text/html"),), shell)

    server = await site_server(Shells({"/": ["/a", "/b", "/gone"]}))

    run = await crawled(yard, a_spec(server.url, text=TextMode.NONE))

    marked = {page.url for page in run.pages if page.needs_scripts}
    assert paths(server, marked) == {"/a", "/b"}  # failures are described by their error
    assert run.usage.needs_scripts == 2


async def test_pdfs_and_pages_without_readable_content_say_so(
    yard: Yard, site_server: Serve
) -> None:
    menu = b"<title>Menu</title><nav>" + b"<a href=/>Somewhere else</a> " * 100 + b"</nav>Nothing"

    good = document(text_content("Hello"))
    documents = {
        "/a.pdf": good,
        "/bad.pdf": b"%PDF-1.7",
        "/locked.pdf": encrypted(good, "secret"),
        "/scan.pdf": scan(),
    }

    class Mixed(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Answer:
            if path in documents:
                return Answer(200, (("Content-Type", "application/pdf"),), documents[path])
            if path == "/menu":
                return Answer(200, (("Content-Type", "text/html"),), menu)
            return super().answer(method, path, host)

    server = await site_server(Mixed({"/": [*documents, "/menu"]}))

    run = await crawled(yard, a_spec(server.url, text=TextMode.MAIN, keep_html=True))

    records = page_records(yard.store, run.job.id, PageQuery(), [Body.TEXT, Body.HTML])
    stored_by_url = {stored.page.url: (stored.page, bodies) async for stored, bodies in records}
    pdf, bodies = stored_by_url[f"{server.url}/a.pdf"]
    assert (pdf.title, pdf.content_rule, bodies) == ("A title", "pdf", {Body.TEXT: b"Hello"})
    bad, bodies = stored_by_url[f"{server.url}/bad.pdf"]
    assert bad.error is not None
    assert (bad.error.kind, bad.status) == (ErrorKind.UNREADABLE, 200)
    assert bad.error.detail.startswith("the PDF is damaged: ")
    assert (bad.truncated, bodies) == (f"not readable: {bad.error.detail}", {})
    locked, _ = stored_by_url[f"{server.url}/locked.pdf"]
    assert locked.error is not None
    assert locked.error.detail == "the PDF is encrypted and needs a password"
    (group,) = await yard.store.pages.errors(run.job.id)
    assert (group.kind, group.count, group.answered) == (ErrorKind.UNREADABLE, 2, 2)
    pictures, bodies = stored_by_url[f"{server.url}/scan.pdf"]
    assert (pictures.error, pictures.nearly_empty, bodies) == (None, True, {Body.TEXT: b""})
    assert stored_by_url[f"{server.url}/menu"][0].nearly_empty
    lines = await yard.store.journal.lines(run.job.id, Level.INFO, 0, 100)
    messages = [line.message for line in lines]
    assert "main text is nearly empty on 1 page; text=page-markdown keeps all of a page" in messages
    assert "no text in 1 PDF document: only images or empty pages" in messages


async def test_credentials_go_to_the_start_host_alone(yard: Yard, site_server: Serve) -> None:
    headers_by_host: dict[str, list[str]] = {"start": [], "other": []}

    class Recording(GraphSite):
        def __init__(self, name: str, links: dict[str, list[str]]) -> None:
            super().__init__(links)
            self.name = name

        def answer_request(self, request: Any) -> Answer:
            headers_by_host[self.name].append(request.headers.get("authorization", ""))
            return self.answer(request.method, request.path, request.host)

    other = await site_server(Recording("other", {"/": []}), host="127.0.0.2")
    start = await site_server(Recording("start", {"/": [other.url]}))
    spec = a_spec(start.url, scope=Scope.ANY, headers=(("Authorization", "Bearer secret"),))

    await crawled(yard, spec)

    assert set(headers_by_host["start"]) == {"Bearer secret"}
    assert set(headers_by_host["other"]) == {""}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"urls": ("ftp://example.org/",)}, "url"),
        ({"urls": ("not a url",)}, "url"),
        ({"urls": ("http://127.0.0.1:9/",), "allow_private": False}, "loopback"),
        ({"urls": ("http://localhost/",), "allow_private": False}, "loopback"),
        ({"exclude": ("re:(",)}, "exclude"),
        ({"extract": (("x", "p["),)}, "extract"),
        ({"headers": (("Host", "evil"),)}, "headers"),
        ({"headers": (("X", "a\r\nb"),)}, "headers"),
        ({"allow_addresses": ("nonsense/99",)}, "allow_addresses"),
    ],
)
async def test_a_spec_that_cannot_be_crawled_is_refused_at_once(
    yard: Yard, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        await submit(yard, replace(a_spec("http://example.org/"), **changes))


async def test_a_frontier_larger_than_memory_is_worked_off_whole(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (crawl, services_run):
        monkeypatch.setattr(module, "WINDOW", 20)
    monkeypatch.setattr(crawl, "REFILL", 5)
    site = GraphSite(tree(6, 3))
    server = await site_server(site)

    run = await crawled(yard, a_spec(f"{server.url}/"))

    assert run.job.state_reason is StateReason.EXHAUSTED
    assert paths(server, run.ok) == site.reachable()
    assert not refetched(server.hits)


async def test_hosts_beyond_the_window_are_not_held_up_by_a_slow_one(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (crawl, services_run):
        monkeypatch.setattr(module, "WINDOW", 20)
    for name, value in (("REFILL", 5), ("CROWDED_HOST", 10), ("REFILL_S", 0.0)):
        monkeypatch.setattr(crawl, name, value)
    quick = await site_server(GraphSite(tree(4, 1)), host="127.0.0.2")
    links = [f"/{n}" for n in range(40)]
    slow = await site_server(GraphSite({"/": [*links, f"{quick.url}/"]} | dict.fromkeys(links, ())))
    spec = a_spec(f"{slow.url}/", scope=Scope.ANY, delay_s=0.1)

    run = await crawled(yard, spec)

    assert len(run.ok) == 41 + 5
    assert max(hit.at for hit in quick.hits) < max(hit.at for hit in slow.hits) - 1
