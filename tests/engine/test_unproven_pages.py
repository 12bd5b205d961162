"""Pages that a run leaves unproven are compared again, until a later run proves what they are."""

from collections import Counter
from itertools import permutations
from xml.etree import ElementTree as ET

import pytest

from crawlyard import LOCAL, Yard
from crawlyard.api.near import NearSurface
from crawlyard.core.crawl.changes import NEWS_KINDS
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.events.event import EventName
from crawlyard.services.upkeep.janitor import purge_all
from crawlyard.store.queries import EventQuery
from tests.engine.watched_site import Leaf, VersionedSite, WatchedSchedule, watch
from tests.site import Serve

SECTIONS = ("/a", "/b", "/c")
ORDERS = list(permutations(("whole", "503", "limit")))
OTHERS = [order for order in ORDERS if order != ORDERS[3]]
SLOW = pytest.mark.slow
NAME = "{http://www.w3.org/2005/Atom}"


def site(*removed: str, failing: str = "", new: str = "") -> dict[str, Leaf]:
    """Return 60 pages: a start page, 3 sections, and 56 pages that only their section links to."""
    paths = [f"{SECTIONS[n % 3]}/{n}" for n in range(56)] + ([new] if new else [])
    paths = [path for path in paths if path not in removed]
    leaves = {path: Leaf(f"The text of {path} is its own, with words.") for path in paths}
    for section in SECTIONS:
        links = tuple(path for path in paths if path.startswith(f"{section}/"))
        leaves[section] = Leaf(f"Section {section}.", links, 503 if section == failing else 200)
    return {"/": Leaf("Start here.", SECTIONS)} | leaves


async def changes_of(watched: WatchedSchedule, job_id: str) -> dict[str, set[str]]:
    """Return the changed paths of a run, by kind, checking that all sources agree."""
    surface, root = NearSurface(watched.yard.services, LOCAL), watched.server.url
    feed = [c async for c in every(surface.changes.list, schedule="site") if c.job_id == job_id]
    [run] = [r for r in (await surface.schedules.changes("site")).items if r.job_id == job_id]
    counts = {kind: n for kind, n in (run.counts or {}).items() if n and kind in NEWS_KINDS}
    assert counts == Counter(change.kind for change in feed)
    events = await watched.yard.store.events.events(
        EventQuery(names=frozenset({EventName.RUN_CHANGED}), subject=job_id)
    )
    assert [event.data["counts"] for event in events] == ([run.counts] if feed else [])
    atom = ET.fromstring(await surface.schedules.changes_feed("site"))
    entries = [
        entry.findtext(f"{NAME}title")
        for entry in atom.findall(f"{NAME}entry")
        if f":{job_id}:" in (entry.findtext(f"{NAME}id") or "")
    ]
    assert entries[::-1] == [f"{c.kind.replace('_', ' ')}: {c.url}" for c in feed]
    if run.base_id is not None:
        diff = await watched.diff(run.base_id, job_id)
        assert diff.counts == run.counts
    kinds: dict[str, set[str]] = {}
    for change in feed:
        kinds.setdefault(change.kind, set()).add(change.url.removeprefix(root))
    return kinds


@pytest.fixture
async def watched(yard: Yard, site_server: Serve) -> WatchedSchedule:
    return await watch(yard, site_server, site())


@pytest.mark.parametrize("order", [ORDERS[3], *(pytest.param(o, marks=SLOW) for o in OTHERS)])
async def test_a_removed_page_is_reported_once_when_confirmed(
    watched: WatchedSchedule, order: tuple[str, ...]
) -> None:
    nights = [await changes_of(watched, await watched.run())]
    removed: list[str] = []
    for night in order:
        removed.append(f"/a/{3 * len(removed)}")
        watched.server.site = VersionedSite(site(*removed, failing="/a" if night == "503" else ""))
        pages = 10 if night == "limit" else None
        nights.append(await changes_of(watched, await watched.run(limits={"pages": pages})))
    watched.server.site = VersionedSite(site(*removed, new="/b/new"))
    nights.append(await changes_of(watched, await watched.run(limits={"pages": None})))

    gone_by_night = [night.pop("gone", set()) for night in nights]
    assert sorted(path for night in gone_by_night for path in night) == removed
    whole = order.index("whole")
    for n, path in enumerate(removed):
        [told_in] = [place for place, paths in enumerate(gone_by_night, start=-1) if path in paths]
        assert n <= told_in <= (whole if n <= whole else 3), (path, told_in)
    changed = [night.pop("changed", set()) for night in nights]
    assert set().union(*changed[:-1]) == {"/a"}
    assert changed[-1] - {"/a"} == {"/b"}
    expected: list[dict[str, set[str]]] = [{}, {}, {}, {}, {"new": {"/b/new"}}]
    expected[order.index("503") + 1] = {"broken": {"/a"}}
    assert nights == expected


async def test_pages_behind_one_that_fails_are_not_new_when_they_come_back(
    watched: WatchedSchedule,
) -> None:
    await watched.run()
    down = VersionedSite(site(failing="/a"))
    watched.server.site = down
    first = await watched.run()
    second = await watched.run()  # nothing is told twice
    watched.server.site = VersionedSite(site(new="/a/new"))
    back = await watched.run()

    assert await changes_of(watched, first) == {"broken": {"/a"}}
    assert await changes_of(watched, second) == {}
    assert (await watched.diff(first, second)).counts["unknown"] == 20
    assert await changes_of(watched, back) == {"changed": {"/a"}, "new": {"/a/new"}}
    results = NearSurface(watched.yard.services, LOCAL).results
    page = await results.page_diff(second, back, f"{watched.server.url}/a")
    assert (page.kind, page.added, page.removed) == ("changed", 1, 0)


async def test_pages_behind_one_that_no_run_has_read_are_seen_first(
    watched: WatchedSchedule,
) -> None:
    watched.server.site = VersionedSite(site(failing="/a"))
    await watched.run()
    watched.server.site = VersionedSite(site(new="/b/new"))
    back = await changes_of(watched, await watched.run())

    behind = {path for path in site() if path.startswith("/a")}
    assert back == {"changed": {"/b"}, "new": {"/b/new"}, "seen_first": behind}


async def test_a_removed_page_is_reported_if_no_broken_page_ever_linked_to_it(
    watched: WatchedSchedule,
) -> None:
    await watched.run()
    watched.server.site = VersionedSite(site(failing="/a"))
    assert await changes_of(watched, await watched.run()) == {"broken": {"/a"}}
    watched.server.site = VersionedSite(site("/a/0", "/b/1", failing="/a"))
    other = await changes_of(watched, await watched.run())
    assert other == {"changed": {"/b"}, "gone": {"/b/1"}}
    watched.server.site = VersionedSite(site("/a/0", "/b/1"))
    assert await changes_of(watched, await watched.run()) == {"changed": {"/a"}, "gone": {"/a/0"}}


async def test_a_page_is_not_gone_if_one_that_stays_broken_led_to_it(
    watched: WatchedSchedule,
) -> None:
    def also_linked_from_b(leaves: dict[str, Leaf]) -> VersionedSite:
        return VersionedSite(leaves | {"/b": Leaf("Short.", (*leaves["/b"].links, "/a/0"))})

    watched.server.site = also_linked_from_b(site())
    await watched.run()
    watched.server.site = also_linked_from_b(site(failing="/a"))
    assert await changes_of(watched, await watched.run()) == {"broken": {"/a"}}
    watched.server.site = VersionedSite(site(failing="/a"))
    assert await changes_of(watched, await watched.run()) == {"changed": {"/b"}}
    watched.server.site = VersionedSite(site())
    assert await changes_of(watched, await watched.run()) == {}


async def test_what_a_run_leaves_unproven_outlives_the_runs_that_had_it(
    watched: WatchedSchedule,
) -> None:
    surface = NearSurface(watched.yard.services, LOCAL)
    whole = await watched.run()
    limited = await watched.run(limits={"pages": 10})
    last = await watched.run()
    assert await changes_of(watched, last) == {}
    for job_id in (whole, limited):
        await surface.jobs.delete(job_id)
    while (await purge_all(watched.yard.store.upkeep, watched.yard.clock)).rows:
        pass
    watched.server.site = VersionedSite(site("/a/54"))
    changed = await changes_of(watched, await watched.run(limits={"pages": None}))

    assert changed == {"changed": {"/a"}, "gone": {"/a/54"}}


async def test_a_page_that_a_schedule_does_not_reach_any_more_is_not_gone(
    watched: WatchedSchedule,
) -> None:
    await watched.run()
    nights = [await watched.run(max_depth=1) for _ in range(2)]
    back = await watched.run(max_depth=None)

    assert [await changes_of(watched, night) for night in (*nights, back)] == [{}, {}, {}]
    excluded = [await watched.run(exclude=["*/a*"]) for _ in range(2)]
    assert [await changes_of(watched, night) for night in excluded] == [{}, {}]
