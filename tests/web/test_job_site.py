"""The site of a job over HTTP: its map, the way to a page, the pages beside it, its findings."""

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from crawlyard.core.crawl.link import encode_links
from crawlyard.core.crawl.page import Body, ErrorKind
from crawlyard.engine.urls import packed_fingerprints
from tests.builders import a_batch, a_target, done, failed
from tests.conformance.steps import claimed, recorded
from tests.web.rig import Rig, problem

HOME = a_target("")
GUIDE = replace(a_target("guide/", depth=1), parent=HOME.fp)
PART = replace(a_target("guide/part", depth=2), parent=GUIDE.fp)
GONE = replace(a_target("gone", depth=2), parent=GUIDE.fp)
LATER = replace(a_target("guide/later", depth=3), parent=PART.fp)
LINKS = {
    HOME: [(GUIDE.url, "", "a", "", "Guide")],
    GUIDE: [
        (PART.url, "", "a", "", "The part"),
        *((GONE.url, "", "a", "nofollow", f"gone {n}") for n in range(12)),
    ],
    PART: [(LATER.url, "", "a", "", "later"), ("https://other.example/", "", "a", "", "other")],
}


async def crawled(rig: Rig) -> str:
    """Return the id of a job of three pages in a row, one that failed and one that waits."""
    job = await rig.job()
    claim = await claimed(rig.yard.store, (await rig.yard.store.jobs.get(job["id"])).job)
    pages = [
        replace(
            done(source, {Body.LINKS: encode_links(links)}),
            targets=packed_fingerprints(link[0] for link in links),
        )
        for source, links in LINKS.items()
    ]
    outcomes = [*pages, failed(GONE, ErrorKind.HTTP_4XX, status=404)]
    batch = a_batch([HOME, GUIDE, PART, GONE, LATER], outcomes)
    await recorded(rig.yard.store, claim.lease, batch)
    return str(job["id"])


async def get_json(rig: Rig, path: str, **params: object) -> dict[str, Any]:
    answer = await rig.get(path, params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_the_map_of_one_host_begins_with_its_folders(rig: Rig) -> None:
    job_id = await crawled(rig)
    whole = await get_json(rig, f"jobs/{job_id}/map")
    guide = await get_json(rig, f"jobs/{job_id}/map", under="https://EXAMPLE.com/guide/")

    assert (whole["under"], whole["unlisted"]) == ("example.com/", 0)
    counts = [
        (folder["name"], folder["fetched"], folder["failed"], folder["waiting"])
        for folder in whole["items"]
    ]
    assert counts == [("guide/", 2, 0, 1), ("", 1, 1, 0)]
    assert guide["under"] == "example.com/guide/"
    assert [folder["name"] for folder in guide["items"]] == [""]
    pages = await get_json(rig, f"jobs/{job_id}/pages", under=guide["under"])
    assert [page["url"] for page in pages["items"]] == [GUIDE.url, PART.url]


async def test_the_path_to_a_url_starts_at_the_start_url_and_shows_link_texts(
    rig: Rig,
) -> None:
    job_id = await crawled(rig)
    way = (await get_json(rig, f"jobs/{job_id}/path", url=LATER.url))["items"]
    unknown = await get_json(rig, f"jobs/{job_id}/path", url="https://example.com/unknown")

    assert [(step["url"], step["text"]) for step in way] == [
        (HOME.url, ""),
        (GUIDE.url, "Guide"),
        (PART.url, "The part"),
        (LATER.url, "later"),
    ]
    assert [step["page_id"] is None for step in way] == [False, False, False, True]
    assert unknown["items"] == []


async def test_links_say_what_became_of_their_targets(rig: Rig) -> None:
    job_id = await crawled(rig)
    pages = {
        page["url"]: page["id"] for page in (await get_json(rig, f"jobs/{job_id}/pages"))["items"]
    }
    out = (await get_json(rig, f"jobs/{job_id}/links", **{"from": PART.url}))["items"]
    to_gone = (await get_json(rig, f"jobs/{job_id}/links", to=GONE.url, limit=1))["items"]

    assert [(link["outcome"], link["status"], link["target_id"]) for link in out] == [
        ("waiting", None, None),
        ("never_found", None, None),
    ]
    assert to_gone[0]["source_id"] == pages[GUIDE.url]
    outcome = to_gone[0]["outcome"], to_gone[0]["status"], to_gone[0]["target_id"]
    assert outcome == ("failed", 404, pages[GONE.url])


async def test_the_pages_beside_one_are_those_of_the_list_with_the_same_filter(rig: Rig) -> None:
    job_id = await crawled(rig)
    ids = [page["id"] for page in (await get_json(rig, f"jobs/{job_id}/pages"))["items"]]
    path = f"jobs/{job_id}/pages/{ids[1]}/neighbours"

    every = {"object": "neighbours", "previous": ids[0], "next": ids[2], "position": 2, "total": 4}
    assert await get_json(rig, path) == every
    assert (await get_json(rig, path, status="404"))["next"] == ids[3]
    assert problem(await rig.get(path, params={"status": "x"})) == (422, "validation_failed")


async def test_findings_come_in_parts_with_the_first_links_of_each(rig: Rig) -> None:
    job_id = await crawled(rig)
    path = f"jobs/{job_id}/check/findings"
    [broken] = (await get_json(rig, path, kind="broken_link"))["items"]
    part = await get_json(rig, path, limit=1)

    assert (broken["url"], broken["links"], len(broken["linked_from"])) == (GONE.url, 12, 10)
    assert part["counts"] == {"broken_link": 1}
    assert (part["pages"], part["links"], part["fragments"]) == (4, 16, False)
    beyond = {"reason": "limit", "count": 2, "urls": [LATER.url, "https://other.example/"]}
    assert (part["unchecked"], part["unchecked_by"]) == (2, [beyond])
    assert (part["incomplete"], part["incomplete_reason"]) == (True, "the job is running")
    assert problem(await rig.get(path, params={"kind": "x"})) == (422, "validation_failed")
    whole = await get_json(rig, f"jobs/{job_id}/check")
    assert len(whole["items"][0]["linked_from"]) == whole["items"][0]["links"] == 12


async def test_findings_of_a_job_that_goes_on_are_looked_for_again_after_a_minute(rig: Rig) -> None:
    job = await rig.job()
    store = rig.yard.store
    claim = await claimed(store, (await store.jobs.get(job["id"])).job)
    first = await recorded(store, claim.lease, a_batch([HOME], [done(HOME)]))
    path = f"jobs/{job['id']}/check/findings"
    assert (await get_json(rig, path))["pages"] == 1
    await recorded(store, first.lease, a_batch([GUIDE], [done(GUIDE)]))

    await rig.clock.advance(timedelta(seconds=59))
    assert (await get_json(rig, path))["pages"] == 1
    await rig.clock.advance(timedelta(seconds=1))
    assert (await get_json(rig, path))["pages"] == 2
