"""Crawls whose pages are rendered: which ones, what is kept of them, and what they ask for."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from crawlyard import LOCAL, Move, State, Yard
from crawlyard.core.crawl.page import Body
from crawlyard.core.crawl.rendering import Browser
from crawlyard.core.jobs.lifecycle import StateReason
from crawlyard.core.jobs.limits import Limits
from crawlyard.demo.hits import Hit
from crawlyard.demo.site import HTML, Answer
from crawlyard.services.results.records import page_records
from crawlyard.store.queries import PageQuery
from tests.app_site import AppSite
from tests.engine.rig import a_spec, crawled, outcome, published, run
from tests.jobs import events_of, submit
from tests.site import SHARED_JITTER_S, GraphSite, Serve, most_at_once, until


def documents(hits: Sequence[Hit]) -> list[str]:
    return [hit.path for hit in hits if "." not in hit.path]


async def text_of(yard: Yard, job_id: str) -> dict[str, str]:
    """Return the text of each page of a job by the last part of its URL."""
    records = page_records(yard.store, job_id, PageQuery(), [Body.TEXT])
    return {
        stored.page.url.rpartition("/")[2]: bodies[Body.TEXT].decode()
        async for stored, bodies in records
    }


async def test_pages_that_need_scripts_are_rendered_and_their_links_followed(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(AppSite(4))

    run = await crawled(yard, a_spec(server.url, render="auto", keep_html=True))

    assert run.job.state_reason is StateReason.EXHAUSTED
    assert {page.title for page in run.pages} == {f"Page {n}" for n in range(4)}
    assert {page.render_reason for page in run.pages} == {"needs_scripts"}
    assert all(page.rendered_by.startswith("lightpanda ") for page in run.pages)
    assert not any(page.needs_scripts for page in run.pages)
    usage = run.usage
    assert (usage.pages, usage.rendered, usage.needs_scripts) == (4, 4, 0)
    assert usage.subrequests == len(server.hits) - 4 - 1  # robots.txt
    counts = Counter(hit.path for hit in server.hits)
    assert counts["/app.js"] <= 2  # two pages were rendered at once
    assert usage.render_s > 0
    assert usage.render_took_s > 0
    assert max(Counter(documents(server.hits)).values()) == 1  # each shell was asked for once
    records = page_records(yard.store, run.job.id, PageQuery(), list(Body))
    async for _, bodies in records:
        assert b"This is page" not in bodies[Body.HTML]  # as it was sent
        assert b"This is page" in bodies[Body.RENDERED]
        assert b"This is page" in bodies[Body.TEXT]


async def test_a_job_that_renders_nothing_leaves_shells_alone(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(AppSite(4))

    run = await crawled(yard, a_spec(server.url))

    assert documents(server.hits) == ["/"]
    assert (run.usage.rendered, run.usage.needs_scripts) == (0, 1)


@pytest.mark.slow
async def test_a_pattern_says_which_pages_are_rendered(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite({"/": ["/a", "/b"], "/a": [], "/b": []}))

    run = await crawled(yard, a_spec(server.url, render="/a*"))
    always = await crawled(yard, a_spec(server.url, render="always"))

    why = {page.url.removeprefix(server.url): page.render_reason for page in run.pages}
    assert why == {"/": "", "/a": "pattern", "/b": ""}
    assert [page.render_reason for page in always.pages] == ["always"] * 3
    assert run.usage.rendered == 1
    assert always.usage.rendered == 3


@pytest.mark.slow
async def test_what_is_wanted_of_a_page_is_done_in_it(yard: Yard, site_server: Serve) -> None:
    server = await site_server(AppSite(1))
    feed, wall, late = (f"{server.url}/{name}" for name in ("feed", "wall", "late"))

    scrolled = await crawled(yard, a_spec(feed, render="always", actions=("scroll 9",)))
    clicked = await crawled(yard, a_spec(wall, render="always", actions=("click #accept",)))
    waited = await crawled(yard, a_spec(late, render="always", wait_for="#late"))
    not_waited = await crawled(yard, a_spec(feed, render="always"))

    assert (await text_of(yard, scrolled.job.id))["feed"].count("Article") == 20
    assert (await text_of(yard, not_waited.job.id))["feed"].count("Article") == 5
    assert "Behind the wall." in (await text_of(yard, clicked.job.id))["wall"]
    assert "It was late." in (await text_of(yard, waited.job.id))["late"]


@pytest.mark.slow
async def test_a_page_that_cannot_be_rendered_fails_with_its_plain_content(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite({"/": ["/a"], "/a": []}))

    run = await crawled(
        yard, a_spec(server.url, render="*/", wait_for="#never", timeout_s=1, keep_html=True)
    )

    failed, whole = sorted(run.pages, key=lambda page: page.url)
    assert failed.error is not None
    assert failed.error.kind == "render"
    assert "#never" in failed.error.detail
    assert (failed.title, failed.rendered_by) == ("/", "")
    assert whole.error is None  # its link was followed all the same
    assert (run.usage.pages, run.usage.errors, run.usage.rendered) == (2, 1, 0)


@pytest.mark.slow
async def test_documents_that_robots_txt_forbids_are_not_requested(
    yard: Yard, site_server: Serve
) -> None:
    class Framed(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Answer:
            if path == "/robots.txt":
                return Answer(200, (), b"User-agent: *\nDisallow: /private/")
            if path == "/":
                frames = b"<iframe src=/private/frame></iframe><iframe src=/open></iframe>"
                return Answer(200, (("Content-Type", "text/html"),), b"<p>Page</p>" + frames)
            return super().answer(method, path, host)

    server = await site_server(Framed({"/open": []}))

    run = await crawled(yard, a_spec(server.url, render="always", renderer="chromium"))

    paths = {hit.path for hit in server.hits}
    assert "/open" in paths
    assert "/private/frame" not in paths
    assert run.usage.rendered == 2


@pytest.mark.parametrize("pages", [3, pytest.param(100, marks=pytest.mark.slow)])
async def test_the_limit_of_pages_is_exact_however_many_requests_they_make(
    yard: Yard, site_server: Serve, pages: int
) -> None:
    server = await site_server(AppSite(2 * pages))

    run = await crawled(yard, a_spec(server.url, render="auto", limits=Limits(pages=pages)))

    assert len(documents(server.hits)) == pages
    assert (run.usage.pages, run.usage.rendered) == (pages, pages)
    assert run.job.state_reason is StateReason.LIMIT_PAGES


@pytest.mark.slow
async def test_a_job_ends_at_its_limit_of_rendering(yard: Yard, site_server: Serve) -> None:
    busy = "<script>for (let i = 0, x = 0; i < 1e8; i++) x += i % 7;</script>"

    class Busy(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Answer:
            answer = super().answer(method, path, host)
            return replace(answer, body=answer.body + busy.encode())

    server = await site_server(Busy({"/": ["/a", "/b"], "/a": [], "/b": []}))
    limits = Limits(render_s=0.02)

    run = await crawled(yard, a_spec(server.url, render="always", limits=limits))

    assert run.job.state_reason is StateReason.LIMIT_RENDER
    assert run.usage.rendered == 1  # nothing else was in flight with the first
    assert "of rendering was reached" in run.job.detail


async def test_a_job_that_must_render_fails_where_nothing_can(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await site_server(AppSite(2))
    monkeypatch.setattr("crawlyard.engine.render.launch.find_package", lambda _: None)
    monkeypatch.setenv("PATH", "")

    must = await crawled(yard, a_spec(server.url, render="always"))
    may = await crawled(yard, a_spec(server.url, render="auto"))

    assert (must.job.state, must.job.state_reason) == (State.FAILED, StateReason.NO_RENDERER)
    assert "pip install" in must.job.detail
    assert must.usage.pages == 0
    assert (may.usage.pages, may.usage.needs_scripts) == (1, 1)
    events = await events_of(yard, may.job.id)
    noted = [str(event.data["note"]) for event in events if "note" in event.data]
    assert any("1 page need" in note and "pip install" in note for note in noted)


@pytest.mark.slow
async def test_chromium_renders_the_pages_of_its_patterns_and_each_browser_is_measured(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(AppSite(3))

    run = await crawled(yard, a_spec(server.url, render="auto", chromium=("*/p/1", "*/x")))

    by = {page.url.removeprefix(server.url): page.rendered_by.split()[0] for page in run.pages}
    assert by == {"/": "lightpanda", "/p/1": "chromium", "/p/2": "lightpanda"}
    measured = yard.services.measures.renderings
    cheap, whole = measured[Browser.LIGHTPANDA], measured[Browser.CHROMIUM]
    assert (sum(cheap.took.counts), sum(whole.took.counts)) == (2, 1)
    assert cheap.subrequests + whole.subrequests == run.usage.subrequests
    assert cheap.cpu_s + whole.cpu_s == pytest.approx(run.usage.render_s)
    assert whole.cpu_s > 0
    assert (cheap.failures, whole.failures) == (0, 0)


async def test_pages_of_a_pattern_need_chromium_where_there_is_another_browser(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await site_server(AppSite(2))
    monkeypatch.setenv("PATH", "")

    must = await crawled(yard, a_spec(server.url, render="always", chromium=("*/p/*",)))
    may = await crawled(yard, a_spec(server.url, render="auto", chromium=("*/p/*",)))

    assert must.job.state_reason is StateReason.NO_RENDERER
    assert "apt install chromium" in must.job.detail
    rendered = {page.url.removeprefix(server.url): bool(page.rendered_by) for page in may.pages}
    assert rendered == {"/": True, "/p/1": False}
    events = await events_of(yard, may.job.id)
    noted = [str(event.data["note"]) for event in events if "note" in event.data]
    assert any("1 page need" in note and "apt install chromium" in note for note in noted)


async def test_the_pace_of_a_host_counts_from_the_last_request_of_a_page(
    yard: Yard, site_server: Serve
) -> None:
    late = "<script>fetch('/a.json'); setTimeout(() => fetch('/b.json'), 300)</script>"

    class Late(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Answer:
            answer = super().answer(method, path, host)
            return replace(answer, body=answer.body + late.encode())

    server = await site_server(Late({"/": ["/1", "/2"], "/1": [], "/2": []}))

    await crawled(yard, a_spec(server.url, render="always", delay_s=0.6, per_host=1))

    hits = [hit for hit in server.hits if hit.path != "/robots.txt"]
    pages = [n for n, hit in enumerate(hits) if "." not in hit.path]
    gaps = [hits[n].at - hits[n - 1].at for n in pages if n]
    assert len(gaps) == 2
    assert min(gaps) > 0.6 - SHARED_JITTER_S
    # requests of a page have no delay
    assert min(hits[n + 1].at - hits[n].at for n in pages) < 0.6
    assert most_at_once(hits) == {server.authority: 1}


async def test_a_page_reaches_no_address_that_its_job_may_not(
    yard: Yard, site_server: Serve
) -> None:
    canary = await site_server(GraphSite({"/": []}), host="127.0.0.2")
    attack = (
        f"<p id=out></p><script>fetch('{canary.url}/').catch(() => out.append('refused'))</script>"
    )

    class Attack(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Answer:
            answer = super().answer(method, path, host)
            return replace(answer, body=answer.body + attack.encode())

    server = await site_server(Attack({"/": []}))
    spec = a_spec(
        server.url, render="always", allow_private=False, allow_addresses=(server.authority,)
    )

    run = await crawled(yard, spec)

    assert canary.hits == []
    assert "refused" in (await text_of(yard, run.job.id))[""]


POLLING = """<p>Shell</p><script>
let left = 6;
const poll = () => left-- > 0 && fetch('/poll.json').catch(() => {}).finally(poll);
poll();
</script>"""


class Polling(GraphSite):
    def answer(self, method: str, path: str, host: str) -> Answer:
        if path == "/":
            return Answer(200, (("Content-Type", "text/html"),), POLLING.encode())
        return Answer(200, (("Content-Type", "application/json"),), b"1")


async def test_a_pause_ends_what_is_being_rendered_and_it_is_visited_again(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(Polling({}))
    spec = a_spec(server.url, render="always", wait_for="#never", timeout_s=300)
    job = await submit(yard, spec)
    running = asyncio.create_task(run(yard, job.id))
    await until(lambda: len(server.hits) > 5)

    await yard.services.writer.move(LOCAL, job.id, Move.PAUSE)
    await asyncio.wait_for(running, 30)

    finished = await outcome(yard, job.id)
    assert (finished.job.state, finished.usage.pages) == (State.PAUSED, 0)
    before = len(server.hits)
    await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
    running = asyncio.create_task(run(yard, job.id))
    await until(lambda: "/" in {hit.path for hit in server.hits[before:]})
    await yard.services.writer.move(LOCAL, job.id, Move.CANCEL)
    await asyncio.wait_for(running, 60)


async def test_the_limit_of_bytes_holds_while_a_page_is_rendered(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(Polling({}))
    limits = Limits(bytes=len(POLLING) + 5)
    spec = a_spec(
        server.url, render="always", wait_for="#never", timeout_s=300, limits=limits, per_host=1
    )

    run = await crawled(yard, spec)

    assert run.job.state_reason is StateReason.LIMIT_BYTES
    assert (run.usage.pages, run.usage.bytes) == (0, len(POLLING) + 5)


async def test_a_host_that_refuses_subrequests_of_a_page_gets_no_more_requests(
    yard: Yard, site_server: Serve
) -> None:
    class Refusing(AppSite):
        def answer(self, method: str, path: str, host: str) -> Answer:
            if path.startswith("/api/"):
                return Answer(429, (("Retry-After", "3600"),))
            return super().answer(method, path, host)

    server = await site_server(Refusing(1))
    spec = a_spec(server.url, f"{server.url}/p/1", render="auto", concurrency=1)
    job = await submit(yard, spec)
    running = asyncio.create_task(run(yard, job.id))

    await published(yard, job.id, done=1)

    await yard.services.writer.move(LOCAL, job.id, Move.CANCEL)
    await running
    assert [hit.path for hit in server.hits if hit.path == "/p/1"] == []


async def test_a_rendered_page_is_rendered_again_however_little_its_document_changes(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(AppSite(2))  # its documents have an ETag
    spec = a_spec(server.url, render="auto")
    first = await crawled(yard, spec)

    second = await crawled(yard, replace(spec, since=first.job.id))

    assert (first.usage.rendered, second.usage.rendered) == (2, 2)
    assert second.usage.unchanged == 0
    assert [hit.path for hit in server.hits if "if-none-match" in hit.headers] == []
    assert [page.content_hash for page in second.pages] == [
        page.content_hash for page in first.pages
    ]


class CookiesOfAllKinds:
    """A page that is given a cookie, sets one by script, and asks for data with them."""

    def answer(self, method: str, path: str, host: str) -> Answer:
        if path != "/":
            return Answer(200, (("Content-Type", "application/json"),), b"{}")
        script = b"<script>document.cookie = 'page=1'; fetch('/data.json')</script>"
        return Answer(200, (("Content-Type", HTML), ("Set-Cookie", "site=1")), script)


async def test_a_request_of_a_page_has_one_line_of_cookies(yard: Yard, site_server: Serve) -> None:
    server = await site_server(CookiesOfAllKinds())

    await crawled(yard, a_spec(server.url, render="always", headers=(("Cookie", "own=1"),)))

    [data_hit] = [hit for hit in server.hits if hit.path == "/data.json"]
    assert sorted(data_hit.headers["cookie"].split("; ")) == ["own=1", "page=1", "site=1"]
