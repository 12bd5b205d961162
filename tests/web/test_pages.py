"""Pages over all jobs over HTTP: filtered, searched, exported."""

import json
from datetime import timedelta
from typing import Any

from crawlyard.core.access.user import LOCAL, Permit
from crawlyard.core.crawl.page import Body
from crawlyard.core.search.search import SearchBounds
from crawlyard.services.search.search import Archive
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.web.site import SiteOptions
from tests.builders import a_batch, a_target, done
from tests.conformance.steps import recorded
from tests.web.crawled import HOSTILE, crawled
from tests.web.rig import Rig, a_rig, problem
from tests.web.test_job_pages import paths_of


async def test_pages_of_all_jobs_come_the_last_stored_first(rig: Rig) -> None:
    first, answer = await crawled(rig, name="first")
    second, _ = await crawled(rig)
    late = a_target("late")
    await recorded(rig.yard.store, answer.lease, a_batch([late], [done(late)]))

    response = await rig.get("pages")

    assert paths_of(response) == ["late", "gone", "slow", "good", "gone", "slow", "good"]
    items = response.json()["items"]
    assert [page["job_id"] for page in items] == [first, *[second] * 3, *[first] * 3]
    assert (items[0]["job_name"], items[1]["job_name"]) == ("first", "")
    assert items[3]["parts"]["html"] == f"/api/v1/jobs/{second}/pages/{items[3]['id']}?part=html"
    assert response.json()["searched"]["pages"] == 7
    assert response.json()["searched"]["cut_short"] is False
    assert response.json()["has_more"] is False


async def test_a_walk_along_the_cursor_yields_each_page_once_while_others_come(rig: Rig) -> None:
    _, answer = await crawled(rig)
    params: dict[str, Any] = {"limit": 1}
    paths: list[str] = []

    for n in range(10):
        response = await rig.get("pages", params=params)
        paths += paths_of(response)
        new = a_target(f"new{n}")
        answer = await recorded(rig.yard.store, answer.lease, a_batch([new], [done(new)]))
        if not response.json()["has_more"]:
            break
        params["cursor"] = response.json()["next_cursor"]
        assert f"cursor={params['cursor']}" in response.headers["link"]

    assert paths == ["gone", "slow", "good"]


async def test_a_filter_finds(rig: Rig) -> None:
    await crawled(rig, tags=["news"])
    for query, paths in [
        ("status=404", ["gone"]),
        ("status=4xx,200", ["gone", "good"]),
        ("failed=true", ["gone", "slow"]),
        ("needs_scripts=true", ["good"]),
        ("needs_scripts=false", ["gone", "slow"]),
        ("content_type=text/*", ["gone", "slow", "good"]),
        ("min_depth=1", []),
        ("max_depth=0&failed=false", ["good"]),
        ("host=EXAMPLE.com", ["gone", "slow", "good"]),
        ("host=other.example", []),
        ("tag=news", ["gone", "slow", "good"]),
        ("tag=old", []),
        ("owner=me", ["gone", "slow", "good"]),
        ("owner=bob", []),
        ("template=nightly", []),
        ("since=2000-01-01T00:00:00Z", ["gone", "slow", "good"]),
        ("until=2000-01-01T00:00:00Z", []),
        ("q=GOO", ["good"]),
        ("q=%22Title+of+https%22+gone", ["gone"]),
        ("q=alert+good", ["good"]),
        ("q=alert+gone", []),
        ("job=nonsense", []),
    ]:
        assert paths_of(await rig.get(f"pages?{query}")) == paths, query


async def test_pages_can_be_filtered_by_job_id(rig: Rig) -> None:
    first, _ = await crawled(rig)
    await crawled(rig)
    matches = (await rig.get("pages", params={"job": first.upper(), "status": "404"})).json()
    assert [page["job_id"] for page in matches["items"]] == [first]


async def test_the_excerpt_shows_the_words_as_text(rig: Rig) -> None:
    await crawled(rig)
    [good] = (await rig.get("pages?q=%C3%BCn%C3%AF")).json()["items"]
    assert good["excerpt"] == HOSTILE


async def test_what_is_wrong_in_a_filter_is_named(rig: Rig) -> None:
    for query in [
        "status=x",
        "min_depth=-1",
        "max_depth=x",
        "since=yesterday",
        "until=2026-01-01T00:00:00",
        "q=%22open",
        "q=" + "+".join("abcdefghijk"),
        "owner=" + "x" * 600,
    ]:
        answer = await rig.get(f"pages?{query}")
        assert problem(answer) == (422, "validation_failed"), query
        assert answer.json()["errors"][0]["parameter"] == query.partition("=")[0], query


async def test_a_user_finds_pages_of_own_jobs_and_an_admin_all(rig: Rig) -> None:
    await rig.user("ada")
    await rig.user("bob")
    job_id, _ = await crawled(rig, "ada")

    own = (await rig.get("pages?q=good", by="ada")).json()
    foreign = (await rig.get("pages", by="bob")).json()
    by_job = (await rig.get(f"pages?job={job_id}", by="bob")).json()
    named = (await rig.get("pages?owner=ada", by="bob")).json()
    every = (await rig.get("pages?owner=ada")).json()

    assert len(own["items"]) == 1
    for page in (foreign, by_job, named):
        assert (page["items"], page["searched"]["pages"]) == ([], 0)
    assert len(every["items"]) == 3


async def test_a_token_needs_the_scope_of_results(rig: Rig) -> None:
    jobs_only = await rig.token(LOCAL.id, frozenset({Permit.JOBS_READ}))
    for path in ["pages", "pages/export"]:
        assert problem(await rig.get(path, secret=jobs_only)) == (403, "forbidden"), path


async def test_an_answer_that_was_cut_short_says_so_and_goes_on(rig: Rig) -> None:
    hasty = Archive(rig.yard.store, rig.clock, SearchBounds(pages=2))
    rig = rig.with_services(archive=hasty)
    await crawled(rig)

    first = (await rig.get("pages?q=good")).json()
    rest = (await rig.get("pages", params={"q": "good", "cursor": first["next_cursor"]})).json()

    assert first["items"] == []
    assert first["searched"]["cut_short"]
    assert first["searched"]["pages"] == 2
    assert first["has_more"]
    assert [page["title"] for page in rest["items"]] == ["=good"]
    assert rest["searched"] | {"back_to": None} == {
        "pages": 1,
        "back_to": None,
        "cut_short": False,
        "stored": None,
        "index": "behind",
        "unindexed": 3,
    }


class TestExportSearch:
    async def test_json_lines_have_the_job_and_the_text_on_request(self, rig: Rig) -> None:
        job_id, _ = await crawled(rig, name="first")

        response = await rig.get("pages/export?text=true&status=2xx")
        bare = await rig.get("pages/export?q=good")

        assert response.headers["content-type"] == "application/jsonl"
        assert response.headers["content-disposition"] == 'attachment; filename="pages.jsonl"'
        [line] = map(json.loads, response.text.splitlines())
        assert (line["job_id"], line["job_name"], line["text"]) == (job_id, "first", HOSTILE)
        assert not {"html", "headers", "parts"} & set(line)
        assert [json.loads(line)["text"] for line in bare.text.splitlines()] == [None]

    async def test_csv_has_no_formulas_and_all_that_was_extracted(self, rig: Rig) -> None:
        job_id, answer = await crawled(rig)
        priced = a_target("priced")
        outcome = done(priced, {Body.TEXT: b"x"}, extracted={"price": ("1", "2")})
        await recorded(rig.yard.store, answer.lease, a_batch([priced], [outcome]))

        response = await rig.get("pages/export?failed=false", headers={"Accept": "text/csv"})

        assert response.headers["content-type"] == "text/csv; charset=utf-8"
        header, first, second = response.text.rstrip("\r\n").split("\r\n")
        assert header.startswith("job_id,job_name,extracted_json,url,final_url,status")
        assert first.startswith(f'{job_id},,"{{""price"":[""1"",""2""]}}",')
        assert ",'=good," in second

    async def test_it_is_counted_with_the_other_exports(self) -> None:
        rig = await a_rig(open_in_memory(), SiteOptions(rate_limits=True))
        answers = [await rig.get("pages/export") for _ in range(11)]
        assert [answer.status_code for answer in answers] == [200] * 10 + [429]


async def test_pages_are_found_by_when_they_were_fetched(rig: Rig) -> None:
    _, answer = await crawled(rig)
    await rig.clock.advance(timedelta(hours=1))
    now = rig.clock.now()
    later = a_target("later")
    outcome = done(later, fetched_at=now)
    await recorded(rig.yard.store, answer.lease, a_batch([later], [outcome]), now)

    since = {"since": now.isoformat()}
    until = {"until": now.isoformat()}

    assert paths_of(await rig.get("pages", params=since)) == ["later"]
    assert paths_of(await rig.get("pages", params=until)) == ["gone", "slow", "good"]
