"""Links of a job over HTTP: listed both ways, of one page, exported, and as referrers of errors."""

import csv
import io
import json
from typing import Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]  # it ships no types
from msgspec.structs import replace

from crawlyard.core.crawl.link import encode_links
from crawlyard.core.crawl.page import Body, ErrorKind, Outcome, Target
from crawlyard.engine.urls import packed_fingerprints
from tests.builders import a_batch, a_target, done, failed
from tests.conformance.steps import claimed, recorded
from tests.web.rig import Rig, problem

HOME, PART, GONE = (a_target(path) for path in ("home", "part", "gone"))
OLD = "https://example.com/old"
LINKS = {
    HOME: [
        (PART.url, "", "a", "", "=the part"),
        (GONE.url, "end", "a", "nofollow", "Ünïcode"),
        (GONE.url, "", "area", "", ""),
    ],
    PART: [(HOME.url, "", "a", "", "home")],
}


def linking(target: Target, **fields: Any) -> Outcome:
    """Return the outcome of a page with its links."""
    links = LINKS[target]
    outcome = done(target, {Body.LINKS: encode_links(links)}, **fields)
    return replace(outcome, targets=packed_fingerprints(link[0] for link in links))


async def linked(rig: Rig) -> str:
    """Return the id of a job of two pages with links, and one that failed."""
    job = await rig.job()
    claim = await claimed(rig.yard.store, (await rig.yard.store.jobs.get(job["id"])).job)
    outcomes = [
        linking(HOME),
        linking(PART, url=OLD),
        failed(GONE, ErrorKind.HTTP_4XX, status=404),
    ]
    await recorded(rig.yard.store, claim.lease, a_batch([HOME, PART, GONE], outcomes))
    return str(job["id"])


async def listed(rig: Rig, job_id: str, **params: object) -> list[tuple[str, str, str]]:
    answer = await rig.get(f"jobs/{job_id}/links", params=params)
    assert answer.status_code == 200, answer.text
    return [(link["source"], link["target"], link["text"]) for link in answer.json()["items"]]


ALL = [(source.url, link[0], link[4]) for source, links in LINKS.items() for link in links]


async def test_links_are_listed_from_a_page_and_to_a_url(rig: Rig) -> None:
    job_id = await linked(rig)

    assert await listed(rig, job_id) == ALL
    assert await listed(rig, job_id, **{"from": f"{HOME.url}#top"}) == ALL[:3]
    assert await listed(rig, job_id, **{"from": OLD}) == ALL[3:]  # it led to the page
    assert await listed(rig, job_id, to=GONE.url) == ALL[1:3]
    assert await listed(rig, job_id, to=GONE.url, **{"from": PART.url}) == []
    assert await listed(rig, job_id, to="https://unknown.example/") == []
    for name in ("from", "to"):
        wrong = await rig.get(f"jobs/{job_id}/links", params={name: "mailto:x"})
        assert problem(wrong) == (422, "validation_failed")
        assert wrong.json()["errors"][0]["parameter"] == name


async def test_a_list_of_links_goes_on_within_a_page(rig: Rig) -> None:
    job_id = await linked(rig)
    links: list[tuple[str, str, str]] = []
    cursor: dict[str, str] = {}
    for _ in range(len(ALL)):
        part = (await rig.get(f"jobs/{job_id}/links", params={"limit": 1} | cursor)).json()
        links += [(link["source"], link["target"], link["text"]) for link in part["items"]]
        cursor = {"cursor": part["next_cursor"]}

    assert links == ALL
    assert not part["has_more"]


async def test_pages_are_found_by_what_they_link_to(rig: Rig) -> None:
    job_id = await linked(rig)
    for path in (f"jobs/{job_id}/pages", "pages"):
        answer = await rig.get(path, params={"links_to": f"{GONE.url}#end"})
        assert [page["url"] for page in answer.json()["items"]] == [HOME.url], path


async def test_the_links_of_one_page_are_a_part_of_it(rig: Rig) -> None:
    job_id = await linked(rig)
    pages = (await rig.get(f"jobs/{job_id}/pages")).json()["items"]
    answer = await rig.get(pages[0]["parts"]["links"].removeprefix("/api/v1/"))
    none = await rig.get(pages[2]["parts"]["links"].removeprefix("/api/v1/"))

    assert [link["target"] for link in answer.json()] == [link[0] for link in LINKS[HOME]]
    assert answer.json()[1] == {
        "target": GONE.url,
        "fragment": "end",
        "kind": "a",
        "rel": "nofollow",
        "text": "Ünïcode",
    }
    assert none.status_code == 404


async def test_links_are_exported_as_lines_and_rows(rig: Rig) -> None:
    job_id = await linked(rig)

    async def exported(**params: object) -> str:
        answer = await rig.get(f"jobs/{job_id}/export", params={"links": True} | params)
        assert answer.status_code == 200, answer.text
        return answer.text

    lines = [json.loads(line) for line in (await exported()).splitlines()]
    assert [(link["source"], link["target"], link["text"]) for link in lines] == ALL
    rows = list(csv.DictReader(io.StringIO(await exported(format="csv"))))
    assert [row["target"] for row in rows] == [line["target"] for line in lines]
    assert rows[0]["text"] == "'=the part"  # no formula
    some = (await exported(q="part")).splitlines()
    assert [json.loads(line)["source"] for line in some] == [PART.url]
    file = await rig.get(f"jobs/{job_id}/export?links=true&format=parquet")
    assert pq.read_table(io.BytesIO(file.content)).to_pylist() == lines
    refused = await rig.get(f"jobs/{job_id}/export?links=true&format=warc")
    assert problem(refused) == (422, "validation_failed")
    assert "expected jsonl, csv or parquet of links, got warc" in refused.text


async def test_errors_name_the_pages_that_link_to_them(rig: Rig) -> None:
    job_id = await linked(rig)
    plain = (await rig.get(f"jobs/{job_id}/errors")).json()["items"]
    named = (await rig.get(f"jobs/{job_id}/errors?referrers=true")).json()["items"]

    assert [group["referrers"] for group in plain] == [{}]
    assert [group["referrers"] for group in named] == [{GONE.url: [HOME.url]}]
