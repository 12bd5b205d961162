"""Crawls in which URLs that differ only in their query are one page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from crawlyard import LOCAL, Yard
from crawlyard.core.crawl.changes import ChangeKind
from crawlyard.demo.request import HttpRequest
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import HTML, Answer
from crawlyard.services.results.records import link_targets, path_to
from crawlyard.services.results.url_fate import fate_of
from tests.engine.rig import a_spec, crawled
from tests.site import Serve


@dataclass
class QuerySite:
    """Pages with links, redirects and sitemaps, by path and query.

    Pages with as many links have the same ETag.
    """

    links: Mapping[str, Sequence[str]]
    redirects: Mapping[str, str] = field(default_factory=dict)
    sitemaps: Mapping[str, str] = field(default_factory=dict)

    def answer(self, method: str, path: str, host: str) -> Answer:
        raise NotImplementedError

    def answer_request(self, request: HttpRequest) -> Answer:
        path = request.path
        if path in self.redirects:
            return Answer(302, (("Location", self.redirects[path]),))
        if path in self.sitemaps:
            url = f"http://{request.host}{self.sitemaps[path]}"
            text = f"<urlset><url><loc>{url}</loc></url></urlset>"
            return Answer(200, (("Content-Type", "text/xml"),), text.encode())
        if path not in self.links:
            return Answer(404)
        anchors = "".join(f"<a href='{to}'>{to}</a>" for to in self.links[path])
        headers = (("Content-Type", HTML), ("ETag", f'"{len(self.links[path])}"'))
        return Answer(200, headers, f"<title>t</title><p>Page {path}</p>{anchors}".encode())


def requested(server: SiteServer) -> Counter[str]:
    return Counter(hit.path for hit in server.hits if hit.path != "/robots.txt")


async def test_the_first_url_of_a_page_is_fetched_and_no_other(
    yard: Yard, site_server: Serve
) -> None:
    site = QuerySite(
        {
            "/": ["/a?n=2", "/a?n=1", "/a", "/b?x=1#c", "/moved?y=1", "/a/?n=1", "/loop?1"],
            "/a?n=2": ["/b?x=2", "/?from=a", "/deep?1"],
            "/b?x=1": ["/deep?2", "/b"],
            "/deep?1": ["/end"],
            "/a/?n=1": [],
            "/moved?y=1&z=2": ["/from-moved?1"],
            "/from-moved?1": [],
            "/end": [],
        },
        {"/moved?y=1": "/moved?y=1&z=2", "/loop?1": "/loop?2", "/loop?2": "/loop?1"},
    )
    server = await site_server(site)
    seeds = [server.url + path for path in ("/", "/?again")]

    run = await crawled(yard, a_spec(*seeds, ignore_query=True))

    assert requested(server) == Counter([*site.links, *site.redirects])
    assert run.ok == {server.url + path for path in site.links}
    assert [*run.errors] == [f"{server.url}/loop?2"]
    assert run.usage.done == run.usage.discovered
    outcomes = {
        "/a?n=9": "fetched",
        "/deep": "fetched",
        "/moved": "redirected",
        "/c": "never_found",
    }
    for path, outcome in outcomes.items():
        assert (await fate_of(yard.store, run.job, server.url + path)).kind == outcome, path
    targets = await link_targets(yard.store, run.job, [f"{server.url}/b?x=2"])
    assert targets[f"{server.url}/b?x=2"].status == 200
    steps = await path_to(yard.store, run.job, f"{server.url}/end")
    assert [step.url.removeprefix(server.url) for step in steps] == [
        "/",
        "/a?n=2",
        "/deep?1",
        "/end",
    ]
    assert steps[-1].text == "/end"


async def test_sitemaps_are_told_apart_by_their_queries(yard: Yard, site_server: Serve) -> None:
    site = QuerySite({"/1?q": [], "/2?q": []}, sitemaps={"/map?1": "/1?q", "/map?2": "/2?q"})
    server = await site_server(site)
    sitemaps = tuple(server.url + path for path in site.sitemaps)

    run = await crawled(yard, a_spec(sitemaps=sitemaps, ignore_query=True))

    assert run.ok == {server.url + path for path in site.links}


async def test_a_page_is_compared_with_the_one_of_another_query(
    yard: Yard, site_server: Serve
) -> None:
    site = QuerySite({"/": ["/a?n=1", "/b?n=1"], "/a?n=1": [], "/a?n=2": [], "/b?n=1": ["/a?n=3"]})
    server = await site_server(site)
    first = await crawled(yard, a_spec(f"{server.url}/", ignore_query=True))
    site.links = {**site.links, "/": ["/a?n=2", "/b?n=1", "/b"]}
    spec = a_spec(f"{server.url}/", ignore_query=True, since=first.job.id)

    later = await crawled(yard, spec)

    reused = {page.url: page.unchanged_since is not None for page in later.pages}
    assert {url.removeprefix(server.url): reused[url] for url in reused} == {
        "/": False,
        "/a?n=2": False,
        "/b?n=1": True,
    }
    diff = await yard.services.changes.diff(LOCAL, first.job.id, later.job.id)
    assert +diff.comparison.counts == {ChangeKind.CHANGED: 2, ChangeKind.SAME: 1}
    page = await yard.services.changes.page(
        LOCAL, first.job.id, later.job.id, f"{server.url}/a?n=7"
    )
    assert page.change.kind is ChangeKind.CHANGED


async def test_a_page_that_is_linked_with_another_query_is_not_gone(
    yard: Yard, site_server: Serve
) -> None:
    site = QuerySite({"/": ["/b", "/a?n=1"], "/b": [], "/a?n=1": []})
    server = await site_server(site)
    spec = a_spec(f"{server.url}/", ignore_query=True, max_depth=1)
    first = await crawled(yard, spec)
    site.links = {**site.links, "/": ["/b"], "/b": ["/a?n=2"]}  # which is too deep now
    later = await crawled(yard, spec)

    diff = await yard.services.changes.diff(LOCAL, first.job.id, later.job.id)

    assert diff.comparison.counts[ChangeKind.GONE] == 0
    assert diff.comparison.counts[ChangeKind.UNKNOWN] == 1
