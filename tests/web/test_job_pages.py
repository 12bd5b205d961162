"""Results of a job over HTTP: pages, errors, skipped URLs, queue, exports."""

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL, Permit
from crawlyard.core.answer import API as PREFIX
from crawlyard.core.crawl.page import Body, ErrorKind, StoredPage
from crawlyard.store.crawl.pages import PageStore
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.queries import PageQuery
from crawlyard.web.site import SiteOptions
from tests.builders import a_batch, a_target, done, failed
from tests.conformance.steps import claimed, recorded
from tests.web.crawled import HEADERS, HOSTILE, PICTURE, crawled
from tests.web.rig import Rig, a_rig, problem

PATHS = (
    "pages",
    "pages/1",
    "errors",
    "errors/timeout/pages",
    "links",
    "check",
    "skipped",
    "skipped/rules",
    "frontier",
    "export",
)


def policy_of(answer: httpx.Response) -> dict[str, list[str]]:
    """Return the Content-Security-Policy of an answer, by its directives."""
    directives = answer.headers["content-security-policy"].split(";")
    return {name: words for name, *words in map(str.split, directives)}


def paths_of(answer: Any) -> list[str]:
    return [page["url"].rpartition("/")[2] for page in answer.json()["items"]]


async def test_an_id_in_upper_case_is_the_same_id(rig: Rig) -> None:
    job_id, _ = await crawled(rig)
    for path in ("pages", "pages/1", "errors", "skipped", "frontier", "events", "attempts"):
        lower = await rig.get(f"jobs/{job_id}/{path}")
        upper = await rig.get(f"jobs/{job_id.upper()}/{path}")
        assert (upper.status_code, upper.text.lower()) == (200, lower.text.lower()), path


async def test_a_token_needs_the_scope_of_results(rig: Rig) -> None:
    job_id, _ = await crawled(rig)
    jobs_only = await rig.token(LOCAL.id, frozenset({Permit.JOBS_READ}))
    for path in PATHS:
        refused = await rig.get(f"jobs/{job_id}/{path}", secret=jobs_only)
        assert problem(refused) == (403, "forbidden"), path


class TestPages:
    async def test_a_picture_is_sent_as_it_was_kept_and_is_missing_where_none_was(
        self, rig: Rig
    ) -> None:
        job_id, _ = await crawled(rig)
        good, slow, _ = (await rig.get(f"jobs/{job_id}/pages")).json()["items"]

        sent = await rig.get(good["parts"]["screenshot"].removeprefix(f"{PREFIX}/"))
        missing = await rig.get(f"jobs/{job_id}/pages/{slow['id']}/screenshot")

        assert (sent.content, sent.headers["content-type"]) == (PICTURE, "image/png")
        assert sent.headers["x-content-type-options"] == "nosniff"
        assert problem(missing) == (404, "not_found")
        # generated clients accept no image type
        sent = await rig.get(
            good["parts"]["screenshot"].removeprefix(f"{PREFIX}/"),
            headers={"Accept": "application/octet-stream"},
        )
        assert (sent.content, sent.headers["content-type"]) == (PICTURE, "application/octet-stream")

    async def test_they_come_as_they_were_stored_and_a_filter_finds_or_is_refused(
        self, rig: Rig
    ) -> None:
        job_id, _ = await crawled(rig)

        first = await rig.get(f"jobs/{job_id}/pages?limit=2")
        cursor = first.json()["next_cursor"]
        rest = await rig.get(f"jobs/{job_id}/pages", params={"limit": 2, "cursor": cursor})

        assert paths_of(first) + paths_of(rest) == ["good", "slow", "gone"]
        assert rest.json()["has_more"] is False
        page = first.json()["items"][0]
        assert (page["object"], page["text"], page["html"]) == ("page", None, None)

        for query, paths in [
            ("failed=true", ["slow", "gone"]),
            ("failed=false", ["good"]),
            ("needs_scripts=true", ["good"]),
            ("needs_scripts=false", ["slow", "gone"]),
            ("status=404", ["gone"]),
            ("status=2xx", ["good"]),
            ("status=4xx,200", ["good", "gone"]),
            ("status=200&status=404", ["good", "gone"]),
            ("kind=timeout", ["slow"]),
            ("kind=timeout,http_4xx", ["slow", "gone"]),
            ("content_type=text/html", ["good", "slow", "gone"]),
            ("content_type=image/*", []),
            ("depth=0", ["good", "slow", "gone"]),
            ("depth=1", []),
            ("host=EXAMPLE.com", ["good", "slow", "gone"]),
            ("host=other.example", []),
            ("q=GOO", ["good"]),
            ("q=o&failed=true", ["slow", "gone"]),
        ]:
            assert paths_of(await rig.get(f"jobs/{job_id}/pages?{query}")) == paths, query

        for query in [
            "status=x",
            "status=10",
            "status=10xx",
            "kind=bad",
            "depth=-1",
            f"depth={10**20}",
            "failed=perhaps",
        ]:
            answer = await rig.get(f"jobs/{job_id}/pages?{query}")
            assert problem(answer) == (422, "validation_failed"), query
            assert answer.json()["errors"][0]["parameter"] == query.partition("=")[0], query

    async def test_pages_include_their_text_on_request(self, rig: Rig) -> None:
        job_id, _ = await crawled(rig)
        for query, texts in [
            ("", [None, None, None]),
            ("?include=text", [HOSTILE, None, None]),
        ]:
            pages = (await rig.get(f"jobs/{job_id}/pages{query}")).json()["items"]
            assert [page["text"] for page in pages] == texts, query
        answer = await rig.get(f"jobs/{job_id}/pages?include=html")
        assert problem(answer) == (422, "validation_failed")
        assert "include: expected text, got 'html'" in answer.text


class TestPage:
    @pytest.fixture
    async def page(self, rig: Rig) -> str:
        job_id, _ = await crawled(rig, keep_html=True)
        [good] = (await rig.get(f"jobs/{job_id}/pages?failed=false")).json()["items"]
        return f"jobs/{job_id}/pages/{good['id']}"

    async def test_it_has_its_headers_also_as_a_part(self, rig: Rig, page: str) -> None:
        response = (await rig.get(page)).json()
        assert response["url"] == a_target("good").url
        assert response["headers"] == [list(pair) for pair in HEADERS]
        response = await rig.get(f"{page}?part=headers")
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert json.loads(response.text) == [list(pair) for pair in HEADERS]

    async def test_a_part_never_becomes_markup(self, rig: Rig, page: str) -> None:
        for part in ["text", "headers"]:
            link = (await rig.get(page)).json()["parts"][part]

            response = await rig.get(link)

            assert response.status_code == 200, part
            assert response.headers["content-type"] == "text/plain; charset=utf-8", part
            assert response.headers["x-content-type-options"] == "nosniff", part
            assert policy_of(response) == {
                "sandbox": [],
                "default-src": ["'none'"],
                "frame-ancestors": ["'none'"],
            }, part

    async def test_html_is_a_document_that_does_nothing_and_loads_nothing(
        self, rig: Rig, page: str
    ) -> None:
        link = (await rig.get(page)).json()["parts"]["html"]

        response = await rig.get(link)

        assert (response.status_code, response.text) == (200, HOSTILE)
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert policy_of(response) == {
            "sandbox": [],  # no script, no form, no window, no origin of ours
            "default-src": ["'none'"],
            "style-src": ["'unsafe-inline'"],
            "img-src": ["data:"],
            "base-uri": ["'none'"],
            "form-action": ["'none'"],
            "frame-ancestors": ["'self'"],
        }
        parts = {
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "x-dns-prefetch-control": "off",
            "cache-control": "no-store",
        }
        assert parts.items() <= response.headers.items()

    async def test_half_a_character_of_a_page_breaks_nothing(self, rig: Rig) -> None:
        job_id, answer = await crawled(rig, keep_html=True)
        odd = a_target("odd")
        html = b"<meta charset=utf-16>\xff\xfe\x00<p>"
        outcome = done(odd, {Body.HTML: html}, content_type="text/html")
        await recorded(rig.yard.store, answer.lease, a_batch([odd], [outcome]))
        [page] = (await rig.get(f"jobs/{job_id}/pages?q=odd")).json()["items"]

        response = await rig.get(page["parts"]["html"])

        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert response.content.decode("utf-8")

    async def test_no_other_answer_may_be_framed(self, rig: Rig, page: str) -> None:
        job = page.rpartition("/pages/")[0]
        paths = [page, f"{page}?part=html&part=text", f"{page}?part=x", f"{job}/pages/99?part=html"]
        paths += [job, f"{job}/export", "jobs", "pages", "meta", "docs", "nowhere", "/healthz"]

        answers = {path: await rig.get(path) for path in paths}
        answers["nobody"] = await rig.get(f"{page}?part=html", by=None)

        framed = [p for p, a in answers.items() if policy_of(a)["frame-ancestors"] != ["'none'"]]
        assert framed == []

    async def test_what_is_not_kept_is_not_found(self, rig: Rig) -> None:
        job_id, _ = await crawled(rig)
        [slow] = (await rig.get(f"jobs/{job_id}/pages?kind=timeout")).json()["items"]
        answer = await rig.get(f"jobs/{job_id}/pages/{slow['id']}?part=html")
        assert problem(answer) == (404, "not_found")

    async def test_a_page_of_another_job_is_none_of_this(self, rig: Rig, page: str) -> None:
        other, _ = await crawled(rig)
        number = page.rpartition("/")[2]
        answer = await rig.get(f"jobs/{other}/pages/{number}?part=text")
        assert problem(answer) == (404, "not_found")

    async def test_no_page_has_such_a_number(self, rig: Rig, page: str) -> None:
        for number in ["0", "-1", "x", str(2**63)]:
            answer = await rig.get(f"{page.rpartition('/')[0]}/{number}")
            assert problem(answer) == (422, "validation_failed"), number


async def test_errors_are_grouped_by_kind_without_robots(rig: Rig) -> None:
    job_id, _ = await crawled(rig)

    errors = (await rig.get(f"jobs/{job_id}/errors")).json()

    assert (errors["object"], errors["total"]) == ("job_errors", 2)
    groups = {group["kind"]: group for group in errors["items"]}
    assert set(groups) == {"timeout", "http_4xx"}
    assert groups["http_4xx"]["samples"] == [a_target("gone").url]
    assert groups["http_4xx"]["first_at"] == groups["http_4xx"]["last_at"]
    assert errors["robots_blocked"] == {"count": 1, "samples": [a_target("secret").url]}
    assert paths_of(await rig.get(f"jobs/{job_id}/errors/timeout/pages")) == ["slow"]
    assert paths_of(await rig.get(f"jobs/{job_id}/errors/dns/pages")) == []
    unknown = await rig.get(f"jobs/{job_id}/errors/nonsense/pages")
    assert problem(unknown) == (422, "validation_failed")


async def test_a_job_without_errors_has_none(rig: Rig) -> None:
    job = await rig.job()
    errors = (await rig.get(f"jobs/{job['id']}/errors")).json()
    assert (errors["total"], errors["items"]) == (0, [])
    assert errors["robots_blocked"] == {"count": 0, "samples": []}


async def test_skipped_urls_are_grouped_by_rule(rig: Rig) -> None:
    job_id, _ = await crawled(rig)

    every = await rig.get(f"jobs/{job_id}/skipped?limit=1")
    cursor = every.json()["next_cursor"]
    rest = await rig.get(f"jobs/{job_id}/skipped", params={"limit": 1, "cursor": cursor})
    robots = await rig.get(f"jobs/{job_id}/skipped?rule=robots")
    groups = (await rig.get(f"jobs/{job_id}/skipped/rules")).json()["items"]

    assert paths_of(every) + paths_of(rest) == ["secret", "x"]
    assert [url["rule"] for url in robots.json()["items"]] == ["robots: Disallow: /secret"]
    assert [(group["kind"], group["count"]) for group in groups] == [("robots", 1), ("scope", 1)]
    wrong = await rig.get(f"jobs/{job_id}/skipped?rule=law")
    assert problem(wrong) == (422, "validation_failed")


async def test_the_frontier_lists_waiting_urls_with_their_parents(rig: Rig) -> None:
    job_id, answer = await crawled(rig)
    more = [a_target(f"w{n}", depth=1) for n in range(3)]
    await recorded(rig.yard.store, answer.lease, a_batch(more))

    first = await rig.get(f"jobs/{job_id}/frontier?limit=2")
    cursor = first.json()["next_cursor"]
    rest = await rig.get(f"jobs/{job_id}/frontier", params={"limit": 2, "cursor": cursor})

    assert paths_of(first) + paths_of(rest) == ["next", "w0", "w1", "w2"]
    waiting = first.json()["items"][0]
    assert (waiting["host"], waiting["parent"]) == ("example.com", a_target("good").url)


class TestExportPagesOfJob:
    async def test_text_comes_in_chunks_by_heading(self, rig: Rig) -> None:
        job_id, _ = await crawled(rig)
        path = f"jobs/{job_id}/export?chunks=50"

        [line] = (await rig.get(path)).text.splitlines()
        header, row = (await rig.get(f"{path}&format=csv")).text.splitlines()

        chunk = json.loads(line)
        assert (chunk["url"], chunk["title"]) == (a_target("good").url, "=good")
        assert (chunk["headings"], chunk["text"], chunk["words"]) == ([], HOSTILE, 2)
        assert header == "id,url,title,lang,headings,words,text,fetched_at"
        assert row.startswith(f"{chunk['id']},{chunk['url']},'=good,")
        for query, expected in [
            ("chunks=49", "chunks"),
            ("chunks=50&format=warc", "expected jsonl, csv or parquet of chunks, got warc"),
        ]:
            refused = await rig.get(f"jobs/{job_id}/export?{query}")
            assert problem(refused) == (422, "validation_failed"), query
            assert expected in refused.text
        other, _ = await crawled(rig, text="none")
        refused = await rig.get(f"jobs/{other}/export?chunks=50")
        assert "expected a job that keeps text" in refused.text

    async def test_chunks_are_of_pages_without_an_error_and_cut_at_headings_of_markdown(
        self, rig: Rig
    ) -> None:
        job = await rig.job(text="markdown")
        store = rig.yard.store
        claim = await claimed(store, (await store.jobs.get(job["id"])).job)
        body = {Body.TEXT: b"Before\n\n# Comment\n\nafter"}
        outcomes = [
            done(a_target("page.py"), body, content_type="text/html", content_rule="main"),
            done(a_target("code.py"), body, content_type="text/plain", content_rule="plain"),
            done(a_target("README.md"), body, content_type="text/plain", content_rule="plain"),
            replace(failed(a_target("gone"), ErrorKind.HTTP_4XX, status=404), bodies=body),
        ]
        batch = a_batch([outcome.target for outcome in outcomes], outcomes)
        await recorded(store, claim.lease, batch)
        path = f"jobs/{job['id']}/export?chunks=50"

        chunks = [json.loads(line) for line in (await rig.get(path)).text.splitlines()]
        errors = (await rig.get(f"{path}&failed=true")).text.splitlines()

        assert [(chunk["url"].rpartition("/")[2], chunk["headings"]) for chunk in chunks] == [
            ("page.py", []),
            ("page.py", ["Comment"]),
            ("code.py", []),
            ("README.md", []),
            ("README.md", ["Comment"]),
        ]
        assert {json.loads(line)["url"] for line in errors} == {a_target("gone").url}

    async def test_json_lines_have_all_that_is_kept(self, rig: Rig) -> None:
        job_id, _ = await crawled(rig, name="Ünïcode / “Docs”\r\nX: 1", keep_html=True)

        response = await rig.get(f"jobs/{job_id}/export")

        assert response.headers["content-type"] == "application/jsonl"
        name = f"n-code-docs-x-1-{job_id}.jsonl"
        assert response.headers["content-disposition"] == f'attachment; filename="{name}"'
        good, slow, _ = [json.loads(line) for line in response.text.splitlines()]
        assert (good["text"], good["html"]) == (HOSTILE, HOSTILE)
        assert slow["error"]["kind"] == "timeout"

    async def test_csv_has_no_formulas(self, rig: Rig) -> None:
        job_id, _ = await crawled(rig)

        response = await rig.get(f"jobs/{job_id}/export?format=csv&failed=false")

        assert response.headers["content-type"] == "text/csv; charset=utf-8"
        assert response.headers["content-disposition"].endswith(f'"pages-{job_id}.csv"')
        header, row = response.text.rstrip("\r\n").split("\r\n")
        assert header.startswith("url,final_url,status")
        assert ",'=good," in row

    async def test_the_format_is_what_is_accepted_or_refused(self, rig: Rig) -> None:
        job_id, _ = await crawled(rig)
        for accept, kind in [
            ("application/jsonl", "application/jsonl"),
            ("application/x-ndjson;q=0.9, text/csv", "application/jsonl"),
            ("text/csv", "text/csv; charset=utf-8"),
            ("text/html, */*", "application/jsonl"),
        ]:
            response = await rig.get(f"jobs/{job_id}/export", headers={"Accept": accept})
            assert response.headers["content-type"] == kind, accept

        html = await rig.get(f"jobs/{job_id}/export", headers={"Accept": "text/html"})
        xml = await rig.get(f"jobs/{job_id}/export?format=xml")
        assert problem(html) == (406, "not_acceptable")
        assert problem(xml) == (422, "validation_failed")

    async def test_exports_have_a_rate_of_their_own(self) -> None:
        rig = await a_rig(open_in_memory(), SiteOptions(rate_limits=True))
        job_id, _ = await crawled(rig)

        # a check reads as much
        paths = ["export"] * 6 + ["check"] * 5
        answers = [await rig.get(f"jobs/{job_id}/{path}") for path in paths]

        assert [answer.status_code for answer in answers] == [200] * 10 + [429]
        assert problem(answers[-1]) == (429, "rate_limited")
        assert answers[-1].json()["violated_policies"] == ["export"]
        assert answers[0].headers["ratelimit-policy"] == '"export";q=10;w=60'
        assert (await rig.get(f"jobs/{job_id}")).status_code == 200


@dataclass
class CountedPages:
    """A store of pages that counts how often it is read."""

    pages_: PageStore
    reads: int = 0
    at_once: list[int] = field(default_factory=list)

    async def pages(self, job_id: str, query: PageQuery, limit: int) -> list[StoredPage]:
        self.reads += 1
        page_list = await self.pages_.pages(job_id, query, limit)
        self.at_once.append(len(page_list))
        return page_list

    async def bodies(
        self, page_ids: Sequence[int], kinds: Collection[Body]
    ) -> Mapping[tuple[int, Body], bytes]:
        return await self.pages_.bodies(page_ids, kinds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pages_, name)


async def test_an_export_ends_when_its_reader_has_gone() -> None:
    store = open_in_memory()
    counted = CountedPages(store.pages)
    rig = await a_rig(store.with_parts(pages=counted))
    job_id, answer = await crawled(rig)
    targets = [a_target(f"p{n}") for n in range(5_000)]
    text = {Body.TEXT: b"x" * 1_000}
    await recorded(store, answer.lease, a_batch(targets, [done(t, text) for t in targets]))
    sent: list[bytes] = []
    disconnected = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not sent:
            sent.append(b"")
            return {"type": "http.request", "body": b"", "more_body": False}
        await disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sent.append(message["body"])
            disconnected.set()
            await asyncio.sleep(0)  # a slow reader: others get their turn

    headers = {"host": "127.0.0.1", "authorization": f"Bearer {rig.secrets[LOCAL.id]}"}
    path = f"{PREFIX}/jobs/{job_id}/export"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(n.encode(), v.encode()) for n, v in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8700),
    }

    await rig.app(scope, receive, send)

    assert max(counted.at_once) <= 500
    assert counted.reads < 5
