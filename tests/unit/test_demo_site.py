import re
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.demo import prose
from crawlyard.demo.site import SLOW_S, Answer, DemoSite
from crawlyard.errors import Invalid
from tests.site import GraphSite, linked_pages, links_of

HOST = "127.0.0.1:8000"


def get(site: DemoSite, path: str) -> Answer:
    return site.answer("GET", path, HOST)


def header(answer: Answer, name: str) -> str | None:
    return dict(answer.headers).get(name)


def texts(site: DemoSite, pattern: str) -> list[str]:
    matches = (re.search(pattern, get(site, path).body.decode()) for path in site.pages)
    return [match[1] for match in matches if match]


def test_links_lead_to_exactly_the_pages_that_were_asked_for() -> None:
    for pages in [1, 2, 9, 10, 150]:
        site = DemoSite(pages=pages, faults=False)
        statuses = linked_pages(site)
        assert set(statuses) == site.reachable() == set(site.pages), pages
        assert len(statuses) == pages, pages
        assert set(statuses.values()) == {200}, pages


def test_faults_are_linked_and_are_no_pages() -> None:
    for pages in [1, 2, 100]:
        site = DemoSite(pages=pages)
        statuses = linked_pages(site)
        assert len(site.reachable()) == pages, pages
        assert {p: s for p, s in statuses.items() if p not in site.reachable()} == {
            site.redirect: 301,
            site.forbidden: 200,
            **site.failing,
        }, pages
        assert site.failing == {site.missing: 404, site.broken: 500}, pages


def test_the_redirect_leads_to_a_page() -> None:
    site = DemoSite()
    answer = get(site, site.redirect)
    assert header(answer, "Location") == site.redirect_target
    assert site.redirect_target in site.reachable()


def test_one_page_is_slow_and_only_with_faults() -> None:
    slow, plain = DemoSite(), DemoSite(faults=False)
    delays = {path: get(slow, path).delay_s for path in slow.pages}
    assert {path: delay for path, delay in delays.items() if delay} == {slow.slow: SLOW_S}
    assert plain.slow is None
    assert all(get(plain, path).delay_s == 0 for path in plain.pages)


def test_the_nofollow_link_and_the_one_out_of_scope_are_on_the_home_page() -> None:
    site = DemoSite()
    home = get(site, "/").body.decode()
    assert f'<a href="{site.nofollow}" rel="nofollow">' in home
    assert f'href="{site.external}"' in home
    assert get(site, site.nofollow).status == 200


def test_pages_are_also_linked_in_other_spellings() -> None:
    home = get(DemoSite(), "/").body.decode()
    assert re.search(r'href="/\./drafts/\.\./[^"]+#top"', home)
    assert re.search(r'href="/[^"]+#notes"', home)


def test_without_faults_every_fault_is_missing() -> None:
    site = DemoSite(faults=False)
    faults = (site.redirect, site.missing, site.broken, site.forbidden, site.nofollow)
    assert {get(site, path).status for path in faults} == {404}
    assert "Disallow: /" not in get(site, "/robots.txt").body.decode()


def test_robots_txt_closes_the_private_part_and_names_the_sitemap() -> None:
    lines = get(DemoSite(), "/robots.txt").body.decode().splitlines()
    assert "User-agent: *" in lines
    assert "Disallow: /private/" in lines
    assert f"Sitemap: http://{HOST}/sitemap.xml" in lines


def test_the_sitemap_lists_every_page_at_the_host_that_was_asked() -> None:
    site = DemoSite()
    root = ET.fromstring(get(site, "/sitemap.xml").body)
    urls = [urlsplit(loc.text or "") for loc in root.iter() if loc.tag.endswith("}loc")]
    assert {url.netloc for url in urls} == {HOST}
    assert tuple(url.path for url in urls) == site.pages


def test_a_host_header_cannot_break_the_sitemap() -> None:
    answer = DemoSite(pages=3).answer("GET", "/sitemap.xml", "<x>&\"'")
    root = ET.fromstring(answer.body)
    assert len(root) == 3


def test_titles_and_descriptions_are_distinct() -> None:
    site = DemoSite(pages=200)
    assert len(set(texts(site, "<title>(.+)</title>"))) == 200
    assert len(set(texts(site, '<meta name="description" content="(.+)">'))) == 200


def test_titles_do_not_run_out() -> None:
    titles = [prose.title(number) for number in range(5000)]
    assert len(set(titles)) == 5000
    assert titles[1440] == f"{titles[0]}, part 2"


def test_a_page_has_language_canonical_url_and_text() -> None:
    site = DemoSite()

    answer = get(site, site.pages[50])

    page = answer.body.decode()
    assert '<html lang="en">' in page
    assert f'<link rel="canonical" href="{site.pages[50]}">' in page
    assert page.count("<p>") >= 4
    assert header(answer, "Content-Type") == "text/html; charset=utf-8"
    assert header(answer, "ETag")


def test_an_article_links_to_home_parent_siblings_and_neighbours() -> None:
    site = DemoSite()
    at = 150
    path = site.pages[at]
    parent = path.rstrip("/").rpartition("/")[0] + "/"

    linked = {urlsplit(u).path for u in links_of(get(site, path).body, f"http://{HOST}{path}")}

    siblings = {p for p in site.pages if p.rstrip("/").rpartition("/")[0] + "/" == parent}
    assert {"/", parent, site.pages[at - 1], site.pages[at + 1], *siblings} - {path} <= linked


def test_the_site_is_the_same_every_time_and_with_any_query() -> None:
    first, other = DemoSite(pages=50), DemoSite(pages=50)
    assert [get(first, p) for p in first.pages] == [get(other, p) for p in other.pages]
    site = DemoSite()
    assert get(site, f"{site.pages[5]}?print=1") == get(site, site.pages[5])
    with pytest.raises(Invalid, match="at least 1, got 0"):
        DemoSite(pages=0)


@given(path=st.text(), host=st.text())
def test_any_path_has_an_answer(path: str, host: str) -> None:
    assert DemoSite(pages=3).answer("GET", path, host).status in {200, 301, 404, 500}


def test_a_graph_has_the_pages_that_its_links_reach() -> None:
    graph = GraphSite({"/": ["/a", "/gone"], "/a": ["/", "/b"], "/b": [], "/island": ["/"]})
    statuses = linked_pages(graph)
    assert graph.reachable() == {"/", "/a", "/b"}
    assert statuses == {"/": 200, "/a": 200, "/b": 200, "/gone": 404}


def test_the_second_edition_differs_in_what_it_says_and_in_nothing_else() -> None:
    def main(site: DemoSite, path: str) -> str:
        """Return the content of a page: without its menu and its canonical URL."""
        body = get(site, path).body.decode()
        return re.sub(r"(?s)<nav>.*?</nav>|<link .*?>|href=\"[^\"]*\"", "", body)

    for pages in (1, 2, 3, 9, 60, 150):
        first, second = DemoSite(pages=pages), DemoSite(pages=pages, edition=2)
        edits = second.edits
        statuses = linked_pages(second)
        assert {path for path in edits.removed if statuses[path] == 404} == edits.removed, pages
        assert {path for path in first.pages if main(first, path) != main(second, path)} == (
            edits.changed | edits.removed | set(edits.moved)
        ), pages
        for old, new in edits.moved.items():
            assert header(get(second, old), "Location") == new
            assert main(first, old) == main(second, new)
        assert second.reachable() == (
            first.reachable() - edits.removed - set(edits.moved)
            | edits.new
            | set(edits.moved.values())
        ), pages
        assert second.reachable() <= set(statuses), pages
