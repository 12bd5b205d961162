"""Firecrawl's API, as its clients use it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from crawlyard.bridges.firecrawl.documents import images_in
from crawlyard.bridges.firecrawl.options import (
    BATCH,
    CRAWL,
    FORMAT_OPTIONS,
    MAP,
    SCRAPE,
    scrape_form,
)
from crawlyard.core.access.user import Permit
from crawlyard.core.jobs.lifecycle import State
from tests.web.crawled import crawled, in_state
from tests.web.rig import URL, Rig

TAGS = ["firecrawl:crawl", "firecrawl:markdown", "firecrawl:rawHtml"]

MEANINGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "limit": (7, {"limits.pages": 7}),
    "maxDiscoveryDepth": (2, {"max_depth": 2}),
    "sitemap": ("only", {"sitemaps": ["robots"], "max_depth": 0}),
    "crawlEntireDomain": (True, {"scope": "host"}),
    "allowSubdomains": (True, {"scope": "domain"}),
    "allowExternalLinks": (True, {"scope": "any"}),
    "delay": (2, {"delay_s": 2.0}),
    "maxConcurrency": (9, {"per_host": 9, "concurrency": 9}),
    "ignoreQueryParameters": (True, {"ignore_query": True}),
    "includePaths": (["blog/.*"], {"include": ["re:^https?://[^/?#]+[^?#]*(?:blog/.*)"]}),
    "excludePaths": (["^/a$"], {"exclude": ["re:^https?://[^/?#]+/a$"]}),
    "scrapeOptions.onlyMainContent": (False, {"text": "page-markdown"}),
    "scrapeOptions.headers": ({"X-A": "1"}, {}),  # hidden in answers
    "scrapeOptions.timeout": (5000, {"timeout_s": 5.0}),
    "scrapeOptions.formats": (["rawHtml"], {"keep_html": True}),
    "scrapeOptions.formats.fullPage": (
        {"type": "screenshot", "fullPage": True},
        {"render": "always", "screenshot": "png", "full_page": True},
    ),
    "scrapeOptions.waitFor": (1500, {"render": "always", "actions": ["wait 1.5s"]}),
    "scrapeOptions.actions": (
        [
            {"type": "click", "selector": "#more"},
            {"type": "wait", "selector": ".new"},
            {"type": "wait", "milliseconds": 2000},
        ],
        {"render": "always", "actions": ["click #more", "wait .new", "wait 2s"]},
    ),
    "scrapeOptions.location": ({"languages": ["de", "en"]}, {}),  # a header
    "scrapeOptions.maxAge": (14_400_000, {}),
}
"""A value of each option of a crawl that changes something, and the fields of its job."""

SENT_BY_CLIENTS = {
    "scrape": "formats headers includeTags excludeTags onlyMainContent timeout waitFor mobile "
    "parsers actions location skipTlsVerification removeBase64Images fastMode useMock blockAds "
    "proxy maxAge minAge storeInCache lockdown checkPromptInjection redactPII threatProtection "
    "auditMetadata profile integration origin domainTools toolDetail",
    "crawl": "prompt excludePaths includePaths maxDiscoveryDepth sitemap ignoreQueryParameters "
    "deduplicateSimilarURLs limit crawlEntireDomain allowExternalLinks allowSubdomains "
    "ignoreRobotsTxt robotsUserAgent delay maxConcurrency webhook scrapeOptions regexOnFullURL "
    "zeroDataRetention integration origin auditMetadata",
    "batch/scrape": "webhook appendToId ignoreInvalidURLs maxConcurrency zeroDataRetention "
    "integration origin auditMetadata",
    "map": "search sitemap includeSubdomains ignoreQueryParameters limit timeout integration "
    "origin location threatProtection auditMetadata",
}
"""Options that the SDKs can send: `firecrawl-py` 4.55 and `@mendable/firecrawl-js` 4.42."""

OTHER_TABLES = {"formats", "scrapeOptions", "includePaths", "excludePaths", "webhook"}


def _nested(name: str, value: object) -> dict[str, Any]:
    first, _, rest = name.partition(".")
    if rest.startswith("formats."):
        return {first: {"formats": [value]}}
    return {first: {rest: value} if rest else value}


def test_each_option_that_clients_can_send_is_in_a_table() -> None:
    tables = {"crawl": CRAWL, "scrape": SCRAPE, "batch/scrape": BATCH, "map": MAP}
    for path, names in SENT_BY_CLIENTS.items():
        assert set(names.split()) - OTHER_TABLES <= set(tables[path]), path
    options = {
        "screenshot": "fullPage quality viewport",
        "changeTracking": "modes schema prompt tag",
    }
    assert {name: set(table) for name, table in FORMAT_OPTIONS.items()} == {
        name: set(words.split()) for name, words in options.items()
    }


async def _started(bridged: Rig, **options: Any) -> dict[str, Any]:
    answer = await bridged.post("/v2/crawl", {"url": URL, **options})
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = (await bridged.get(f"jobs/{answer.json()['id']}")).json()
    return job


async def test_each_option_of_a_crawl_sets_its_fields_of_the_job(bridged: Rig) -> None:
    applied = {name for name, option in CRAWL.items() if option.apply}
    applied |= {f"scrapeOptions.{name}" for name, option in SCRAPE.items() if option.apply}
    options = FORMAT_OPTIONS["screenshot"].items()
    applied |= {f"scrapeOptions.formats.{name}" for name, option in options if option.apply}
    ignored = {"origin", "integration", "auditMetadata", "ignoreRobotsTxt"}
    walked = {name for name in applied if name.rpartition(".")[2] not in ignored}
    assert walked <= set(MEANINGS)
    for name, (value, fields) in MEANINGS.items():
        spec = (await _started(bridged, **_nested(name, value)))["spec"]
        values = {path: spec["limits"]["pages"] if "." in path else spec[path] for path in fields}
        assert values == fields, name


async def test_what_clients_always_send_changes_nothing(bridged: Rig) -> None:
    plain = (await _started(bridged))["spec"]
    assert (plain["scope"], plain["limits"]["pages"], plain["text"]) == (
        "prefix",
        10_000,
        "markdown",
    )
    for prefix, table in {"": CRAWL, "scrapeOptions.": SCRAPE}.items():
        for name, option in table.items():
            for value in (*option.neutral, None):
                spec = (await _started(bridged, **_nested(prefix + name, value)))["spec"]
                assert spec == plain, (name, value)
    assert (await _started(bridged, origin="python-sdk@4", integration="x"))["spec"] == plain


async def test_what_would_change_the_result_and_is_not_supported_is_refused(bridged: Rig) -> None:
    tables = {"crawl": CRAWL, "scrape": SCRAPE, "batch/scrape": BATCH, "map": MAP}
    for path, table in tables.items():
        for name in [name for name, option in table.items() if option.apply is None] + ["nonsense"]:
            body = {"urls": [URL]} if path == "batch/scrape" else {"url": URL}
            answer = await bridged.post(f"/v2/{path}", body | {name: "x"})
            assert answer.status_code == 400, (path, name)
            assert name in answer.json()["error"]
    unsupported: list[Any] = [[{"type": "json", "prompt": "x"}], "markdown", ["summary"], [5], [{}]]
    for formats in unsupported:
        answer = await bridged.post("/v2/scrape", {"url": URL, "formats": formats})
        assert (answer.status_code, "formats" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("waitFor", 60_001),
        ("actions", [{"type": "scroll", "direction": "down"}]),
        ("actions", [{"type": "click", "selector": "a", "all": True}]),
        ("actions", [{"type": "screenshot"}]),
        ("location", {"country": "DE"}),
        ("location", {"country": "DE", "languages": ["de"]}),
        ("location", {"languages": [5]}),
    ],
)
async def test_what_a_job_cannot_do_in_a_page_is_refused(
    bridged: Rig, option: str, value: object
) -> None:
    answer = await bridged.post("/v2/batch/scrape", {"urls": [URL], option: value})
    assert (answer.status_code, f"{option}: expected" in answer.json()["error"]) == (400, True)


async def test_options_add_to_one_field_of_the_job(bridged: Rig) -> None:
    more: dict[str, Any] = {
        "waitFor": 500,
        "actions": [{"type": "click", "selector": "a"}],
        "headers": {"X-A": "1"},
        "location": {"languages": ["de"]},
    }
    form = scrape_form(more, SCRAPE)
    assert form["actions"] == ["wait 0.5s", "click a"]
    assert form["headers"] == {"X-A": "1", "Accept-Language": "de"}


async def test_ignoring_robots_needs_its_grant(bridged: Rig) -> None:
    answer = await bridged.post("/v2/crawl", {"url": URL, "ignoreRobotsTxt": True})
    assert (answer.status_code, "grant" in answer.json()["error"]) == (403, True)


async def test_a_running_crawl_shows_documents_only_from_a_cursor_on(bridged: Rig) -> None:
    job, _ = await crawled(bridged, tags=TAGS)
    status = (await bridged.get(f"/v2/crawl/{job}")).json()
    assert (status["success"], status["status"], status["data"]) == (True, "scraping", [])
    assert "next" not in status
    part = (await bridged.get(f"/v2/crawl/{job}?skip=")).json()
    assert [document["metadata"]["statusCode"] for document in part["data"]] == [200, 404]
    assert part["next"].startswith(f"http://127.0.0.1:8700/v2/crawl/{job}?skip=")
    again = (await bridged.get(part["next"].removeprefix("http://127.0.0.1:8700"))).json()
    assert (again["data"], again["next"]) == ([], part["next"])


async def test_an_ended_crawl_has_its_documents(bridged: Rig) -> None:
    for state in (State.COMPLETED, State.FAILED, State.CANCELLED):
        job, word = await in_state(bridged, state, tags=TAGS), str(state)
        answer = await bridged.get(f"/v2/crawl/{job}")
        status = answer.json()
        assert (answer.status_code, status["success"]) == (200, True)
        assert (status["status"], len(status["data"])) == (word, status["completed"])
        document = status["data"][0]
        assert document["markdown"] == document["rawHtml"]
        assert document["metadata"]["title"] == "=good"
        assert {"links", "html"}.isdisjoint(document)


async def test_errors_are_the_urls_without_a_response(bridged: Rig) -> None:
    job, _ = await crawled(bridged, tags=TAGS)
    answer = (await bridged.get(f"/v2/crawl/{job}/errors")).json()
    assert [error["url"].rpartition("/")[2] for error in answer["errors"]] == ["slow"]
    assert [url.rpartition("/")[2] for url in answer["robotsBlocked"]] == ["secret"]


async def test_a_crawl_is_cancelled_once(bridged: Rig) -> None:
    job = (await _started(bridged))["id"]
    active = (await bridged.get("/v2/crawl/active")).json()["crawls"]
    assert [each["id"] for each in active] == [job]
    cancelled = await bridged.ask("DELETE", f"/v2/crawl/{job}")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert (await bridged.ask("DELETE", f"/v2/crawl/{job}")).status_code == 409


async def test_a_job_of_another_kind_or_user_is_not_found(bridged: Rig) -> None:
    job = (await _started(bridged))["id"]
    assert (await bridged.get(f"/v2/batch/scrape/{job}")).status_code == 404
    await bridged.user("bob")
    assert (await bridged.get(f"/v2/crawl/{job}", by="bob")).status_code == 404


async def test_a_token_is_limited_to_its_scopes(bridged: Rig) -> None:
    reads = await bridged.token("local", frozenset({Permit.JOBS_READ}))
    for path, body in {"crawl": {"url": URL}, "batch/scrape": {"urls": [URL]}}.items():
        answer = await bridged.post(f"/v2/{path}", body, secret=reads)
        assert (answer.status_code, "jobs:write" in answer.json()["error"]) == (403, True)


async def test_a_batch_names_the_urls_that_are_none(bridged: Rig) -> None:
    body = {"urls": [URL, "ftp://example.org", "nothing"]}
    answer = (await bridged.post("/v2/batch/scrape", body)).json()
    assert answer["invalidURLs"] == ["ftp://example.org", "nothing"]
    assert answer["url"] == f"http://127.0.0.1:8700/v2/batch/scrape/{answer['id']}"
    refused = await bridged.post("/v2/batch/scrape", body | {"ignoreInvalidURLs": False})
    assert (refused.status_code, "ftp://" in refused.json()["error"]) == (400, True)


async def test_a_repeated_start_with_one_key_is_one_job(bridged: Rig) -> None:
    headers = {"x-idempotency-key": "k"}
    body = {"urls": [URL]}
    first, second = [
        (await bridged.post("/v2/batch/scrape", body, headers=headers)).json() for _ in range(2)
    ]
    assert first["id"] == second["id"]


@pytest.mark.parametrize("pattern", ["", "^/a|/b", "("])
async def test_a_pattern_that_cannot_be_kept_is_refused(bridged: Rig, pattern: str) -> None:
    answer = await bridged.post("/v2/crawl", {"url": URL, "includePaths": [pattern]})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("includePaths: ")


async def test_what_is_wrong_is_named_as_in_the_request(bridged: Rig) -> None:
    grants = {"addresses": True, "private": False, "ignore_robots": False}
    await bridged.ask("PUT", "settings/grants", json=grants, headers={"If-Match": "*"})
    for name, value in {
        "maxDiscoveryDepth": -1,
        "limit": -1,
        "delay": -1,
        "maxConcurrency": 0,
        "includePaths": "blog",
        "excludePaths": ["("],
        "scrapeOptions": [],
        "webhook": "nonsense",
    }.items():
        body = {"url": "http://127.0.0.1:9/", name: value}
        answer = await bridged.post("/v2/crawl", body)
        assert answer.status_code == 400, (name, answer.text)
        error = answer.json()["error"]
        assert error.startswith((f"{name}: ", f"{name}.url: ")), error
        assert "expected ," not in error
        assert "grants" not in error, error  # it is granted
    numbers = await bridged.post("/v2/crawl", {"url": URL, "includePaths": [5]})
    assert numbers.json()["error"].startswith("includePaths: expected a list of regular")
    schedule = {"cron": "61 4 * * *"}
    monitor = {"name": "a", "schedule": schedule, "targets": [{"type": "scrape", "urls": [URL]}]}
    refused = await bridged.post("/v2/monitor", monitor)
    assert refused.json()["error"].startswith("schedule.cron: "), refused.text


async def test_a_cursor_that_is_none_is_refused(bridged: Rig) -> None:
    job = await in_state(bridged, State.COMPLETED, tags=TAGS)
    for cursor in ("abc", "-1", "²", "9" * 30):
        answer = await bridged.get(f"/v2/crawl/{job}?skip={cursor}")
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")
        assert answer.json()["error"].startswith("skip: ")


async def test_a_scrape_that_waits_is_continued_by_the_same_request(bridged: Rig) -> None:
    async def scrape(more: dict[str, Any], by: str = "local") -> int:
        body = {"url": URL, "timeout": 1000} | more
        asking = asyncio.create_task(bridged.post("/v2/scrape", body, by=by))
        while not asking.done():
            await bridged.clock.advance(timedelta(seconds=2))
            await asyncio.sleep(0.01)
        answer = asking.result()
        assert (answer.status_code, answer.json()["code"]) == (408, "SCRAPE_TIMEOUT")
        assert answer.json()["details"]["state"] == "processing_continues"
        jobs: list[Any] = (await bridged.get("jobs")).json()["items"]
        return len(jobs)

    await bridged.user("bob")
    assert await scrape({}, "bob") == 1
    assert await scrape({}) == await scrape({}) == 2
    assert await scrape({"headers": {"X-A": "1"}}) == 3


def test_images_are_listed_once_with_their_whole_url() -> None:
    html = '<img src="/a.png"><img src="data:x"><IMG SRC=/a.png><p><img src="b.png" alt="b">'
    assert images_in(html, "https://a.example/c/") == [
        "https://a.example/a.png",
        "https://a.example/c/b.png",
    ]
