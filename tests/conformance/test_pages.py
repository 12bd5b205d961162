"""`PageStore`: what was fetched, what failed, what was kept out; a part at a time."""

from datetime import timedelta

import pytest

from crawlyard.core.crawl.link import Link, decode_links, encode_links
from crawlyard.core.crawl.page import (
    Body,
    ErrorGroup,
    ErrorKind,
    Outcome,
    PageError,
    RuleKind,
    Skipped,
    TargetState,
)
from crawlyard.core.jobs.checkpoint import Claim
from crawlyard.engine.urls import fingerprint, packed_fingerprints
from crawlyard.store.queries import PageQuery
from crawlyard.store.store import Store
from tests.builders import NOW, a_batch, a_page, a_target, done, failed
from tests.conformance.purging import deleted, with_pages
from tests.conformance.steps import claimed, recorded, urls


async def find_urls(store: Store, claim: Claim, **filters: object) -> list[str]:
    query = PageQuery(**filters)  # type: ignore[arg-type]  # fields by name
    return urls(p.page for p in await store.pages.pages(claim.job.id, query, 100))


async def test_a_page_comes_back_as_it_was_stored(store: Store) -> None:
    claim = await claimed(store)
    target = a_target("page", depth=4)
    page = a_page(
        target,
        final_url="https://example.com/final",
        status=404,
        content_type="text/html; charset=x",
        title='"Ünï\\cøde" 🕷',
        description="d",
        lang="de-AT",
        canonical="https://example.com/canonical",
        fetched_at=NOW + timedelta(microseconds=1),
        elapsed_ms=2**33,
        bytes=2**40,
        sha256="f" * 64,
        etag='W/"x"',
        last_modified="Thu, 01 Jan 1970 00:00:00 GMT",
        links=12,
        truncated="max_body",
        noindex=True,
        needs_scripts=True,
        content_rule="main",
        content_hash="0f" * 16,
        content_version=3,
        nearly_empty=True,
        extracted={"price": ("1", "2"), "none": ()},
        structured={"jsonld": [{"@type": "Thing", "n": [1, None]}]},
        error=PageError(kind=ErrorKind.HTTP_4XX, detail="answered 404"),
    )

    await recorded(
        store, claim.lease, a_batch([target], [Outcome(target, TargetState.FAILED, page)])
    )

    [stored] = await store.pages.pages(claim.job.id, PageQuery(), 10)
    assert stored.page == page


async def test_pages_are_found_by_what_they_link_to(store: Store) -> None:
    claim = await claimed(store)
    first, two, three = (a_target(name) for name in ("one", "two", "three"))
    links = {
        first: encode_links(
            [(two.url, "x", "a", "", "Two"), ("https://other.example/", "", "a", "", "")]
        ),
        two: encode_links([(three.url, "", "a", "nofollow", "")]),
    }
    outcomes = [
        Outcome(
            target,
            TargetState.DONE,
            a_page(target),
            {Body.LINKS: links[target]} if target in links else {},
            packed_fingerprints(link.url for link in decode_links(links[target]))
            if target in links
            else b"",
        )
        for target in (first, two, three)
    ]

    await recorded(store, claim.lease, a_batch([first, two, three], outcomes))

    assert await find_urls(store, claim, links_to=two.fp) == [first.url]
    assert await find_urls(store, claim, links_to=three.fp) == [two.url]
    assert await find_urls(store, claim, links_to=first.fp) == []
    other = fingerprint("https://other.example/")
    assert await find_urls(store, claim, links_to=other, failed=False) == [first.url]
    assert await find_urls(store, claim, page=(two.fp, "")) == [two.url]
    assert await find_urls(store, claim, page=(0, first.url)) == [first.url]
    [stored, after, _] = await store.pages.pages(claim.job.id, PageQuery(), 10)
    rows = [(stored.id, first.url, (two.fp, other)), (after.id, two.url, (three.fp,))]
    assert await store.pages.targets(claim.job.id, 0, 10) == rows
    assert await store.pages.targets(claim.job.id, stored.id, 10) == rows[1:]
    assert await store.pages.targets(claim.job.id, 0, 1) == rows[:1]
    bodies = await store.pages.bodies([stored.id], [Body.LINKS])
    assert decode_links(bodies[stored.id, Body.LINKS])[0] == Link(two.url, "x", text="Two")


async def test_the_parent_is_the_page_that_named_it(store: Store) -> None:
    claim = await claimed(store)
    seed = a_target("seed")
    child, orphan = a_target("child", parent=seed.fp), a_target("orphan", parent=1)

    await recorded(
        store, claim.lease, a_batch([seed, child, orphan], [done(seed), done(child), done(orphan)])
    )

    pages = await store.pages.pages(claim.job.id, PageQuery(), 10)
    assert [p.page.parent for p in pages] == [None, seed.url, None]


async def test_pages_come_in_the_order_they_were_stored_a_part_at_a_time(store: Store) -> None:
    claim = await claimed(store)
    targets = [a_target(str(n)) for n in range(10)]
    first = await recorded(store, claim.lease, a_batch(targets, [done(t) for t in targets[:4]]))
    await recorded(store, first.lease, a_batch([], [done(t) for t in reversed(targets[4:])]))

    parts, after = [], 0
    while part := await store.pages.pages(claim.job.id, PageQuery(after=after), 3):
        parts.append(urls(p.page for p in part))
        after = part[-1].id

    assert [len(part) for part in parts] == [3, 3, 3, 1]
    stored = targets[:4] + targets[:3:-1]
    assert [url for part in parts for url in part] == urls(stored)


async def test_pages_of_two_jobs_are_kept_apart(store: Store) -> None:
    first, two = await claimed(store), await claimed(store)
    for claim, path in ((first, "1"), (two, "2")):
        await recorded(store, claim.lease, a_batch([a_target(path)], [failed(a_target(path))]))

    assert await find_urls(store, first) == [a_target("1").url]
    assert [g.samples for g in await store.pages.errors(two.job.id)] == [(a_target("2").url,)]


async def test_a_job_that_is_not_there_has_no_pages(store: Store) -> None:
    assert await store.pages.pages("0192", PageQuery(), 10) == []
    assert await store.pages.errors("0192") == []
    assert await store.pages.list_skipped("0192", 0, 10) == []


class TestQuery:
    @pytest.fixture
    async def claim(self, store: Store) -> Claim:
        claim = await claimed(store)
        good, slow, missing = a_target("good"), a_target("slow"), a_target("gone")
        outcomes = [
            done(good, title="100% ÄPFEL_"),
            failed(slow, ErrorKind.TIMEOUT, title=""),
            failed(missing, ErrorKind.HTTP_4XX, status=404, title="1000 Apfelx"),
        ]
        await recorded(store, claim.lease, a_batch([good, slow, missing], outcomes))
        return claim

    async def test_failed_or_not(self, store: Store, claim: Claim) -> None:
        assert await find_urls(store, claim, failed=True) == [
            a_target("slow").url,
            a_target("gone").url,
        ]
        assert await find_urls(store, claim, failed=False) == [a_target("good").url]
        assert len(await find_urls(store, claim)) == 3

    async def test_of_those_that_need_scripts(self, store: Store) -> None:
        claim = await claimed(store)
        shell, page = a_target("shell"), a_target("page")
        outcomes = [done(shell, needs_scripts=True), done(page)]
        await recorded(store, claim.lease, a_batch([shell, page], outcomes))

        assert await find_urls(store, claim, needs_scripts=True) == [shell.url]
        assert await find_urls(store, claim, needs_scripts=False) == [page.url]
        assert await find_urls(store, claim) == [shell.url, page.url]

    async def test_by_kind(self, store: Store, claim: Claim) -> None:
        kinds = frozenset({ErrorKind.HTTP_4XX, ErrorKind.DNS})

        assert await find_urls(store, claim, kinds=kinds) == [a_target("gone").url]
        assert await find_urls(store, claim, kinds=kinds, failed=False) == []

    @pytest.mark.parametrize("text", ["äpfel", "100%", "EXAMPLE.com/Good", "L_"])
    async def test_by_a_part_of_url_or_title(self, store: Store, claim: Claim, text: str) -> None:
        assert await find_urls(store, claim, text=text) == [a_target("good").url]

    @pytest.fixture
    async def various(self, store: Store) -> Claim:
        claim = await claimed(store)
        html = a_target("html", depth=1)
        moved = a_target("moved", depth=2)
        pdf = a_target("pdf", host="files.example:8080", depth=2)
        away = a_target("away", host="files.example")
        outcomes = [
            done(html, content_type="Text/HTML; charset=x"),
            failed(moved, ErrorKind.HTTP_4XX, status=404, content_type="text/plain"),
            done(pdf, content_type="application/pdf"),
            failed(away, content_type=""),
        ]
        await recorded(store, claim.lease, a_batch([html, moved, pdf, away], outcomes))
        return claim

    async def test_pages_are_selected_by_any_text(self, store: Store, various: Claim) -> None:
        odd = "a\x00\ud800%_\\"
        for text in (
            {"text": odd},
            {"hosts": frozenset({odd})},
            {"content_types": frozenset({odd, f"{odd}/*"})},
        ):
            assert await find_urls(store, various, **text) == []

    @pytest.mark.parametrize(
        ("filters", "paths"),
        [
            ({"statuses": {404}}, ["moved"]),
            ({"statuses": {2}}, ["html", "pdf"]),
            ({"statuses": {4, 200}}, ["html", "moved", "pdf"]),
            ({"statuses": {5}}, []),
            ({"depths": {2}}, ["moved", "pdf"]),
            ({"depths": {0, 1}}, ["html", "away"]),
            ({"content_types": {"text/html"}}, ["html"]),
            ({"content_types": {"text/*"}}, ["html", "moved"]),
            ({"content_types": {"text"}}, []),
            ({"content_types": {"text/h_ml", "application/pdf"}}, ["pdf"]),
            ({"hosts": {"files.example"}}, ["pdf", "away"]),
            ({"hosts": {"files.example:8080"}}, ["pdf"]),
            ({"hosts": {"files.example:80"}}, []),
            ({"hosts": {"example"}}, []),
            ({"hosts": {"example.com", "files.example"}, "failed": True}, ["moved", "away"]),
        ],
    )
    async def test_by_what_the_answer_was_like(
        self, store: Store, various: Claim, filters: dict[str, object], paths: list[str]
    ) -> None:
        filters = {
            name: frozenset(value) if isinstance(value, set) else value
            for name, value in filters.items()
        }

        assert [
            url.rpartition("/")[2] for url in await find_urls(store, various, **filters)
        ] == paths

    async def test_a_class_of_statuses_ends_before_the_next(self, store: Store) -> None:
        claim = await claimed(store)
        targets = {status: a_target(f"{status}") for status in (399, 400, 499, 500)}
        outcomes = [failed(t, ErrorKind.HTTP_4XX, status=n) for n, t in targets.items()]
        await recorded(store, claim.lease, a_batch([*targets.values()], outcomes))

        statuses = frozenset({4})

        assert await find_urls(store, claim, statuses=statuses) == [
            targets[400].url,
            targets[499].url,
        ]


class TestBodies:
    async def test_those_of_a_deleted_job_are_not_read(self, store: Store) -> None:
        claim = await with_pages(store, 1)
        [page] = await store.pages.pages(claim.job.id, PageQuery(), 10)
        assert await store.pages.bodies([page.id], [Body.HTML])

        await deleted(store, claim.job)

        assert await store.pages.bodies([page.id], [Body.HTML]) == {}

    async def test_requested_bodies_are_returned(self, store: Store) -> None:
        claim = await claimed(store)
        first_target, two, three = a_target("1"), a_target("2"), a_target("3")
        text, html = {Body.TEXT: b"text"}, {Body.TEXT: b"2", Body.HTML: b"<p>"}
        await recorded(
            store,
            claim.lease,
            a_batch(
                [first_target, two, three], [done(first_target, text), done(two, html), done(three)]
            ),
        )
        first, second, third = [
            p.id for p in await store.pages.pages(claim.job.id, PageQuery(), 10)
        ]

        assert await store.pages.bodies([first, second, third], [Body.TEXT]) == {
            (first, Body.TEXT): b"text",
            (second, Body.TEXT): b"2",
        }
        assert await store.pages.bodies([second], [Body.HTML, Body.HEADERS]) == {
            (second, Body.HTML): b"<p>"
        }
        assert await store.pages.bodies([third, 10**12], list(Body)) == {}
        assert await store.pages.bodies([], list(Body)) == {}
        assert await store.pages.bodies([first], []) == {}

    async def test_a_page_recorded_twice_keeps_its_first_body(self, store: Store) -> None:
        claim = await claimed(store)
        first_target, two = a_target("1"), a_target("2")
        first = await recorded(
            store, claim.lease, a_batch([first_target, two], [done(first_target)])
        )

        again = [done(first_target, {Body.TEXT: b"late"}), done(two, {Body.TEXT: b"two"})]
        await recorded(store, first.lease, a_batch([], again))

        pages = await store.pages.pages(claim.job.id, PageQuery(), 10)
        assert await store.pages.bodies([p.id for p in pages], list(Body)) == {
            (pages[1].id, Body.TEXT): b"two"
        }


async def test_errors_are_grouped_by_kind_the_most_frequent_first(store: Store) -> None:
    claim = await claimed(store)
    slow = [a_target(f"slow{n}") for n in range(7)]
    missing = [a_target(f"gone{n}") for n in range(2)]
    good = a_target("good")
    hour = timedelta(hours=1)
    outcomes = [
        *(failed(t, ErrorKind.DNS, fetched_at=NOW) for t in missing),
        *(failed(t, fetched_at=NOW - n * hour) for n, t in enumerate(slow)),
        done(good),
    ]
    await recorded(store, claim.lease, a_batch([*slow, *missing, good], outcomes))

    groups = await store.pages.errors(claim.job.id)

    assert groups == [
        ErrorGroup(
            kind=ErrorKind.TIMEOUT,
            count=7,
            first_at=NOW - 6 * hour,
            last_at=NOW,
            samples=tuple(urls(slow[:1:-1])),
        ),
        ErrorGroup(
            kind=ErrorKind.DNS, count=2, first_at=NOW, last_at=NOW, samples=tuple(urls(missing))
        ),
    ]


async def test_errors_of_one_kind_can_be_grouped_by_status(store: Store) -> None:
    claim = await claimed(store)
    missing, shut, slow = ([a_target(f"{name}{n}") for n in range(2)] for name in ("g", "f", "s"))
    outcomes = [
        *(failed(t, ErrorKind.HTTP_4XX, status=404) for t in missing),
        *(failed(t, ErrorKind.HTTP_4XX, status=403) for t in shut[:1]),
        *(failed(t) for t in slow),
    ]
    await recorded(store, claim.lease, a_batch([*missing, *shut, *slow], outcomes))

    groups = await store.pages.errors(claim.job.id, by_status=True)

    assert [(group.kind, group.status, group.samples) for group in groups] == [
        (ErrorKind.HTTP_4XX, 404, tuple(urls(missing))),
        (ErrorKind.TIMEOUT, None, tuple(urls(slow))),
        (ErrorKind.HTTP_4XX, 403, tuple(urls(shut[:1]))),
    ]


async def test_the_latest_pages_are_read_back_to_where_somebody_was(store: Store) -> None:
    claim, other = await claimed(store), await claimed(store)
    targets = [a_target(str(n)) for n in range(5)]
    await recorded(store, claim.lease, a_batch(targets, [done(target) for target in targets]))
    await recorded(store, other.lease, a_batch([a_target("x")], [done(a_target("x"))]))
    *_, second, first = await store.pages.pages(claim.job.id, PageQuery(), 10)

    latest = await store.pages.latest(claim.job.id, 0, 3)

    assert urls(stored_page.page for stored_page in latest) == [a_target(n).url for n in "432"]
    assert await store.pages.latest(claim.job.id, second.id, 3) == [first]
    assert await store.pages.latest(claim.job.id, first.id, 3) == []


async def test_of_the_errors_those_that_had_an_answer_are_counted(store: Store) -> None:
    claim = await claimed(store)
    targets = [a_target(f"{n}") for n in range(8)]
    outcomes = [
        failed(t, ErrorKind.DECODE, status=200 if n < 7 else None) for n, t in enumerate(targets)
    ]
    await recorded(store, claim.lease, a_batch(targets, outcomes))

    [group] = await store.pages.errors(claim.job.id)

    assert (group.count, group.answered) == (8, 7)


async def test_skipped_urls_come_a_part_at_a_time(store: Store) -> None:
    claim = await claimed(store)
    skipped = [Skipped(a_target(f"s{n}", depth=n), f"rule{n}") for n in range(5)]
    await recorded(store, claim.lease, a_batch([a_target("found")], [], skipped))

    first = await store.pages.list_skipped(claim.job.id, 0, 3)
    second = await store.pages.list_skipped(claim.job.id, first[-1][0], 3)

    listed = [s for _, s in first + second]
    assert [len(first), len(second)] == [3, 2]
    assert [(s.url, s.depth, s.rule) for s in listed] == [
        (s.target.url, s.target.depth, s.rule) for s in skipped
    ]


class TestKindsOfRules:
    RULES = ("robots: Disallow: /a", "exclude: *b*", "robots: Disallow: /c", "scope: other host")

    @pytest.fixture
    async def claim(self, store: Store) -> Claim:
        claim = await claimed(store)
        many = [Skipped(a_target(f"d{n}"), "depth: beyond 2") for n in range(7)]
        skipped = [Skipped(a_target(str(n)), rule) for n, rule in enumerate(self.RULES)]
        await recorded(store, claim.lease, a_batch([a_target("found")], [], [*skipped, *many]))
        return claim

    async def test_skipped_urls_are_counted_by_them(self, store: Store, claim: Claim) -> None:
        groups = await store.pages.count_skipped(claim.job.id)

        assert [(g.kind, g.count, len(g.samples)) for g in groups] == [
            ("depth", 7, 5),
            ("robots", 2, 2),
            ("exclude", 1, 1),
            ("scope", 1, 1),
        ]
        assert groups[1].samples == (a_target("0").url, a_target("2").url)

    async def test_skipped_urls_are_listed_by_them(self, store: Store, claim: Claim) -> None:
        kinds = [RuleKind.ROBOTS, RuleKind.SCOPE]

        [first] = await store.pages.list_skipped(claim.job.id, 0, 1, kinds)
        rest = await store.pages.list_skipped(claim.job.id, first[0], 10, kinds)

        rules = [skipped.rule for _, skipped in [first, *rest]]
        assert rules == [self.RULES[0], self.RULES[2], self.RULES[3]]

    async def test_a_job_that_is_not_there_has_none(self, store: Store) -> None:
        assert await store.pages.count_skipped("0192") == []
