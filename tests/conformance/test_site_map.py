"""`SiteMapStore`: URLs grouped by folder, and counted by what happened to them."""

from collections.abc import Sequence

from msgspec.structs import replace

from crawlyard.core.crawl.page import Outcome, Skipped, TargetState
from crawlyard.core.crawl.site_map import Folder, Neighbours
from crawlyard.core.jobs.checkpoint import Claim
from crawlyard.store.queries import PageQuery
from crawlyard.store.store import Store
from tests.builders import a_batch, a_target, done, failed
from tests.conformance.steps import claimed, recorded, stored

FETCHED = (
    "",
    "guide/",
    "guide/a",
    "guide/deep/b",
    "Guide/c",
    "search?next=/guide/",
    "guide/?x=/y/",
)
HOST = "example.com/"


def a_folder(name: str, fetched: int = 0, failed: int = 0, **counts: int) -> Folder:
    zero = {"waiting": 0, "redirected": 0, "skipped": 0}
    return Folder(name=name, fetched=fetched, failed=failed, **(zero | counts))


async def crawled(store: Store, paths: Sequence[str] = FETCHED) -> Claim:
    """Return a job of a page at each path, and of URLs with all other outcomes."""
    claim = await claimed(store)
    pages = [a_target(path) for path in paths]
    broken, old = a_target("guide/broken"), a_target("old/x")
    waiting = [a_target("guide/later"), a_target("new/x", host="example.com:81")]
    outcomes = [*map(done, pages), failed(broken)]
    outcomes.append(Outcome(old, TargetState.REDIRECTED, rule=f"redirect to {pages[0].url}"))
    skipped = [
        Skipped(a_target("secret/x"), "robots: Disallow: /secret"),
        Skipped(a_target("x", host="elsewhere.example"), "scope: other host"),
    ]
    batch = a_batch([*pages, broken, old, *waiting], outcomes, skipped)
    await recorded(store, claim.lease, batch)
    return claim


async def test_hosts_and_folders_are_counted_the_largest_in_front(store: Store) -> None:
    claim = await crawled(store)
    hosts = await store.site_map.folders(claim.job.id, "", 10)
    below = await store.site_map.folders(claim.job.id, HOST, 10)
    guide = await store.site_map.folders(claim.job.id, "example.com/guide/", 10)

    assert hosts.folders == (  # of the one elsewhere, nothing was asked for
        a_folder(HOST, 7, 1, waiting=1, redirected=1, skipped=1),
        a_folder("example.com:81/", waiting=1),
    )
    assert hosts.total == a_folder("", 7, 1, waiting=2, redirected=1, skipped=1)
    assert (hosts.skipped_elsewhere, below.skipped_elsewhere) == (1, 0)
    assert below.folders == (
        a_folder("guide/", 4, 1, waiting=1),
        a_folder("", 2),
        a_folder("Guide/", 1),
        a_folder("old/", redirected=1),
        a_folder("secret/", skipped=1),
    )
    assert guide.folders == (a_folder("", 3, 1, waiting=1), a_folder("deep/", 1))
    assert guide.total == a_folder("", 4, 1, waiting=1)


async def test_small_folders_are_added_up_and_an_unknown_place_is_empty(store: Store) -> None:
    claim = await crawled(store)
    site_map = await store.site_map.folders(claim.job.id, HOST, 1)
    none = await store.site_map.folders(claim.job.id, "example.com/none/", 10)
    of_nobody = await store.site_map.folders("00000000-0000-7000-8000-000000000000", "", 10)

    assert [folder.name for folder in site_map.folders] == ["guide/"]
    assert site_map.unlisted == 4
    assert site_map.total == a_folder("", 7, 1, waiting=1, redirected=1, skipped=1)
    for nothing in (none, of_nobody):
        assert (nothing.folders, nothing.unlisted, nothing.total) == ((), 0, a_folder(""))


async def test_a_job_is_counted_alone_however_many_urls_of_others_lie_in_between(
    store: Store,
) -> None:
    claim, other = await claimed(store), await claimed(store)
    first, last = a_target("a/first"), a_target("a/last")
    many = [a_target(f"a/{n}") for n in range(40)]
    await recorded(store, claim.lease, a_batch([first]))
    await recorded(store, other.lease, a_batch(many))
    await recorded(store, replace(claim.lease, seq=1), a_batch([last]))

    for job, count in ((claim.job, 2), (other.job, 40)):
        site_map = await store.site_map.folders(job.id, HOST, 10)
        assert site_map.folders == (a_folder("a/", waiting=count),)


async def test_pages_are_found_by_their_folder_in_any_scheme(store: Store) -> None:
    claim = await crawled(store)
    plain = replace(a_target("guide/plain"), url="http://example.com/guide/plain")
    await recorded(store, replace(claim.lease, seq=1), a_batch([plain], [done(plain)]))

    async def under(place: str) -> list[str]:
        query = PageQuery(under=place)
        return [p.page.url for p in await store.pages.pages(claim.job.id, query, 100)]

    assert await under("example.com/guide/d") == ["https://example.com/guide/deep/b"]
    assert len(await under("example.com/guide/")) == 6
    assert plain.url in await under("example.com/guide/")
    assert await under("example.com/GUIDE/") == []
    assert await under("example.com/gu%de/") == []


async def test_a_page_has_neighbours_in_the_list_that_it_is_found_in(store: Store) -> None:
    claim = await crawled(store)
    stored_pages = await store.pages.pages(claim.job.id, PageQuery(), 100)
    ids = [page.id for page in stored_pages]

    async def beside(place: int, **filters: object) -> Neighbours:
        query = PageQuery(**filters)  # type: ignore[arg-type]  # fields by name
        return await store.pages.neighbours(claim.job.id, ids[place], query)

    assert len(ids) == len(await stored(store, claim.job.id)) == 8
    assert await beside(0) == Neighbours(previous=None, next=ids[1], position=1, total=8)
    assert await beside(7) == Neighbours(previous=ids[6], next=None, position=8, total=8)
    in_guide = await beside(2, under="example.com/guide/")
    assert in_guide == Neighbours(previous=ids[1], next=ids[3], position=None, total=None)
    alone = await beside(4, failed=True)
    assert (alone.previous, alone.next) == (None, ids[7])
