"""Facts by which two runs are compared, and the stored changes of runs."""

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from crawlyard.core.crawl.changes import ChangeKind, PageFacts, RunChanges, StoredChange, UrlState
from crawlyard.core.crawl.page import Body, Skipped, TargetState, Via
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.job import Origin
from crawlyard.engine.urls import packed_fingerprints
from crawlyard.store.queries import ChangeQuery, EventQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_job, a_target, done, failed, fp_of
from tests.conformance.steps import added, claimed, ended, recorded

SCHEDULE = "01900000-0000-7000-8000-00000000000a"


def a_run(job_id: str, **fields: Any) -> RunChanges:
    defaults: dict[str, Any] = {
        "job_id": job_id,
        "schedule_id": SCHEDULE,
        "base_id": None,
        "compared_at": NOW,
        "counts": {"changed": 2, "gone": 1},
    }
    return RunChanges(**(defaults | fields))


def a_change(job_id: str, path: str = "a", **fields: Any) -> StoredChange:
    defaults: dict[str, Any] = {
        "job_id": job_id,
        "schedule_id": SCHEDULE,
        "kind": ChangeKind.CHANGED,
        "url": f"https://example.com/{path}",
        "before": 1,
        "after": 2,
        "added": 3,
        "removed": 0,
        "share": 0.25,
    }
    return StoredChange(**(defaults | fields))


async def test_pages_are_read_in_the_order_of_their_keys_part_by_part(store: Store) -> None:
    claim = await claimed(store)
    targets = [a_target(str(n)) for n in range(7)]
    pages = [done(t, title=t.url, content_hash=str(t.fp)) for t in targets[:-1]]
    await recorded(store, claim.lease, a_batch(targets, [*pages, failed(targets[-1])]))

    facts: list[PageFacts] = []
    while part := await store.changes.facts(claim.job.id, facts[-1].fp if facts else None, 3):
        assert len(part) <= 3
        facts += part

    assert [page.fp for page in facts] == sorted(t.fp for t in targets)
    some = await store.changes.facts_of(claim.job.id, [targets[0].fp, 12345])
    assert [(p.url, p.title, p.content_hash, p.error) for p in some] == [
        (targets[0].url, targets[0].url, str(targets[0].fp), None)
    ]
    [bad] = await store.changes.facts_of(claim.job.id, [targets[-1].fp])
    assert (bad.error, bad.is_whole) == ("timeout", False)


async def test_what_is_known_of_urls_without_a_page_is_read(store: Store) -> None:
    claim = await claimed(store)
    waits, shut = a_target("waits"), a_target("shut")
    good, bad = (a_target(f"{name}.xml", via=Via.SITEMAP) for name in ("good", "bad"))
    batch = a_batch(
        [waits, good, bad],
        [
            replace(done(good), state=TargetState.SKIPPED, page=None, rule="sitemap: 3 URLs"),
            failed(bad),
        ],
        [Skipped(shut, "robots: Disallow: /shut")],
    )
    await recorded(store, claim.lease, batch)

    fps = [waits.fp, shut.fp, fp_of("https://example.com/never")]
    assert await store.changes.known_urls(claim.job.id, fps) == {
        waits.fp: UrlState(TargetState.WAITING, ""),
        shut.fp: UrlState(TargetState.SKIPPED, "robots: Disallow: /shut"),
    }
    assert await store.changes.broken_sitemaps(claim.job.id) == {bad.fp}


async def test_links_of_all_pages_are_searched(store: Store) -> None:
    claim = await claimed(store)
    first_target, two = a_target("one"), a_target("two")
    urls = [f"https://example.com/{n}" for n in range(5)]
    bodies = {Body.TEXT: b"text"}
    outcomes = [
        replace(done(first_target, bodies), targets=packed_fingerprints(urls[:2])),
        replace(done(two, bodies), targets=packed_fingerprints(urls[1:3])),
    ]
    await recorded(store, claim.lease, a_batch([first_target, two], outcomes))

    fps = [fp_of(url) for url in urls]
    assert await store.pages.filter_linked(claim.job.id, fps) == set(fps[:3])
    assert await store.pages.filter_linked(claim.job.id, []) == set()


async def test_the_changes_of_a_run_are_kept_once_with_their_event(store: Store) -> None:
    job = await added(store, a_job(origin=Origin(schedule_id=SCHEDULE)))
    event = job.event(EventName.RUN_CHANGED, NOW, "changes", counts={})
    moved = a_change(job.id, "b", kind=ChangeKind.MOVED, moved_to="https://example.com/c")
    stored_changes = [a_change(job.id), replace(moved, added=None, removed=None, share=None)]

    assert await store.changes.save(a_run(job.id), stored_changes, [event])
    assert not await store.changes.save(a_run(job.id, counts={}), stored_changes, [event])

    assert await store.changes.runs([job.id, SCHEDULE]) == {job.id: a_run(job.id)}
    changes_read = await store.changes.changes(ChangeQuery(), 10)
    assert [replace(change, seq=0) for change in changes_read] == stored_changes
    names = frozenset({EventName.RUN_CHANGED})
    assert len(await store.events.events(EventQuery(names=names))) == 1


async def test_unproven_pages_of_a_run_are_copies_and_replaced_when_it_ends_again(
    store: Store,
) -> None:
    jobs = []
    for n in range(3):
        claim = await claimed(store)
        targets = [a_target(f"{n}/{path}") for path in "ab"]
        batch = a_batch(targets, [done(t, title=t.url, content_hash=t.url) for t in targets])
        await recorded(store, claim.lease, batch)
        jobs.append(claim.job if n == 2 else await ended(store, claim.lease))
    base, job, last = jobs
    fps = sorted(a_target(f"0/{path}").fp for path in "ab")

    first = a_run(job.id, base_id=base.id, whole_id=base.id, ended_at=job.ended_at)
    unproven = {fps[0]: True, fps[1]: False, a_target("1/a").fp: False}  # the last is not its own
    assert await store.changes.save(first, (), (), unproven, "reach")
    copies = await store.changes.unproven(job.id, None, 10)
    assert [copy.page for copy in copies] == await store.changes.facts(base.id, None, 10)
    assert [(c.read_by, c.reach, c.is_broken) for c in copies] == [
        (base.id, "reach", True),
        (base.id, "reach", False),
    ]
    assert await store.changes.unproven(job.id, fps[0], 1) == copies[1:]

    own = a_target("1/a").fp
    later = a_run(last.id, base_id=job.id)
    await store.changes.save(later, (), (), {fps[0]: True, own: False}, "other")
    older, newer = await store.changes.unproven_of(last.id, [fps[0]]), [own]
    assert older == copies[:1]
    [read] = await store.changes.unproven_of(last.id, newer)
    assert (read.read_by, read.reach, read.is_broken) == (job.id, "other", False)

    again = replace(later, ended_at=(await ended(store, claim.lease)).ended_at)
    assert await store.changes.save(again, (), (), {own: False}, "other")
    assert [c.page.fp for c in await store.changes.unproven(last.id, None, 10)] == [own]
    assert (await store.changes.runs([job.id]))[job.id].whole_id == base.id


async def test_changes_of_a_run_that_ended_again_keep_their_places(store: Store) -> None:
    claim = await claimed(store)
    job = claim.job
    first = [a_change(job.id, path) for path in ("kept", "gone", "other")]
    assert await store.changes.save(a_run(job.id), first, ())
    before = await store.changes.changes(ChangeQuery(), 10)
    again = await ended(store, claim.lease)
    later = a_run(job.id, ended_at=again.ended_at, counts={"changed": 3})
    now = [a_change(job.id, "kept"), a_change(job.id, "other", after=9), a_change(job.id, "new")]
    event = again.event(EventName.RUN_CHANGED, NOW, "changes")

    # an end that is not the last one any more changes nothing
    assert not await store.changes.save(a_run(job.id, ended_at=NOW - LEASE), now, [event])
    assert await store.changes.save(later, now, [event])
    assert not await store.changes.save(later, now, [event])

    after = await store.changes.changes(ChangeQuery(), 10)
    assert after[0] == before[0]
    assert [(c.url[20:], c.after) for c in after] == [("kept", 2), ("other", 9), ("new", 2)]
    assert min(c.seq for c in after[1:]) > max(c.seq for c in before)
    assert await store.changes.runs([job.id]) == {job.id: later}
    assert len(await store.events.events(EventQuery(names=frozenset({event.name})))) == 1


async def test_changes_are_filtered_and_read_from_a_place_on(store: Store) -> None:
    for owner, schedule_id in (("ada", SCHEDULE), ("bob", f"{SCHEDULE[:-1]}b")):
        job = await added(store, owner=owner)
        kinds = (ChangeKind.NEW, ChangeKind.GONE, ChangeKind.NEW)
        of = {"schedule_id": schedule_id}
        stored_changes = [a_change(job.id, str(n), kind=kind, **of) for n, kind in enumerate(kinds)]
        await store.changes.save(a_run(job.id, **of), stored_changes, ())

    async def read_changes(limit: int = 10, **query: Any) -> list[tuple[str, str]]:
        changes_read = await store.changes.changes(ChangeQuery(**query), limit)
        return [(change.schedule_id[-1], change.url[-1]) for change in changes_read]

    every = [("a", "0"), ("a", "1"), ("a", "2"), ("b", "0"), ("b", "1"), ("b", "2")]
    assert await read_changes() == every
    assert await read_changes(2) == every[:2]
    assert await read_changes(newest_first=True) == every[::-1]
    assert (
        await read_changes(owner="bob")
        == await read_changes(schedule_id=f"{SCHEDULE[:-1]}b")
        == every[3:]
    )
    assert await read_changes(kinds=frozenset({ChangeKind.GONE})) == [every[1], every[4]]
    second = (await store.changes.changes(ChangeQuery(), 2))[-1]
    assert await read_changes(after=second.seq) == every[2:]


async def test_lines_that_recur_are_kept_beside_the_text_of_pages_that_exist(
    store: Store,
) -> None:
    claim = await claimed(store)
    target = a_target("a")
    await recorded(store, claim.lease, a_batch([target], [done(target, {Body.TEXT: b"text"})]))
    [page] = await store.changes.facts(claim.job.id, None, 1)

    await store.changes.keep_recurring({page.id: b"[[0,1,1]]", page.id + 1: b"[[2,3,1]]"})
    await store.changes.keep_recurring({page.id: b"[[0,2,2]]"})

    kinds = [Body.TEXT, Body.RECURRING]
    assert await store.pages.bodies([page.id, page.id + 1], kinds) == {
        (page.id, Body.TEXT): b"text",
        (page.id, Body.RECURRING): b"[[0,2,2]]",
    }


async def test_changes_go_with_their_job(store: Store) -> None:
    claim = await claimed(store)
    await store.changes.save(a_run(claim.job.id), [a_change(claim.job.id)], ())
    job = await ended(store, claim.lease)

    event = job.event(EventName.DELETED, NOW + timedelta(1), "local")
    await store.jobs.delete(job.id, job.version, event)

    assert await store.changes.changes(ChangeQuery(), 10) == []
    assert await store.changes.runs([job.id]) == {}
    assert not await store.changes.save(a_run(job.id), [a_change(job.id)], ())
    assert await store.changes.unproven(job.id, None, 1) == []
    rows = 0
    while freed := await store.upkeep.purge():
        rows += freed.rows
    assert rows >= 2
