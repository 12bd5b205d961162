"""A later run of a site: what has not changed is not sent again, and is there all the same."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard import LOCAL, Limits, Page, State, TextMode, Yard
from crawlyard.core.access.user import Actor
from crawlyard.core.crawl.cookie import CookieMode
from crawlyard.core.crawl.page import Body
from crawlyard.core.events.event import EventName
from crawlyard.core.schedules.answers import ScheduleOut
from crawlyard.demo.hits import Hit
from crawlyard.demo.request import HttpRequest
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import HTML, Answer
from crawlyard.errors import Invalid, NotFound
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.results.records import page_records
from crawlyard.store.queries import JobQuery, PageQuery
from tests.engine.rig import Outcome, a_spec, crawled, opened, outcome, run, until_state
from tests.engine.test_spread import working
from tests.jobs import events_of, submit
from tests.many_hosts import ManyHosts
from tests.site import Serve
from tests.surfaces import as_user

LONG_AGO = formatdate(1_000_000_000, usegmt=True)
WORDS = " ".join(f"word{n}" for n in range(80))


class Edited:
    """A site whose pages can be edited; each has an ETag, or what *validators* says."""

    def __init__(self, pages: Mapping[str, str]) -> None:
        self.pages = dict(pages)
        self.heads: dict[str, tuple[tuple[str, str], ...]] = {}
        self.moved: dict[str, str] = {}
        self.down: set[str] = set()  # answered 503 once

    def answer(self, method: str, path: str, host: str) -> Answer:
        del method, host
        if path in self.moved:
            return Answer(301, (("Location", self.moved[path]),))
        if path not in self.pages:
            return Answer(404)
        if path in self.down:
            self.down.discard(path)
            return Answer(500)
        body = self.pages[path]
        head = self.heads.get(path, (("ETag", f'"{hash(body):x}"'),))
        return Answer(200, (("Content-Type", HTML), *head), body.encode())


class Tagged(ManyHosts):
    """The site of many hosts, whose pages have ETags."""

    def answer(self, method: str, path: str, host: str) -> Answer:
        answer = super().answer(method, path, host)
        return replace(answer, headers=(*answer.headers, ("ETag", '"1"')))


def a_page(title: str, *links: str, extra: str = "", head: str = "") -> str:
    anchors = "".join(f'<a href="{to}">{to}</a> ' for to in links)
    return (
        f"<!doctype html><title>{title}</title>{head}<main><h1>{title}</h1>"
        f"<p>{WORDS} {extra}</p></main>{anchors}"
    )


def a_site() -> Edited:
    return Edited(
        {
            "/": a_page("Home", "/a", "/b"),
            "/a": a_page("A", "/", "/c"),
            "/b": a_page("B", "/"),
            "/c": a_page("C"),
        }
    )


async def again(yard: Yard, before: Outcome, **changes: Any) -> Outcome:
    """Crawl what *before* was told to crawl once more, as its next run."""
    return await crawled(yard, replace(before.job.spec, since=before.job.id, **changes))


def answered(server: SiteServer, since: int = 0) -> Counter[tuple[str, int | None]]:
    """Return the answers since a number of hits, without robots.txt."""
    return Counter((h.path, h.status) for h in server.hits[since:] if h.path != "/robots.txt")


def conditional_paths(server: SiteServer, since: int = 0) -> set[str]:
    """Return the paths that were asked for on a condition."""
    return {hit.path for hit in server.hits[since:] if _is_conditional(hit)}


def _is_conditional(hit: Hit) -> bool:
    return bool({"if-none-match", "if-modified-since"} & hit.headers.keys())


def by_path(run: Outcome) -> dict[str, Page]:
    return {"/" + page.final_url.split("/", 3)[3]: page for page in run.pages}


async def bodies(yard: Yard, job_id: str, *kinds: Body) -> dict[str, Mapping[Body, bytes]]:
    records = page_records(yard.store, job_id, PageQuery(), kinds)
    return {stored.page.final_url: dict(own) async for stored, own in records}


async def notes(yard: Yard, job_id: str) -> list[str]:
    events = await events_of(yard, job_id)
    return [str(e.data["note"]) for e in events if e.name is EventName.NOTED]


async def test_only_what_has_changed_is_sent_again(yard: Yard, site_server: Serve) -> None:
    site = a_site()
    server = await site_server(site)
    first = await crawled(yard, a_spec(f"{server.url}/", keep_html=True))
    site.pages["/b"] = a_page("B", "/", "/d", extra="news")
    site.pages["/d"] = a_page("D")
    hits_before = len(server.hits)

    second = await again(yard, first)

    assert answered(server, hits_before) == Counter(
        {("/", 304): 1, ("/a", 304): 1, ("/b", 200): 1, ("/c", 304): 1, ("/d", 200): 1}
    )
    before, after = by_path(first), by_path(second)
    same = ("status", "title", "sha256", "content_hash", "content_version", "links", "bytes")
    for path in ("/", "/a", "/c"):  # /c was found by a page that was not sent
        for name in same:
            assert getattr(after[path], name) == getattr(before[path], name), (path, name)
        assert after[path].unchanged_since == before[path].fetched_at < after[path].fetched_at
    assert after["/b"].unchanged_since is after["/d"].unchanged_since is None
    assert after["/b"].content_hash != before["/b"].content_hash
    assert after["/c"].parent == f"{server.url}/a"
    saved = sum(before[path].bytes for path in ("/", "/a", "/c"))
    assert (second.usage.pages, second.usage.unchanged, second.usage.bytes_saved) == (5, 3, saved)
    robots = sum(len(h.path) > 0 for h in server.hits[hits_before:] if h.path == "/robots.txt")
    assert robots or second.usage.bytes == after["/b"].bytes + after["/d"].bytes
    kinds = (Body.TEXT, Body.HTML, Body.HEADERS, Body.LINKS)
    old, new = await bodies(yard, first.job.id, *kinds), await bodies(yard, second.job.id, *kinds)
    for path in ("/", "/a", "/c"):
        assert new[f"{server.url}{path}"] == old[f"{server.url}{path}"] != {}
    assert new[f"{server.url}/c"].keys() >= {Body.TEXT, Body.HTML, Body.HEADERS}


async def test_a_third_run_still_points_to_the_first_and_outlives_it(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(a_site())
    first = await crawled(yard, a_spec(f"{server.url}/", keep_html=True))
    second = await again(yard, first)
    third = await again(yard, second)
    text = await bodies(yard, first.job.id, Body.TEXT, Body.HTML, Body.LINKS)

    for old_run in (first, second):
        await yard.services.writer.delete(LOCAL, old_run.job.id)
        while await yard.store.upkeep.purge(2):
            pass
        assert await bodies(yard, third.job.id, Body.TEXT, Body.HTML, Body.LINKS) == text
        assert {page.unchanged_since for page in third.pages} == {
            page.fetched_at for page in first.pages
        }

    fourth = await again(yard, third)
    assert fourth.usage.unchanged == 4
    assert await bodies(yard, fourth.job.id, Body.TEXT, Body.HTML, Body.LINKS) == text
    await yard.services.writer.delete(LOCAL, third.job.id)
    await yard.services.writer.delete(LOCAL, fourth.job.id)
    while await yard.store.upkeep.purge(1):
        pass
    assert await yard.store.pages._database.read(_count_bodies) == 0


def _count_bodies(conn: Any) -> int:
    return int(conn.exec_driver_sql("SELECT count(*) FROM bodies").scalar_one())


@pytest.mark.parametrize(
    "change",
    [
        {"text": TextMode.TEXT},
        {"extract": (("title", "h1"),)},
        {"keep_html": True},
        {"keep_anchors": True},
        {"store_noindex": True},
        {"follow_nofollow": True},
        {"headers": (("Accept-Language", "de"),)},
        {"cookies": CookieMode.OFF},
        {"user_agent": "Other/1.0"},
        {"max_body": 1_000_000},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_other_settings_fetch_everything_and_say_why(
    yard: Yard, site_server: Serve, change: dict[str, Any]
) -> None:
    server = await site_server(a_site())
    first = await crawled(yard, a_spec(f"{server.url}/"))
    hits_before = len(server.hits)

    second = await again(yard, first, **change)

    assert conditional_paths(server, hits_before) == set()
    assert (second.usage.pages, second.usage.unchanged) == (4, 0)
    [name] = change
    assert await notes(yard, second.job.id) == [
        f"every page is fetched: job {first.job.id} had another setting of {name}"
    ]


async def test_a_job_without_links_is_no_base(yard: Yard, site_server: Serve) -> None:
    server = await site_server(a_site())
    first = await crawled(yard, a_spec(f"{server.url}/", keep_links=False))
    results = as_user(yard, LOCAL).results
    [page] = [page for page in (await results.pages(first.job.id)).items if page.depth == 0]
    hits_before = len(server.hits)

    second = await again(yard, first)

    with pytest.raises(NotFound, match="its job does not keep it"):
        await results.part(first.job.id, page.id, Body.LINKS)
    with pytest.raises(Invalid, match="expected a job that keeps links"):
        await results.links(first.job.id)
    assert conditional_paths(server, hits_before) == set()
    assert (second.usage.pages, second.usage.unchanged) == (4, 0)
    assert await notes(yard, second.job.id) == [
        f"every page is fetched: job {first.job.id} did not store links (keep_links=false)"
    ]


async def test_only_complete_responses_under_the_same_rules_are_requested_conditionally(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = a_site()
    etag = ("ETag", '"1"')
    site.pages |= {
        "/": a_page("Home", *(f"/{n}" for n in ("long", "hidden", "odd", "none", "now", "old"))),
        "/long": a_page("Long", extra="x" * 20_000),
        "/hidden": a_page("Hidden", "/a", head='<meta name="robots" content="noindex">'),
        "/odd": a_page("Odd"),
        "/none": a_page("None"),
        "/now": a_page("Now"),
        "/old": a_page("Old"),
    }
    site.heads = {
        "/": (etag,),
        "/long": (etag,),
        "/hidden": (etag,),
        "/odd": (("ETag", '"\xfc"'),),
        "/none": (),
        "/now": (("Last-Modified", formatdate(time() + 60, usegmt=True)),),  # not before the crawl
        "/old": (("Last-Modified", LONG_AGO),),
    }
    server = await site_server(site)
    first = await crawled(yard, a_spec(f"{server.url}/", max_body=10_000))
    hits_before = len(server.hits)

    second = await again(yard, first)

    assert conditional_paths(server, hits_before) == {"/", "/old"} | {"/a", "/c"}
    assert second.ok == first.ok

    monkeypatch.setattr("crawlyard.engine.extract.content.VERSION", 99)
    hits_before = len(server.hits)
    third = await again(yard, second)
    assert conditional_paths(server, hits_before) == set()
    assert third.ok == first.ok


async def test_links_that_may_not_be_followed_stay_so(yard: Yard, site_server: Serve) -> None:
    closed = '<meta name="robots" content="nofollow">'
    refresh = '<meta http-equiv="refresh" content="0; url=/later">'
    site = Edited(
        {
            "/": a_page("Home", "/shut", "/meta") + '<a rel="nofollow" href="/no">no</a>',
            "/shut": a_page("Shut", "/behind", head=closed),
            "/meta": a_page("Meta", head=refresh),
            "/later": a_page("Later"),
            "/no": a_page("No"),
            "/behind": a_page("Behind"),
        }
    )
    server = await site_server(site)
    for follow in (False, True):
        first = await crawled(yard, a_spec(f"{server.url}/", follow_nofollow=follow))
        second = await again(yard, first)
        assert second.ok == first.ok
        assert len(second.ok) == (6 if follow else 4)
        assert second.usage.unchanged == len(second.ok)
        assert {p.final_url: p.depth for p in second.pages} == {
            p.final_url: p.depth for p in first.pages
        }


async def test_a_page_whose_links_are_not_kept_is_sent_again(
    yard: Yard, site_server: Serve
) -> None:
    head = '<meta name="robots" content="noindex"><meta http-equiv="refresh" content="0; url=/b">'
    site = Edited({"/": a_page("Home", head=head), "/b": a_page("B")})
    server = await site_server(site)
    first = await crawled(yard, a_spec(f"{server.url}/", text=TextMode.NONE))
    hits_before = len(server.hits)

    second = await again(yard, first)

    assert conditional_paths(server, hits_before) == {"/b"}
    assert second.ok == first.ok


async def test_a_sitemap_is_read_though_it_was_a_page_of_the_earlier_run(
    yard: Yard, site_server: Serve
) -> None:
    site = a_site()
    site.pages |= {
        "/": a_page("Home", "/map.xml"),
        "/map.xml": "<urlset><url><loc>/unlinked</loc></url></urlset>",
        "/unlinked": a_page("Unlinked"),
    }
    server = await site_server(site)
    first = await crawled(yard, a_spec(f"{server.url}/"))
    assert by_path(first).keys() == {"/", "/map.xml"}

    second = await again(yard, first, sitemaps=(f"{server.url}/map.xml",))

    assert by_path(second).keys() == {"/", "/unlinked"}


async def test_redirects_and_retries_lead_to_unchanged_pages(
    yard: Yard, site_server: Serve
) -> None:
    site = a_site()
    site.moved["/start"] = "/a"
    server = await site_server(site)
    first = await crawled(yard, a_spec(f"{server.url}/start", url_retries=1))
    site.down.add("/c")

    second = await again(yard, first)

    moved = by_path(second)["/a"]
    assert (moved.url, moved.status, moved.unchanged_since is not None) == (
        f"{server.url}/start",
        200,
        True,
    )
    assert second.usage.unchanged == second.usage.pages == len(first.ok)
    assert (second.usage.errors, second.usage.redirects) == (0, 1)


class Sloppy(Edited):
    """Answers 304 with the headers of the body that it does not send."""

    def answer_request(self, request: HttpRequest) -> Answer:
        whole = self.answer(request.method, request.path, request.host)
        if whole.status != 200 or "if-none-match" not in request.headers:
            return whole
        extra = (("Content-Length", str(len(whole.body))), ("Content-Encoding", "gzip"))
        return Answer(304, (*whole.headers, *extra))


async def test_a_304_may_have_the_headers_of_a_body(yard: Yard, site_server: Serve) -> None:
    server = await site_server(Sloppy(a_site().pages))
    first = await crawled(yard, a_spec(f"{server.url}/"))

    second = await again(yard, first)

    assert second.usage.unchanged == 4
    assert second.ok == first.ok
    assert len({hit.connection for hit in server.hits}) < len(server.hits)


async def test_an_unrequested_304_is_stored_as_such(yard: Yard, site_server: Serve) -> None:
    class Odd(Edited):
        def answer(self, method: str, path: str, host: str) -> Answer:
            return Answer(304) if path == "/a" else super().answer(method, path, host)

    server = await site_server(Odd(a_site().pages))
    first = await crawled(yard, a_spec(f"{server.url}/"))
    second = await again(yard, first)

    for repeated in (first, second):
        page = by_path(repeated)["/a"]
        assert (page.status, page.unchanged_since, page.content_hash) == (304, None, "")
    assert second.usage.unchanged == second.usage.pages - 1


async def test_limits_count_unchanged_pages_as_any_other(yard: Yard, site_server: Serve) -> None:
    server = await site_server(a_site())
    first = await crawled(yard, a_spec(f"{server.url}/"))

    second = await again(yard, first, limits=Limits(pages=3))

    assert (second.usage.pages, second.usage.unchanged) == (3, 3)
    assert second.job.state_reason == "limit_pages"
    assert len(second.pages) == 3


async def test_a_job_whose_base_is_deleted_fetches_everything(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(a_site())
    first = await crawled(yard, a_spec(f"{server.url}/"))
    job = await submit(yard, replace(first.job.spec, since=first.job.id))
    await yard.services.writer.delete(LOCAL, first.job.id)

    await run(yard, job.id)

    second = await outcome(yard, job.id)
    assert (second.usage.pages, second.usage.unchanged) == (4, 0)
    assert await notes(yard, job.id) == [
        f"every page is fetched: job {first.job.id} does not exist any more"
    ]


async def test_what_a_running_job_is_based_on_is_purged_when_it_has_ended(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(a_site(), latency_s=0.05)
    first = await crawled(yard, a_spec(f"{server.url}/"))
    text = await bodies(yard, first.job.id, Body.TEXT, Body.LINKS)
    job = await submit(yard, replace(first.job.spec, since=first.job.id))
    hits_before = len(server.hits)
    running = asyncio.create_task(run(yard, job.id))
    while not conditional_paths(server, hits_before):  # noqa: ASYNC110 - a site
        await asyncio.sleep(0)

    await yard.services.writer.delete(LOCAL, first.job.id)
    assert not (await yard.store.upkeep.purge(1000)).rows
    await running

    second = await outcome(yard, job.id)
    assert second.usage.pages == 4
    assert second.usage.unchanged
    assert (await yard.store.upkeep.purge(1000)).rows
    assert await bodies(yard, job.id, Body.TEXT, Body.LINKS) == text


async def test_another_owners_pages_are_out_of_reach(yard: Yard, site_server: Serve) -> None:
    server = await site_server(a_site())
    first = await crawled(yard, a_spec(f"{server.url}/"))
    other = Actor(id="eve", trusted=True)
    spec = replace(first.job.spec, since=first.job.id)

    for wrong in (spec, replace(spec, since="01900000-0000-7000-8000-000000000000")):
        with pytest.raises(Invalid, match="since"):
            await submit(yard, wrong, actor=other)
    with pytest.raises(Invalid, match="since"):
        replace(spec, since="last")
    job = await submit(yard, replace(spec, since=None), actor=other)
    # by a schedule, whose jobs are not looked into one by one
    schedule = await as_user(yard, other).schedules.create(
        "s",
        "@yearly",
        overrides={
            "urls": list(spec.urls),
            "since": first.job.id,
            "allow_private": True,
            "delay_s": 0,
            "render": "never",  # as in the first job: only its owner differs
        },
    )
    await as_user(yard, other).schedules.run(schedule.id)
    hits_before = len(server.hits)
    await yard.worker().run(drain=True)

    assert conditional_paths(server, hits_before) == set()
    assert (await find_job(yard.store, other, job.id)).job.state is State.COMPLETED


async def scheduled(yard: Yard, schedule: ScheduleOut) -> Outcome:
    """Run a schedule now, and return what came of it."""
    await as_user(yard).schedules.run(schedule.id)
    await yard.worker().run(drain=True)
    [newest] = await yard.store.jobs.find(JobQuery(), 1)
    return await outcome(yard, newest.job.id)


@pytest.mark.parametrize(
    ("full_every", "expected"),
    [(None, [0, 4, 4, 4, 4]), (1, [0, 0, 0]), (2, [0, 4, 0, 4]), (3, [0, 4, 4, 0, 4])],
)
async def test_runs_of_a_schedule_are_based_on_the_one_before(
    yard: Yard, site_server: Serve, full_every: int | None, expected: list[int]
) -> None:
    server = await site_server(a_site())
    overrides = {
        "urls": [f"{server.url}/"],
        "allow_private": True,
        "delay_s": 0,
        "full_every": full_every,
    }
    schedule = await as_user(yard).schedules.create("s", "@yearly", overrides=overrides)

    runs = [await scheduled(yard, schedule) for _ in expected]

    assert [run.usage.unchanged for run in runs] == expected
    assert [len(run.ok) for run in runs] == [4] * len(expected)
    based = [before.job.id for before, n in zip(runs, expected[1:], strict=False) if n]
    assert [run.job.spec.since for run in runs if run.job.spec.since] == based


async def test_the_shards_of_a_job_share_the_run_before(
    database_url: str, tmp_path: Path, site_server: Serve
) -> None:
    site = Tagged(12, 4)
    server = await site_server(site, host="0.0.0.0")
    async with opened(tmp_path, database_url=database_url) as yard:
        spec = a_spec(site.start(server.port), scope="any", spread=3, ignore_robots=True)
        first = await crawled(yard, spec)
        job = await submit(yard, replace(spec, since=first.job.id))
        async with working(yard, 2):
            await until_state(yard, job.id, State.COMPLETED)

        second = await outcome(yard, job.id)
        assert second.ok == first.ok == site.urls(server.port)
        assert second.usage.unchanged == second.usage.pages == len(second.ok)
