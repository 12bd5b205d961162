"""`crawlyard check`: broken links and other findings, their pages, and the exit code."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.acceptance.shell import FAST, Shell

HOME = """<title>Home</title><a href="/part">the part</a> <a href="/gone">was here</a>
<a href="/part#yes">yes</a> <a href="/part#no">no</a> <a href="/part#top">up</a>
<a href="/old">long way</a> <a href="/once">short way</a> <a href="#here">here</a>
<a href="https://other.example/">elsewhere</a> <a name="here">x</a>"""
PART = """<title>Twin</title><link rel="canonical" href="/gone"><p id="yes">
<a href="/gone">also <b>here</b></a> <a href="/twin#caf%C3%A9">twin</a> <a href="/old#lost">o</a>"""
TWIN = """<title>Twin</title><h1 id="café">Twin</h1><a href="/">home</a>"""
OTHER = "<title>Twin</title><a href='/leads-to-gone'>through a redirect</a>"


@dataclass
class PathSite:
    """A small site in this process: pages and redirects by path."""

    pages: dict[str, str] = field(
        default_factory=lambda: {"/": HOME, "/part": PART, "/twin": TWIN, "/other": OTHER}
    )
    redirects: dict[str, str] = field(
        default_factory=lambda: {
            "/old": "/older",
            "/older": "/other",
            "/once": "/twin",
            "/leads-to-gone": "/gone",
        }
    )
    no_head: frozenset[str] = frozenset()  # paths that refuse HEAD
    url: str = ""
    requests: list[str] = field(default_factory=list)  # methods and paths


@pytest.fixture
def site() -> Iterator[PathSite]:
    with served(PathSite()) as server:
        yield server


@pytest.fixture
def elsewhere() -> Iterator[PathSite]:
    """Another site that the first links to."""
    pages = {"/robots.txt": "User-agent: *\nDisallow: /private", "/well": "<a href='/more'>x</a>"}
    pages |= {"/get-only": "well", "/private": "not for us", "/not-asked": "excluded"}
    moved, no_head = {"/moved": "/moved-on", "/moved-on": "/well"}, frozenset({"/get-only", "/no"})
    with served(PathSite(pages, moved, no_head)) as server:
        yield server


@contextmanager
def served(site: PathSite) -> Iterator[PathSite]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            site.requests.append(f"{self.command} {self.path}")
            if self.command == "HEAD" and self.path in site.no_head:
                self.send_response(405)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            to, page = site.redirects.get(self.path), site.pages.get(self.path)
            self.send_response(301 if to else 404 if page is None else 200)
            if to:
                self.send_header("Location", to)
            body = (page or "").encode()
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site.url = f"http://127.0.0.1:{server.server_port}"
        yield site
        server.shutdown()


def check_report(shell: Shell, site: PathSite, *words: str, code: int = 13) -> Any:
    """Return the report of a check, without the address of the site."""
    ran = shell.run("check", f"{site.url}/", *FAST, "--json", *words)
    assert ran.returncode == code, ran.stderr
    return json.loads(ran.stdout.replace(site.url, ""))


def findings_of(report: Any, kind: str) -> list[Any]:
    return [finding for finding in report["items"] if finding["kind"] == kind]


def test_every_problem_is_reported_with_all_pages_that_link_to_it(
    either: Shell, site: PathSite
) -> None:
    report = check_report(either, site)

    direct, through = findings_of(report, "broken_link")
    assert (direct["url"], direct["status"], direct["detail"]) == ("/gone", 404, "answered 404")
    assert direct["linked_from"] == [
        {"url": "/", "text": "was here"},
        {"url": "/part", "text": "also here"},
    ]
    assert (through["url"], through["chain"]) == ("/leads-to-gone", ["/gone"])
    assert [by["url"] for by in through["linked_from"]] == ["/other"]
    missing = [
        (finding["url"], finding["fragment"]) for finding in findings_of(report, "missing_fragment")
    ]
    assert missing == [("/old", "lost"), ("/part", "no")]
    (chain,) = findings_of(report, "redirect_chain")
    assert (chain["url"], chain["chain"]) == ("/old", ["/older", "/other"])
    singles = [(finding["url"], finding["chain"]) for finding in findings_of(report, "redirect")]
    assert singles == [("/once", ["/twin"])]
    (title,) = findings_of(report, "duplicate_title")
    assert title["pages"] == ["/other", "/twin"]  # the third page names another as canonical
    (canonical,) = findings_of(report, "canonical")
    assert (canonical["url"], canonical["detail"]) == (
        "/part",
        "its canonical URL /gone fails: answered 404",
    )
    assert report["counts"] == {
        "broken_link": 2,
        "missing_fragment": 2,
        "redirect_chain": 1,
        "redirect": 1,
        "duplicate_title": 1,
        "canonical": 1,
    }
    assert (report["unchecked"], report["since"], report["fragments"]) == (1, None, True)
    elsewhere = {"reason": "other_site", "count": 1, "urls": ["https://other.example/"]}
    assert (report["unchecked_by"], report["incomplete"]) == ([elsewhere], False)


def test_csv_has_a_row_for_every_target(shell: Shell, site: PathSite) -> None:
    ran = shell.run("check", f"{site.url}/", *FAST, "-o", "csv")
    assert ran.returncode == 13
    rows = [line.split(",") for line in ran.stdout.replace(site.url, "").splitlines()]
    assert rows[0] == ["kind", "new", "status", "url", "links", "linked from", "text", "detail"]
    assert [row[3:6] for row in rows if row[:1] == ["broken_link"]] == [
        ["/gone", "2", "/ /part"],
        ["/leads-to-gone", "1", "/other"],
    ]
    assert "2 broken links, 2 missing fragments, 1 redirect chain, 1 redirect" in ran.stderr
    assert "not checked: 1 URL on other sites: https://other.example/" in ran.stderr
    assert "all links to a URL: crawlyard jobs links " in ran.stderr


def test_a_check_ended_by_a_limit_is_incomplete_and_exits_with_14(
    either: Shell, site: PathSite
) -> None:
    links = "".join(f"<a href='/{n}'>{n}</a>" for n in range(9))
    site.pages = {"/": links, **{f"/{n}": f"<title>{n}</title>{links}" for n in range(9)}}
    limit = ("--max-pages", "3", "--concurrency", "1", "--fail-on", "none")
    left_out = [f"/{n}" for n in range(2, 9)]

    report = check_report(either, site, *limit, "--junit", "links.xml", code=14)
    assert (report["items"], report["pages"], report["unchecked"]) == ([], 3, 7)
    assert report["unchecked_by"] == [{"reason": "limit", "count": 7, "urls": left_out}]
    reason = "7 URLs beyond the page limit"
    assert (report["incomplete"], report["incomplete_reason"]) == (True, reason)
    suite = ET.parse(either.folder / "links.xml").getroot()
    assert [suite.get(name) for name in ("tests", "skipped", "failures", "errors")] == [
        *("8", "8", "0", "0"),
    ]
    whole = suite[0]
    assert whole.get("name") == "the check is complete"
    assert f"limit: {site.url}/8" in (whole.findtext("skipped") or "")

    ran = either.run("check", f"{site.url}/", *FAST, *limit, "--allow-incomplete")
    assert ran.returncode == 0
    assert "no problems in what was checked" in ran.stderr
    named = ", ".join(site.url + path for path in left_out[:3])
    assert f"not checked: 7 URLs beyond a limit: {named}, …" in ran.stderr
    assert f"incomplete: {reason}" in ran.stderr
    depth = either.run("check", f"{site.url}/", *FAST, "--max-depth", "0")
    assert (depth.returncode, "9 URLs beyond the depth limit" in depth.stderr) == (14, True)


@pytest.mark.slow  # the start page is tried three times
def test_a_check_of_a_site_that_is_down_writes_a_report_with_an_error(shell: Shell) -> None:
    with served(PathSite()) as site:
        pass  # frees the port
    assert_start_failed(shell, site, "/", site.url)


def test_a_check_without_a_start_url_writes_a_report_with_an_error(
    either: Shell, site: PathSite
) -> None:
    assert_start_failed(either, site, "/nothing", "answered 404")


def assert_start_failed(shell: Shell, site: PathSite, path: str, detail: str) -> None:
    ran = shell.run("check", f"{site.url}{path}", *FAST, "--json", "--junit", "links.xml")
    assert ran.returncode == 10, ran.stderr
    report = json.loads(ran.stdout)
    assert report["incomplete_reason"].startswith("the job failed: ")
    assert [finding["url"] for finding in findings_of(report, "broken_link")] == [site.url + path]
    suite = ET.parse(shell.folder / "links.xml").getroot()
    assert (suite.get("errors"), suite.get("failures")) == ("1", "1")
    error = suite[0].find("error")
    assert error is not None
    assert detail in error.get("message", "").lower()


def test_a_sitemap_is_read_for_dead_urls_and_pages_that_no_page_links_to(
    either: Shell, site: PathSite
) -> None:
    listed = ("/", "/part", "/alone", "/dead", "/moved")
    urls = "".join(f"<url><loc>{site.url}{path}</loc></url>" for path in listed)
    xmlns = "http://www.sitemaps.org/schemas/sitemap/0.9"
    site.pages = {
        "/": "<title>Home</title><a href='/part'>part</a>",
        "/part": "<title>Part</title><a href='/'>home</a>",
        "/alone": "<title>Alone</title><a href='/alone'>me</a>",
        "/robots.txt": f"Sitemap: {site.url}/sitemap.xml",
        "/sitemap.xml": f"<urlset xmlns='{xmlns}'>{urls}</urlset>",
    }
    site.redirects = {"/moved": "/part"}

    report = check_report(either, site, "--junit", "links.xml")

    kinds = [(finding["kind"], finding["url"], finding["sitemap"]) for finding in report["items"]]
    assert kinds == [
        ("broken_link", "/dead", "/sitemap.xml"),
        ("redirect", "/moved", "/sitemap.xml"),
        ("orphan_page", "/alone", "/sitemap.xml"),
    ]
    suite = ET.parse(either.folder / "links.xml").getroot()
    texts = [case.findtext("failure") for case in suite if case.find("failure") is not None]
    assert texts == [
        f"listed in {site.url}/sitemap.xml",
        f"redirects to {site.url}/part\nlisted in {site.url}/sitemap.xml",
        f"listed in {site.url}/sitemap.xml",
    ]
    plain = either.run("check", f"{site.url}/", *FAST)
    assert f"sitemap {site.url}/sitemap.xml" in plain.stdout
    without = check_report(either, site, "--sitemap", "none", code=0)
    assert without["pages"] == 2


def test_a_site_without_problems_passes_and_its_job_is_listed(shell: Shell, site: PathSite) -> None:
    site.pages = {"/": "<title>One</title><a href='/two#x'>two</a>", "/two": "<b id=x><a href='/'>"}
    site.redirects = {}

    report = check_report(shell, site, "--tag", "nightly", code=0)

    assert (report["items"], report["links"], report["pages"]) == ([], 2, 2)
    (job,) = json.loads(shell.run("jobs", "list", "--tag", "check", "--json").stdout)
    assert job["id"] == report["job_id"]
    assert job["spec"]["tags"] == ["nightly", "check"]


def test_fail_on_new_ignores_findings_of_the_last_check(either: Shell, site: PathSite) -> None:
    def new(report: Any) -> list[str]:
        return [finding["url"] for finding in report["items"] if finding["new"]]

    first = check_report(either, site, "--fail-on", "new")
    assert {finding["new"] for finding in first["items"]} == {None}  # there is no earlier check
    same = check_report(either, site, "--fail-on", "new", code=0)
    assert (same["since"], new(same)) == (first["job_id"], [])
    site.pages["/"] += "<a href='/lost'>a new one</a>"
    more = check_report(either, site, "--fail-on", "new", "--junit", "links.xml")
    assert (more["since"], new(more)) == (same["job_id"], ["/lost"])
    check_report(either, site, "--fail-on", "none", code=0)

    suite = ET.parse(either.folder / "links.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("11", "1", "8")
    (case,) = [case for case in suite if case.find("failure") is not None]
    assert case.get("name") == f"{site.url}/lost"
    assert case.findtext("failure") == f"linked from {site.url}/: a new one"


def test_an_incomplete_check_is_no_base_for_new_findings(shell: Shell, site: PathSite) -> None:
    site.pages = {"/": "<a href='/a'>a</a>", "/a": "<title>A</title><a href='/lost'>lost</a>"}
    limit = ("--max-pages", "1", "--allow-incomplete")
    new = ("--fail-on", "new")
    none = "1 earlier check of these start URLs, none complete: all findings count as new"

    check_report(shell, site, *limit, *new, code=0)
    ran = shell.run("check", f"{site.url}/", *FAST, *new)
    assert (ran.returncode, none in ran.stderr) == (13, True), ran.stderr
    check_report(shell, site, *limit, code=0)
    again = shell.run("check", f"{site.url}/", *FAST, *new)
    assert again.returncode == 0, again.stderr
    assert re.search(r"0 new since job \S+ \(1 later check incomplete\)", again.stderr)


LINKED = ("well", "well", "gone", "get-only", "no", "moved", "private", "not-asked")


def test_external_links_are_requested_once_and_not_followed(
    either: Shell, site: PathSite, elsewhere: PathSite
) -> None:
    links = "".join(f"<a href='{elsewhere.url}/{path}'>{path}</a>" for path in LINKED)
    site.pages = {"/": f"{links}<a href='/two'>", "/two": f"<title>2</title>{links}"}
    site.pages["/two"] += "<a href='/out'>out</a>"
    site.redirects = {"/out": f"{elsewhere.url}/gone"}

    report = check_report(either, site, "--externals", "--exclude", "*/not-asked")

    broken = {finding["url"].replace(elsewhere.url, "E"): finding for finding in report["items"]}
    assert sorted(broken) == ["/out", "E/gone", "E/no"]  # redirects of other sites are not reported
    assert [by["url"] for by in broken["E/gone"]["linked_from"]] == ["/", "/two"]
    assert broken["/out"]["chain"] == [f"{elsewhere.url}/gone"]
    assert sorted(elsewhere.requests) == [
        "GET /get-only",
        "GET /no",
        "GET /robots.txt",
        "HEAD /get-only",
        "HEAD /gone",
        "HEAD /moved",
        "HEAD /moved-on",
        "HEAD /no",
        "HEAD /well",
    ]
    assert report["unchecked"] == 2  # robots.txt forbids one, a pattern the other
    pages = json.loads(either.run("jobs", "pages", "last", "--query", "well", "--json").stdout)
    assert [(page["status"], page["links"], page["text"]) for page in pages] == [(200, 0, None)]


def test_external_requests_stop_at_the_limit(
    shell: Shell, site: PathSite, elsewhere: PathSite
) -> None:
    links = "".join(f"<a href='{elsewhere.url}/{n}'>{n}</a>" for n in range(9))
    site.pages, site.redirects = {"/": links}, {}

    report = check_report(shell, site, "--externals", "--max-externals", "4")

    assert (len(report["items"]), report["unchecked"]) == (4, 5)
    assert len(elsewhere.requests) == 5  # with robots.txt
    elsewhere.requests.clear()
    check_report(shell, site, code=0)
    assert elsewhere.requests == []
    alone = shell.run("check", f"{site.url}/", "--max-externals", "4")
    assert (alone.returncode, "--max-externals" in alone.stderr) == (2, True)


def test_a_resumed_check_keeps_the_limit_of_external_requests(
    shell: Shell, site: PathSite, elsewhere: PathSite
) -> None:
    links = [f"<a href='{elsewhere.url}/{n}'>{n}</a>" for n in range(9)]
    site.redirects = {}
    site.pages = {"/": "".join([*links[:3], "<a href='/two'>"]), "/two": "".join(links[3:])}
    limits = ("--max-externals", "4", "--max-pages", "1")

    part = shell.run("check", f"{site.url}/", *FAST, "--externals", *limits, "--json")
    assert json.loads(part.stdout)["pages"] == 1, part.stderr
    assert shell.run("jobs", "set", "last", "limits.pages=none").returncode == 0
    assert shell.run("jobs", "resume", "last", "--watch").returncode == 0

    assert len([request for request in elsewhere.requests if "robots" not in request]) == 4


def test_an_unwritable_report_is_refused_before_the_crawl(shell: Shell, site: PathSite) -> None:
    nowhere = shell.run("check", f"{site.url}/", *FAST, "--junit", "no/such/links.xml")
    assert nowhere.returncode == 1
    assert "folder no/such does not exist" in nowhere.stderr
    assert shell.run("check").returncode == 2


def test_links_of_a_job_are_found_and_exported(either: Shell, site: PathSite) -> None:
    assert either.run("crawl", f"{site.url}/", *FAST, "-q").returncode == 0
    dead = f"{site.url}/gone"

    pages = either.run("jobs", "pages", "last", "--links-to", dead, "-q").stdout.split()
    assert pages == [f"{site.url}/", f"{site.url}/part"]
    assert set(either.run("pages", "--links-to", dead, "-q").stdout.split()) == set(pages)
    wrong = either.run("jobs", "pages", "last", "--links-to", "gone")
    assert (wrong.returncode, wrong.stderr.startswith("error: --links-to: ")) == (2, True)
    wrong = either.run("jobs", "links", "last", "--from", "gone")
    assert (wrong.returncode, wrong.stderr.startswith("error: --from: ")) == (2, True)
    ran = either.run("jobs", "export", "last", "--links", "--out", "links.csv")
    assert ran.returncode == 0, ran.stderr
    assert "13 links, " in ran.stderr
    header, *rows = (either.folder / "links.csv").read_text().splitlines()
    assert header == "source,target,fragment,kind,rel,text"
    assert f"{site.url}/part,{dead},,a,,also here" in rows
    ran = either.run("jobs", "export", "last", "--links", "--out", "links.parquet")
    assert ran.returncode == 0, ran.stderr
    assert (either.folder / "links.parquet").read_bytes().startswith(b"PAR1")
    refused = either.run("jobs", "export", "last", "--links", "--out", "links.warc")
    assert (refused.returncode, "--format: expected jsonl, csv" in refused.stderr) == (2, True)
    assert not (either.folder / "links.warc").exists()
