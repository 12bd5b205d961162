"""Two versions of one site under one URL, crawled by a schedule: what changed is told right."""

from xml.etree import ElementTree as ET

import pytest

from crawlyard import LOCAL, Limits, Move, State, Yard
from crawlyard.api.near import NearSurface
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.events.event import EventName
from crawlyard.errors import Invalid, NotFound
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.upkeep.janitor import purge_all
from crawlyard.store.queries import EventQuery
from tests.engine.rig import run
from tests.engine.watched_site import Leaf, VersionedSite, WatchedSchedule, watch
from tests.site import Serve

PAGES = 40


def first() -> dict[str, Leaf]:
    """Return a site: a start page that links to all others, and a chain below the last."""
    pages = [f"/p{n}" for n in range(PAGES)]
    leaves = {path: Leaf(f"The text of {path} is its own, with words.") for path in pages}
    return {"/": Leaf("Start here.", tuple(pages))} | leaves


def second() -> tuple[VersionedSite, dict[str, set[str]]]:
    """Return the next version of the site, and what differs by kind."""
    leaves = first()
    for n in range(10):
        leaves[f"/p{n}"] = Leaf(f"The text of /p{n} is another one, with words.")
    for n in range(10, 13):  # unlinked, and no longer there
        del leaves[f"/p{n}"]
    del leaves["/p13"]  # still linked
    leaves["/p14"] = Leaf(leaves["/p14"].text, status=410)
    for n in range(20, 23):
        leaves[f"/new{n}"] = Leaf(f"Never seen before, number {n}.")
    leaves["/renamed15"] = leaves.pop("/p15")  # the same file under another name
    leaves["/later16"] = leaves.pop("/p16")
    linked = [p for p in leaves if p != "/"] + ["/p13", "/p16"]
    leaves["/"] = Leaf("Start here.", tuple(linked))
    kinds = {  # from the files
        "changed": {"/"} | {f"/p{n}" for n in range(10)},
        "gone": {f"/p{n}" for n in (10, 11, 12, 13, 14)},
        "new": {f"/new{n}" for n in range(20, 23)},
        "moved": {"/p15", "/p16"},
    }
    return VersionedSite(leaves, {"/p16": "/later16"}), kinds


@pytest.fixture
async def watched(yard: Yard, site_server: Serve) -> WatchedSchedule:
    return await watch(yard, site_server, first())


async def test_each_page_has_the_class_that_the_files_have(watched: WatchedSchedule) -> None:
    first = await watched.run()
    watched.server.site, kinds = second()
    other = await watched.run()

    diff = await watched.diff(first, other)

    assert watched.by_kind(diff) == kinds
    assert diff.counts == {
        "changed": 11,
        "new": 3,
        "seen_first": 0,
        "moved": 2,
        "gone": 5,
        "broken": 0,
        "noise": 0,
        "unknown": 0,
        "same": PAGES + 1 - 11 - 5 - 2,
    }
    to = {c.url: c.moved_to for c in diff.items if c.moved_to}
    root = watched.server.url
    assert to == {f"{root}/p15": f"{root}/renamed15", f"{root}/p16": f"{root}/later16"}
    [one_line] = [c for c in diff.items if c.url == f"{root}/p3"]
    assert (one_line.added, one_line.removed) == (1, 1)
    assert 0 < (one_line.share or 0) < 1


async def test_nothing_is_called_gone_that_the_second_run_may_have_missed(
    watched: WatchedSchedule,
) -> None:
    first = await watched.run()
    site, kinds = second()
    proven = {"/p13", "/p14"}  # answered with 404 and 410

    watched.server.site = site
    limited = await watched.diff(first, await watched.run(limits={"pages": 12}))
    assert watched.by_kind(limited).get("gone", set()) <= proven
    assert limited.counts["unknown"] > 20
    assert "page limit" in {str(c.kind): c.detail for c in limited.items}["unknown"]

    # another page, which may link to them, answers 503
    broken = {**site.leaves, "/p30": Leaf("", status=503)}
    watched.server.site = VersionedSite(broken, site.moved)
    failing = await watched.diff(first, await watched.run(limits={"pages": None}))
    assert watched.by_kind(failing)["gone"] == proven
    assert watched.by_kind(failing)["broken"] == {"/p30"}
    assert watched.by_kind(failing)["unknown"] == (kinds["gone"] - proven) | {"/p15"}

    # the start page itself does
    watched.server.site = VersionedSite({**site.leaves, "/": Leaf("", status=500)})
    nothing = await watched.diff(first, await watched.run())
    assert "gone" not in watched.by_kind(nothing)

    # another scope
    watched.server.site = site
    other = await watched.diff(first, await watched.run(exclude=["*/p3?"]))
    assert watched.by_kind(other)["gone"] == proven
    assert {f"/p{n}" for n in range(30, 40)} <= watched.by_kind(other)["unknown"]


async def test_a_page_beyond_the_depth_is_not_gone(watched: WatchedSchedule) -> None:
    shallow = await watched.run(max_depth=1)
    leaves = first()
    start = tuple(path for path in leaves if path not in {"/", "/p9"})
    leaves |= {"/": Leaf("Start here.", start), "/p8": Leaf(leaves["/p8"].text, ("/p9",))}
    watched.server.site = VersionedSite(leaves)

    other = await watched.run()

    diff = await watched.diff(shallow, other)
    [page] = [c for c in diff.items if c.url.endswith("/p9")]
    assert (page.kind, page.detail) == ("unknown", "a page links to it")
    [back] = [c for c in (await watched.diff(other, shallow)).items if c.url.endswith("/p9")]
    assert back.kind == "seen_first"


async def test_pages_that_the_first_run_may_have_missed_are_seen_first(
    watched: WatchedSchedule,
) -> None:
    first = await watched.run(limits={"pages": 5})
    other = await watched.run(limits={"pages": None})
    diff = await watched.diff(first, other)
    assert diff.counts["seen_first"] == PAGES + 1 - 5
    assert diff.counts["new"] == 0


async def test_text_of_one_page_is_compared_by_lines_and_ignored_lines_do_not_count(
    watched: WatchedSchedule,
) -> None:
    first = await watched.run()
    watched.server.site, _ = second()
    other = await watched.run()
    results = NearSurface(watched.yard.services, LOCAL).results
    url = f"{watched.server.url}/p3"

    page = await results.page_diff(first, other, url)
    lines = page.text.splitlines()
    assert "-The text of /p3 is [-its own-], with words." in lines
    assert "+The text of /p3 is {+another one+}, with words." in lines
    assert (page.kind, page.added, page.removed) == ("changed", 1, 1)

    quiet = await watched.diff(first, other, ignore_text="re:^The text of /p[3-5]")
    assert watched.by_kind(quiet)["noise"] == {"/p3", "/p4", "/p5"}
    assert quiet.counts["changed"] == 8

    with pytest.raises(Invalid, match="ignore_text: expected 're:'"):
        await watched.diff(first, other, ignore_text="*")
    with pytest.raises(NotFound, match="has no page of"):
        await results.page_diff(first, other, f"{watched.server.url}/new20")
    with pytest.raises(Invalid, match="another job"):
        await watched.diff(first, first)


async def test_a_schedule_may_ignore_lines_and_elements(watched: WatchedSchedule) -> None:
    ignoring = {"ignore_text": ["re:^The text of /p[3-5]", "re:^The text of /p6"]}
    first_id = await watched.run(**ignoring)
    watched.server.site, _ = second()
    other = await watched.run()

    schedules = NearSurface(watched.yard.services, LOCAL).schedules
    [run, _] = (await schedules.changes("site")).items
    diff = await watched.diff(first_id, other)
    assert run.counts == diff.counts
    assert watched.by_kind(diff)["noise"] == {"/p3", "/p4", "/p5", "/p6"}
    assert (diff.counts["changed"], diff.counts["noise"]) == (7, 4)
    more = await watched.diff(first_id, other, ignore_text="re:^The text of /p7")
    assert watched.by_kind(more)["noise"] == {"/p3", "/p4", "/p5", "/p6", "/p7"}

    await watched.run(ignore_css=["p:nth-of-type(1)", "ul"])  # of other texts: nothing is known
    watched.server.site = VersionedSite(first())
    await watched.run()
    [last, edited, *_] = (await schedules.changes("site")).items
    assert edited.counts is not None
    assert {k: n for k, n in edited.counts.items() if n} == {"unknown": PAGES + 1 + 3 - 5}
    assert last.counts is not None
    assert last.counts["changed"] == 0


async def test_lines_that_differ_in_so_many_runs_in_a_row_are_noise(
    watched: WatchedSchedule,
) -> None:
    prices = {"/p1": 10, "/p2": 20}

    async def changes_on(day: int, **price: int) -> dict[str, set[str]]:
        prices.update({f"/{page}": costs for page, costs in price.items()})
        leaves = first() | {path: Leaf(f"Costs {costs}.") for path, costs in prices.items()}
        leaves["/p0"] = Leaf(f"It is the day {day}.")
        watched.server.site = VersionedSite(leaves)
        runs.append(await watched.run(noise_after=3))
        return watched.by_kind(await watched.diff(*runs[-2:])) if day else {}

    runs: list[str] = []
    assert await changes_on(0) == {}
    assert await changes_on(1) == {"changed": {"/p0"}}
    assert await changes_on(2, p1=11) == {"changed": {"/p0", "/p1"}}
    assert await changes_on(3, p1=12) == {"changed": {"/p1"}, "noise": {"/p0"}}
    assert await changes_on(4, p2=21) == {"changed": {"/p2"}, "noise": {"/p0"}}
    assert await changes_on(4) == {}
    assert await changes_on(5) == {"changed": {"/p0"}}  # it was quiet for a run

    schedules = NearSurface(watched.yard.services, LOCAL).schedules
    counts = [run.counts or {} for run in (await schedules.changes("site")).items]
    assert [c.get("noise", 0) for c in counts] == [0, 0, 1, 1, 0, 0, 0]
    url = f"{watched.server.url}/p0"
    results = NearSurface(watched.yard.services, LOCAL).results
    page = await results.page_diff(runs[3], runs[4], url)
    assert (page.kind, page.text) == ("noise", "")


async def test_lists_are_read_part_by_part_and_by_kind(watched: WatchedSchedule) -> None:
    first = await watched.run()
    watched.server.site, kinds = second()
    other = await watched.run()
    results = NearSurface(watched.yard.services, LOCAL).results

    parts = []
    cursor = None
    while True:
        part = await results.diff(first, other, limit=4, cursor=cursor)
        parts += part.items
        cursor = part.next_cursor
        if cursor is None:
            break
    assert parts == (await watched.diff(first, other)).items
    gone_urls = [c.url async for c in every(results.diff, first, other, only=("gone", "moved"))]
    assert {url.removeprefix(watched.server.url) for url in gone_urls} == kinds["gone"] | kinds[
        "moved"
    ]
    with pytest.raises(Invalid, match="expected one of changed, new"):
        await results.diff(first, other, only="same")


async def test_pages_can_be_sorted_by_share_of_change(
    watched: WatchedSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await watched.run()
    watched.server.site, _ = second()
    other = await watched.run()
    results = NearSurface(watched.yard.services, LOCAL).results

    by_url = (await watched.diff(first, other)).items
    parts = [c async for c in every(results.diff, first, other, sort="-share")]

    changed = [c for c in parts if c.kind == "changed"]
    shares = [c.share or 0 for c in changed]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) > 1
    assert parts[len(changed) :] == [c for c in by_url if c.kind != "changed"]
    assert sorted(c.url for c in changed) == [c.url for c in by_url if c.kind == "changed"]
    monkeypatch.setattr("crawlyard.services.results.changes.MOST_RANKED", 3)
    with pytest.raises(Invalid, match="where more than 3 pages changed; 11 did"):
        await results.diff(first, other, sort="-share")


async def test_each_run_of_a_schedule_is_compared_and_reported_once(
    watched: WatchedSchedule,
) -> None:
    yard, surface = watched.yard, NearSurface(watched.yard.services, LOCAL)
    first = await watched.run()
    watched.server.site, kinds = second()
    other = await watched.run()
    quiet = await watched.run()
    await yard.services.changes.settle(watched.id)  # again: nothing is told twice

    runs = (await surface.schedules.changes("site")).items
    assert [(r.job_id, r.base_id) for r in runs] == [(quiet, other), (other, first), (first, None)]
    assert [r.counts and r.counts.get("gone", 0) for r in runs] == [0, 5, {}]
    events = await yard.store.events.events(EventQuery(names=frozenset({EventName.RUN_CHANGED})))
    assert [(e.subject, e.data["schedule_id"], e.data["base_id"]) for e in events] == [
        (other, watched.id, first)
    ]
    assert events[0].data["counts"] == runs[1].counts
    [named] = await yard.store.events.events(EventQuery(names=frozenset({EventName.PAGE_CHANGED})))
    assert (named.subject, named.data["base_id"], named.data["more"]) == (other, first, 0)

    feed = [c async for c in every(surface.changes.list, schedule="site")]
    assert {c.job_id for c in feed} == {other}
    by_kind: dict[str, set[str]] = {}
    for change in feed:
        by_kind.setdefault(change.kind, set()).add(change.url.removeprefix(watched.server.url))
    assert by_kind == kinds
    pages = [
        {"kind": c.kind, "url": c.url} | ({"moved_to": c.moved_to} if c.moved_to else {})
        for c in feed
    ]
    assert named.data["pages"] == pages
    assert [c.added for c in feed if c.kind == "changed"][1:] == [1] * 10
    later = await surface.changes.list(after=feed[5].seq, only="gone,moved")
    assert [c.seq for c in later.items] == [c.seq for c in feed[6:] if c.kind in {"gone", "moved"}]

    atom = ET.fromstring(await surface.schedules.changes_feed("site"))
    name = "{http://www.w3.org/2005/Atom}"
    entries = atom.findall(f"{name}entry")
    assert len(entries) == len(feed)
    titles = [entry.findtext(f"{name}title") for entry in entries]
    assert titles == [f"{c.kind}: {c.url}" for c in feed[::-1]]
    assert len({entry.findtext(f"{name}id") for entry in entries}) == len(feed)

    await surface.jobs.delete(other)
    assert (await surface.changes.list()).items == []
    await purge_all(yard.store.upkeep, yard.clock)


async def test_a_resumed_run_is_compared_again_without_repeated_reports(
    watched: WatchedSchedule,
) -> None:
    yard, surface = watched.yard, NearSurface(watched.yard.services, LOCAL)
    first = await watched.run()
    watched.server.site, kinds = second()
    other = await watched.run(limits={"pages": 12})
    before = (await surface.changes.list(limit=200)).items
    assert {c.kind for c in before} >= {"changed"}
    [_, first_look] = (await surface.schedules.changes("site")).items[::-1]

    await yard.services.writer.edit(LOCAL, other, {"limits": Limits()})
    await yard.services.writer.move(LOCAL, other, Move.RESUME)
    await run(yard, other)

    runs = (await surface.schedules.changes("site")).items
    assert [(r.job_id, r.base_id) for r in runs] == [(other, first), (first, None)]
    assert first_look.counts is not None
    assert runs[0].counts is not None
    assert first_look.counts["unknown"] > 20
    assert (runs[0].counts["unknown"], runs[0].counts["gone"]) == (0, 5)
    after = (await surface.changes.list(limit=200)).items
    by_kind: dict[str, set[str]] = {}
    for change in after:
        by_kind.setdefault(change.kind, set()).add(change.url.removeprefix(watched.server.url))
    assert by_kind == kinds
    unchanged = [c for c in before if c in after]
    assert unchanged == before  # in their places
    fresh = (await surface.changes.list(after=before[-1].seq, limit=200)).items
    assert fresh == [c for c in after if c not in before]
    assert not {(c.kind, c.url) for c in fresh} & {(c.kind, c.url) for c in before}
    events = await yard.store.events.events(EventQuery(names=frozenset({EventName.RUN_CHANGED})))
    assert [(e.subject, e.data["counts"]) for e in events] == [
        (other, first_look.counts),
        (other, runs[0].counts),
    ]
    await yard.services.changes.settle(watched.id)
    assert (await surface.changes.list(limit=200)).items == after


async def test_a_retried_run_is_compared_again_also_if_others_came_after_it(
    watched: WatchedSchedule,
) -> None:
    surface = NearSurface(watched.yard.services, LOCAL)
    first = await watched.run()
    site, _ = second()
    broken = {**site.leaves, "/p3": Leaf("", status=503)}
    watched.server.site = VersionedSite(broken, site.moved)
    other = await watched.run()
    watched.server.site = site
    third = await watched.run()
    before = {(c.job_id, c.kind, c.url) for c in (await surface.changes.list(limit=200)).items}

    await watched.yard.services.writer.retry_failed(LOCAL, other)
    await run(watched.yard, other)

    runs = (await surface.schedules.changes("site")).items
    assert [(r.job_id, r.base_id) for r in runs] == [(third, other), (other, first), (first, None)]
    after = {(c.job_id, c.kind, c.url) for c in (await surface.changes.list(limit=200)).items}
    assert (other, "changed", f"{watched.server.url}/p3") in after - before


async def test_a_run_is_compared_with_the_last_that_was_completed(watched: WatchedSchedule) -> None:
    first = await watched.run()
    whole = watched.server.site
    watched.server.site = VersionedSite({"/": Leaf("", status=500)})
    failed = await watched.run()
    watched.server.site = whole
    again = await watched.run()

    assert (await find_job(watched.yard.store, LOCAL, failed)).job.state is State.FAILED
    runs = (await NearSurface(watched.yard.services, LOCAL).schedules.changes("site")).items
    assert [(r.job_id, r.base_id) for r in runs] == [(again, first), (failed, first), (first, None)]
    assert runs[1].counts is not None
    assert runs[1].counts["gone"] == 0
    assert (runs[1].counts["unknown"], runs[1].counts["broken"]) == (PAGES, 1)


async def test_a_run_whose_worker_died_before_it_was_compared_is_compared_after_the_next(
    watched: WatchedSchedule,
) -> None:
    yard = watched.yard
    old = await watched.alone()
    first = await watched.run()
    watched.server.site, _ = second()
    lost = await watched.alone()
    last = await watched.run()

    runs = (await NearSurface(yard.services, LOCAL).schedules.changes("site")).items
    assert [(r.job_id, r.base_id) for r in runs] == [
        (last, lost),
        (lost, first),
        (first, old),
        (old, None),
    ]
    assert [r.counts and r.counts["changed"] for r in runs] == [0, 11, 0, None]
