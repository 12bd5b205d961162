"""Dates in sitemaps: a page is not requested only if the dates of its site have proved right."""

import gzip
import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from crawlyard import LOCAL, Limits, Move, Yard
from crawlyard.api.near import NearSurface
from crawlyard.clock import SystemClock
from crawlyard.core.crawl.lastmod import LastmodRecord
from crawlyard.core.crawl.page import Body, Target, Via
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import Answer
from crawlyard.engine.batch import BatchDraft, Tally
from crawlyard.engine.discovery import Discovery
from crawlyard.engine.recrawl import Recrawl
from crawlyard.engine.shard import Part
from crawlyard.engine.sitemaps import Sitemap
from crawlyard.engine.start import Start
from crawlyard.engine.urls import fingerprint, host_of
from crawlyard.export.base import Format
from tests.engine.rig import Outcome, a_spec, crawled, outcome, run
from tests.engine.test_recrawl import Edited, a_page, again, bodies, by_path, notes, scheduled
from tests.site import Serve
from tests.surfaces import as_user

LONG_AGO = "2001-09-09"
PAGES = [f"/p{n}" for n in range(10)]
NO_SAMPLE, ALL = 2**63, 1


class Dated(Edited):
    """A site without validators, whose sitemap has a date for each page but the first."""

    def __init__(self) -> None:
        super().__init__({"/": a_page("Home"), **{path: a_page(path) for path in PAGES}})
        self.heads = dict.fromkeys(self.pages, ())
        self.dates = dict.fromkeys(PAGES, LONG_AGO)

    def answer(self, method: str, path: str, host: str) -> Answer:
        if path != "/sitemap.xml":
            return super().answer(method, path, host)
        entries = (
            f"<url><loc>{page}</loc><lastmod>{date}</lastmod></url>"
            for page, date in self.dates.items()
        )
        return Answer(200, (("Content-Type", "text/xml"),), _urlset(entries))

    def edit(self, *paths: str, dated: bool = True) -> None:
        """Change pages, and their dates unless the site lies."""
        for path in paths:
            self.pages[path] += "<main><p>news</p></main>"
            self.pages[path] = self.pages[path].replace("<h1>", "<h1>New: ")
            if dated:
                self.dates[path] = datetime.now(UTC).isoformat()


def _urlset(entries: Iterable[str]) -> bytes:
    return f"<urlset>{''.join(entries)}</urlset>".encode()


def requested(server: SiteServer, since: int) -> set[str]:
    fixed_paths = {"/", "/sitemap.xml", "/robots.txt"}
    return {hit.path for hit in server.hits[since:]} - fixed_paths


def sample(monkeypatch: pytest.MonkeyPatch, one_in: int) -> None:
    monkeypatch.setattr("crawlyard.engine.recrawl.ONE_IN", one_in)


async def record(yard: Yard, run: Outcome) -> LastmodRecord | None:
    return next(iter((await yard.store.pages.lastmods(run.job.id)).values()), None)


async def learned(yard: Yard, site: Dated, server: SiteServer) -> tuple[Outcome, Outcome]:
    """Crawl a site twice; between the two, as many pages change and are dated as it takes."""
    spec = a_spec(f"{server.url}/", sitemaps=(f"{server.url}/sitemap.xml",), keep_html=True)
    first = await crawled(yard, spec)
    site.edit(*PAGES[:3])
    return first, await again(yard, first)


async def test_pages_are_not_requested_once_the_dates_have_proved_right(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample(monkeypatch, NO_SAMPLE)
    site = Dated()
    server = await site_server(site)
    first, second = await learned(yard, site, server)
    assert (second.usage.unchanged, second.usage.requests_saved) == (0, 0)
    assert await record(yard, first) is None
    assert await record(yard, second) == LastmodRecord(told=3)
    site.edit("/p3")
    site.dates |= {"/p4": datetime.now(UTC).isoformat(), "/new": LONG_AGO}
    site.pages["/new"] = a_page("New")
    hits_before = len(server.hits)

    third = await again(yard, second)

    # the first three changed less than a day before they were fetched
    assert requested(server, hits_before) == {"/p0", "/p1", "/p2", "/p3", "/p4", "/new"}
    spared = PAGES[5:]
    before, after = by_path(second), by_path(third)
    assert after.keys() == before.keys() | {"/new"}
    for path in spared:
        assert after[path].fetched_at == before[path].fetched_at == after[path].unchanged_since
        assert after[path].content_hash == before[path].content_hash != ""
    usage = third.usage
    assert (usage.pages, usage.unchanged, usage.requests_saved) == (12, 5, 5)
    assert usage.bytes_saved == sum(before[path].bytes for path in spared)
    assert after["/p3"].content_hash != before["/p3"].content_hash
    kinds = (Body.TEXT, Body.HTML, Body.HEADERS)
    old, new = await bodies(yard, second.job.id, *kinds), await bodies(yard, third.job.id, *kinds)
    assert [new[server.url + path] for path in spared] == [
        old[server.url + path] for path in spared
    ]
    assert await record(yard, third) == LastmodRecord(told=4)
    portions = await NearSurface(yard.services, LOCAL).results.export(
        third.job.id, format_=Format.WARC
    )
    warc = gzip.decompress(b"".join([portion async for portion in portions]))
    kinds_of = Counter(re.findall(rb"WARC-Type: (\w+)", warc))
    assert kinds_of == {b"warcinfo": 1, b"response": 12}  # no 304 was answered


async def test_a_site_that_lies_loses_no_change_once_that_is_known(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample(monkeypatch, NO_SAMPLE)
    site = Dated()
    server = await site_server(site)
    _, second = await learned(yard, site, server)
    site.edit("/p5", dated=False)
    third = await again(yard, second)
    assert by_path(third)["/p5"].content_hash == by_path(second)["/p5"].content_hash

    sample(monkeypatch, ALL)
    latest = await again(yard, third)
    sample(monkeypatch, NO_SAMPLE)

    assert by_path(latest)["/p5"].content_hash != by_path(third)["/p5"].content_hash
    [note] = await notes(yard, latest.job.id)
    assert "are no longer trusted" in note
    assert f"{server.url}/p5 has changed" in note
    for n, path in enumerate(PAGES[6:]):
        site.edit(PAGES[n])  # correct dates do not restore trust
        site.edit(path, dated=False)
        before, latest = latest, await again(yard, latest)
        assert by_path(latest)[path].content_hash != by_path(before)[path].content_hash
        assert latest.usage.requests_saved == 0
        assert await notes(yard, latest.job.id) == []


@pytest.mark.parametrize(
    ("change", "missed"),
    [("gone", True), ("moved", True), ("broken", False), ("noise", False), ("undated", False)],
)
async def test_what_counts_as_a_change_that_a_date_missed(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch, change: str, missed: bool
) -> None:
    sample(monkeypatch, ALL)
    site = Dated()
    server = await site_server(site)
    _, second = await learned(yard, site, server)
    if change == "gone":
        del site.pages["/p9"]
    elif change == "moved":
        site.moved["/p9"] = "/p8"
    elif change == "broken":
        site.down.add("/p9")
    elif change == "noise":
        site.pages["/p9"] += "<footer>token 17</footer>"
    else:
        site.dates["/p9"] = ""
        site.edit("/p9", dated=False)

    third = await again(yard, second, url_retries=0)

    assert await record(yard, third) == LastmodRecord(told=3, missed=int(missed))


async def test_some_pages_are_requested_in_each_run_all_the_same(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample(monkeypatch, 2)
    site = Dated()
    site.pages |= {f"/more{n}": a_page(f"More {n}") for n in range(40)}
    site.dates |= dict.fromkeys((path for path in site.pages if "more" in path), LONG_AGO)
    server = await site_server(site)
    _, second = await learned(yard, site, server)
    hits_before = len(server.hits)

    third = await again(yard, second)

    sampled = requested(server, hits_before) - {"/p0", "/p1", "/p2"}
    assert 5 <= len(sampled) <= 42  # of 47; otherwise is as likely as one in a million
    assert third.usage.requests_saved == 47 - len(sampled)


async def test_a_run_that_fetches_all_finds_out_that_dates_are_wrong(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample(monkeypatch, NO_SAMPLE)
    site = Dated()
    server = await site_server(site)
    overrides = {
        "urls": [f"{server.url}/"],
        "sitemaps": [f"{server.url}/sitemap.xml"],
        "allow_private": True,
        "delay_s": 0,
        "full_every": 3,
    }
    schedule = await as_user(yard).schedules.create("s", "@yearly", overrides=overrides)
    await scheduled(yard, schedule)
    site.edit(*PAGES[:3])
    second = await scheduled(yard, schedule)
    site.edit("/p5", dated=False)
    third = await scheduled(yard, schedule)
    assert (third.usage.requests_saved, third.job.spec.since) == (7, second.job.id)

    whole = await scheduled(yard, schedule)

    assert (whole.usage.unchanged, whole.job.spec.since) == (0, None)
    assert by_path(whole)["/p5"].content_hash != by_path(third)["/p5"].content_hash
    assert await record(yard, whole) == LastmodRecord(told=3, missed=1)
    after = await scheduled(yard, schedule)
    assert (after.usage.requests_saved, after.job.spec.since) == (0, whole.job.id)


async def test_a_site_that_has_proved_too_little_is_not_trusted(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample(monkeypatch, NO_SAMPLE)
    site = Dated()
    server = await site_server(site)
    first = await crawled(yard, a_spec(f"{server.url}/", sitemaps=(f"{server.url}/sitemap.xml",)))
    site.edit(*PAGES[:2])
    second = await again(yard, first)
    third = await again(yard, second)
    assert third.usage.requests_saved == 0
    assert await record(yard, third) == LastmodRecord(told=2)

    site.edit("/p2")
    fourth = await again(yard, third)
    fifth = await again(yard, fourth)

    assert (fourth.usage.requests_saved, fifth.usage.requests_saved) == (0, 7)


async def test_pages_that_are_not_requested_do_not_wait_for_their_host(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample(monkeypatch, NO_SAMPLE)
    site = Dated()
    site.pages |= {f"/more{n}": a_page(f"More {n}") for n in range(90)}
    site.dates |= dict.fromkeys((path for path in site.pages if "more" in path), LONG_AGO)
    server = await site_server(site)
    _, second = await learned(yard, site, server)

    third = await again(yard, second, delay_s=0.2)

    assert third.usage.requests_saved == 97
    assert third.usage.duration_s < 97 * 0.2 / 2


async def test_limits_count_pages_that_were_not_requested(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample(monkeypatch, NO_SAMPLE)
    site = Dated()
    server = await site_server(site)
    _, second = await learned(yard, site, server)

    third = await again(yard, second, limits=Limits(pages=5))

    assert third.usage.pages == len(third.pages) == 5
    assert third.usage.requests_saved > 0
    assert third.job.state_reason == "limit_pages"

    # of what a crawl has read before it is resumed, the dates are lost, but not how they proved
    await yard.services.writer.edit(LOCAL, third.job.id, {"limits": Limits()})
    await yard.services.writer.move(LOCAL, third.job.id, Move.RESUME)
    site.edit("/p9", dated=False)
    await run(yard, third.job.id)
    whole = await outcome(yard, third.job.id)
    assert whole.usage.pages == len(whole.pages) == len(PAGES) + 1
    assert whole.ok == second.ok
    assert await record(yard, whole) == LastmodRecord(told=3)


class _AllButOne(Part):
    def owns(self, host: str) -> bool:
        return host != "c.example"


def test_the_record_of_a_run_goes_before_that_of_the_earlier_one() -> None:
    async def nothing(fp: int) -> None:
        del fp

    before = {host: LastmodRecord(told=3) for host in ("a.example", "b.example", "c.example")}
    own = {"a.example": LastmodRecord(told=3, missed=1)}
    draft = BatchDraft(Tally(), Usage())
    start = Start(key="job", usage=Usage(), lastmods=own, lastmods_before=before, part=_AllButOne())
    discovery = Discovery(set(), (), draft, lambda _: None)
    discovery.adopt(JobSpec(urls=("https://a.example/",)))
    recrawl = Recrawl(start, nothing, SystemClock(), draft, discovery)
    # records of this crawl's hosts are stored with its first batch, unless they are stored already
    assert draft.batch(last=False).lastmods == {"b.example": LastmodRecord(told=3)}
    assert draft.batch(last=False).lastmods == {}
    urls = [f"https://{host}/{n}" for host in before for n in range(50)]
    recrawl.read(Sitemap(lastmods=dict.fromkeys(urls, datetime(2001, 9, 9, tzinfo=UTC))))
    targets = [Target(url, fingerprint(url), host_of(url), via=Via.LISTED) for url in urls]
    spared = Counter(target.host for target in targets if recrawl.may_reuse(target))
    assert spared.keys() == {"b.example", "c.example"}
    assert all(30 < count < 50 for count in spared.values())  # about one in ten is requested
    assert not recrawl.may_reuse(replace(targets[-1], via=Via.SEED))
