"""The current pages of a schedule: nothing that is gone, and each page in its newest form."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from crawlyard import LOCAL, Yard
from crawlyard.api.near import NearSurface
from crawlyard.errors import NotFound
from crawlyard.export.base import Format
from tests.engine.watched_site import Leaf, VersionedSite, WatchedSchedule, watch
from tests.site import Serve

SECTIONS = ("/a", "/b", "/c")


def leaves_of(texts: dict[str, str], failing: str = "") -> dict[str, Leaf]:
    """Return a site of these pages, each linked from the section in its path."""
    leaves = {path: Leaf(text) for path, text in texts.items()}
    for section in SECTIONS:
        links = tuple(path for path in texts if path.startswith(f"{section}/"))
        leaves[section] = Leaf(f"Section {section}.", links, 503 if section == failing else 200)
    return {"/": Leaf("Start here.", SECTIONS)} | leaves


def first_texts() -> dict[str, str]:
    return {f"{SECTIONS[n % 3]}/{n}": f"The first text of page {n}." for n in range(24)}


async def exported(watched: WatchedSchedule, **options: Any) -> list[dict[str, Any]]:
    """Return the records of an export as JSON Lines."""
    schedules = NearSurface(watched.yard.services, LOCAL).schedules
    pieces = [piece async for piece in await schedules.export("site", **options)]
    return [json.loads(line) for line in b"".join(pieces).splitlines()]


async def current_texts(watched: WatchedSchedule, **options: Any) -> dict[str, str]:
    """Return the sentence of its own of each leaf that is exported, by path."""
    records = await exported(watched, **options)
    by_path = {record["url"].removeprefix(watched.server.url): record for record in records}
    assert len(by_path) == len(records)
    return {
        path: next(line for line in record["text"].splitlines() if " text of " in line)
        for path, record in by_path.items()
        if path.count("/") == 2
    }


@pytest.fixture
async def watched(yard: Yard, site_server: Serve) -> WatchedSchedule:
    return await watch(yard, site_server, leaves_of(first_texts()))


async def test_a_schedule_without_a_completed_run_has_no_current_pages(
    watched: WatchedSchedule,
) -> None:
    with pytest.raises(NotFound, match="schedule site has no completed run with pages yet"):
        await exported(watched)


async def test_pages_that_a_run_could_not_reach_stay_and_those_that_are_gone_do_not(
    watched: WatchedSchedule,
) -> None:
    await watched.run()
    texts = first_texts()
    assert await current_texts(watched) == texts
    assert await current_texts(watched, changed=True) == texts  # all pages of a first run

    edited = texts | {"/b/1": "The second text of page 1.", "/b/new": "The text of a new page."}
    del edited["/a/0"]
    watched.server.site = VersionedSite(leaves_of(edited, failing="/a"))
    await watched.run()

    assert await current_texts(watched) == edited | {"/a/0": texts["/a/0"]}
    changed = {path: edited[path] for path in ("/b/1", "/b/new")}
    assert await current_texts(watched, changed=True) == changed

    del edited["/c/2"]
    watched.server.site = VersionedSite(leaves_of(edited))
    await watched.run()
    assert await current_texts(watched) == edited


async def test_a_page_that_no_run_could_read_is_not_current(watched: WatchedSchedule) -> None:
    watched.server.site = VersionedSite(leaves_of(first_texts(), failing="/a"))
    await watched.run()

    paths = {r["url"].removeprefix(watched.server.url) for r in await exported(watched)}
    assert "/a" not in paths
    assert {"/", "/b", "/b/1"} <= paths


async def test_a_failed_run_does_not_change_the_current_pages(watched: WatchedSchedule) -> None:
    await watched.run()
    before = await exported(watched)
    root = watched.server.site
    watched.server.site = VersionedSite({"/": replace(leaves_of({})["/"], status=503)})
    await watched.run()
    watched.server.site = root

    assert await exported(watched) == before


@pytest.mark.parametrize("seed", range(3))
async def test_after_random_nights_the_pages_are_those_of_the_site(
    watched: WatchedSchedule, seed: int
) -> None:
    choose, texts = random.Random(seed), first_texts()
    ever = {path: {text} for path, text in texts.items()}
    await watched.run()
    for night in range(5):
        for path in choose.sample(sorted(texts), 3):
            del texts[path]
        for path in choose.sample(sorted(texts), 3):
            texts[path] = f"A text of night {night} is this."
        texts[f"{choose.choice(SECTIONS)}/new-{night}"] = f"The text of night {night}."
        for path, text in texts.items():
            ever.setdefault(path, set()).add(text)
        failing = choose.choice((*SECTIONS, ""))
        pages = choose.choice((8, 16, None))
        watched.server.site = VersionedSite(leaves_of(texts, failing))
        await watched.run(limits={"pages": pages})

        current = await current_texts(watched)
        assert all(text in ever[path] for path, text in current.items())
        reached = {path for path in texts if not failing or not path.startswith(failing)}
        if pages is None:
            assert {path: current.get(path) for path in reached} == {
                path: texts[path] for path in reached
            }
    watched.server.site = VersionedSite(leaves_of(texts))
    await watched.run(limits={"pages": None})
    assert await current_texts(watched) == texts


async def test_chunks_of_current_pages_have_those_of_the_newest_text_alone(
    watched: WatchedSchedule,
) -> None:
    await watched.run()
    before = {chunk["id"]: chunk["text"] for chunk in await exported(watched, chunks=50)}
    texts = first_texts() | {"/b/1": "The second text of page 1."}
    del texts["/c/2"]
    watched.server.site = VersionedSite(leaves_of(texts))
    await watched.run()

    records = await exported(watched, chunks=50, format_=Format.JSONL)
    after = {chunk["id"]: chunk["text"] for chunk in records}
    [edited] = [key for key in after if "second text of page 1." in after[key]]
    assert "first text of page 1." in before[edited]
    removed = [before[key] for key in before.keys() - after.keys()]
    assert any("text of page 2." in text for text in removed)
    assert not any("text of page 2." in text for text in after.values())
